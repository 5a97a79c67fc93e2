"""`heliograph demo`: the whole path on this machine, by the commands that a user would type."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heliograph.cli.background_process import BackgroundProcess
from heliograph.client import Client
from heliograph.errors import ConfigurationError, UnavailableError

_EPILOG = """\
examples:
  heliograph demo                                    scikit-learn's digits, in a minute
  heliograph demo --once                             the same, ending by itself
  heliograph demo --dataset folder --data photos     your own images, one folder per class
  heliograph demo --dataset cifar10                  CIFAR-10, which Keras downloads (170 MB)
  heliograph demo --tfs localhost:8500               a TensorFlow Serving computes; it must see
                                                     the same folder of models
"""
_START_TIMEOUT = 180.0
"""Seconds for a server to start: importing TensorFlow takes a while on a small machine."""
_SAMPLES = 8
_STEPS = 5


@dataclass(frozen=True)
class _Sample:
    path: Path
    class_name: str


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.description = "Train, export, serve and classify, all on this machine."
    parser.epilog = _EPILOG
    parser.add_argument("--dataset", choices=["digits", "cifar10", "folder"], default="digits")
    parser.add_argument("--data", metavar="PATH", help="where the data set is, if not downloaded")
    parser.add_argument("--epochs", type=int, metavar="N", help="train for N epochs at most")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the training [0]")
    parser.add_argument("--tfs", metavar="HOST:PORT", help="use this TensorFlow Serving")
    parser.add_argument("--once", action="store_true", help="end after the last step")
    parser.add_argument(
        "--directory", type=Path, default=Path("demo"), help="for everything it writes [demo]"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the steps; then serve until Ctrl-C."""
    if arguments.dataset == "folder" and not arguments.data:
        raise ConfigurationError(
            "--dataset folder needs --data: a folder with one folder per class"
        )
    # SIGTERM ends the demo as Ctrl-C does: whatever it started ends with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as stack:
        try:
            _run_steps(arguments, stack)
            if not arguments.once:
                print("Ctrl-C ends the demo.")
                signal.pause()
        except KeyboardInterrupt:
            if arguments.once:
                raise
            print("\nStopping …")
    return 0


def _run_steps(arguments: argparse.Namespace, stack: ExitStack) -> None:
    directory: Path = arguments.directory
    directory.mkdir(parents=True, exist_ok=True)
    model = arguments.dataset
    data = ["--dataset", arguments.dataset]
    if arguments.data:
        data += ["--data", arguments.data]

    _announce(1, "Train a classifier")
    training = ["train", *data, "--seed", str(arguments.seed)]
    training += ["--output", str(directory / "run"), "--overwrite"]
    if arguments.epochs:
        training += ["--epochs", str(arguments.epochs)]
    _command(training)

    _announce(2, "Export it as the next version of the model")
    repository = ["--repository", str(directory / "models")]
    exported = _json_of(["export", str(directory / "run"), *repository, "--model", model])
    print(f"  version {exported['version']} in {exported['path']}")

    _announce(3, "Serve it")
    backend = ["--backend", f"tfs://{arguments.tfs}"] if arguments.tfs else []
    ready = _serve(stack, directory, [*repository, *backend])
    target = ready["address"]
    print(f"  gRPC on {target}, metrics on http://{ready['metrics']}/metrics")

    with Client(target, model=model, timeout=30.0) as client:
        _wait_for_version(client, model, exported["version"])

        _announce(4, "Classify test images that it has not seen")
        samples = _json_of(
            ["samples", *data, "--count", str(_SAMPLES), "--output", str(directory / "samples")]
        )
        _classify(
            client, [_Sample(Path(row["path"]), row["class_name"]) for row in samples["samples"]]
        )

        _announce(5, "Evaluate what is served, on the whole test split")
        evaluation = _json_of(["evaluate", "--target", target, "--model", model, *data])
        examples = evaluation["examples"]
        print(f"  accuracy {evaluation['metrics']['accuracy']:.4f} on {examples} images")

    web = BackgroundProcess(
        "web page",
        ["web", "--target", target, "--model", model, "--listen", "127.0.0.1:0"],
        directory / "web.log",
    )
    stack.callback(web.stop)
    page = web.wait_for(_find_page, _START_TIMEOUT)
    print(
        f"\nThe page {page} takes images, and the gateway answers on {target}:\n"
        f"  heliograph classify {samples['samples'][0]['path']} --target {target} --model {model}"
    )


def _serve(stack: ExitStack, directory: Path, arguments: Sequence[str]) -> dict[str, Any]:
    gateway = BackgroundProcess(
        "gateway",
        [
            "serve",
            *arguments,
            "--listen=127.0.0.1:0",
            "--metrics-listen=127.0.0.1:0",
            "--auto-promote",
            "--log-format=json",
        ],
        directory / "serve.log",
    )
    stack.callback(gateway.stop)
    return gateway.wait_for(_find_ready, _START_TIMEOUT)


def _classify(client: Client, samples: Sequence[_Sample]) -> None:
    rows = [("image", "truth", "prediction", "score", "version")]
    for sample in samples:
        result = client.classify(sample.path)
        rows.append(
            (
                str(sample.path),
                sample.class_name,
                result.class_name,
                f"{result.score:.4f}",
                str(result.version),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  " + "  ".join(cells).rstrip())


def _wait_for_version(client: Client, model: str, version: int) -> None:
    end = time.monotonic() + _START_TIMEOUT
    while True:
        described = next((known for known in client.models() if known.name == model), None)
        if described and described.stable_version == version:
            return
        if time.monotonic() > end:
            reason = described.reason if described else "the gateway does not know it"
            raise UnavailableError(f"version {version} of {model} is not served: {reason}")
        time.sleep(0.1)


def _announce(step: int, what: str) -> None:
    print(f"\n[{step}/{_STEPS}] {what}", flush=True)


def _command(arguments: Sequence[str]) -> None:
    print(f"  $ heliograph {shlex.join(arguments)}", flush=True)
    _check(subprocess.run([sys.executable, "-m", "heliograph.cli", *arguments], check=False))


def _json_of(arguments: Sequence[str]) -> dict[str, Any]:
    print(f"  $ heliograph {shlex.join(arguments)}", flush=True)
    finished = subprocess.run(
        [sys.executable, "-m", "heliograph.cli", *arguments, "--json"],
        stdout=subprocess.PIPE,
        check=False,
    )
    _check(finished)
    document: dict[str, Any] = json.loads(finished.stdout)
    return document


def _check(finished: subprocess.CompletedProcess[Any]) -> None:
    if finished.returncode < 0 or finished.returncode == 130:
        raise KeyboardInterrupt
    if finished.returncode:
        # The command has said in one line what is wrong.
        sys.exit(finished.returncode)


def _find_ready(line: str) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and event.get("event") == "ready" else None


def _find_page(line: str) -> str | None:
    match = re.search(r"https?://[^\s'\"]+", line)
    return match[0] if match else None
