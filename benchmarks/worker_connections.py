"""How connections meet the workers of a gateway: images a second, and who answered them.

    python -m benchmarks.worker_connections [--seconds 5] [--trials 5] [--json]

For each number of workers a gateway runs in front of a backend that answers at once, in a process
of its own. h2load keeps 32 calls with the same JPEG of 1 kB under way, over one, two or sixteen
connections. The kernel chooses the worker of a connection when it is made, so that two connections
are tried several times, each time with new ones. What was answered is read from the gateway's
/metrics, the share of each worker from the processor time that it has had, and so is what the
backend has had: where it comes near one core, the backend is the limit and not the workers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from benchmarks.stream_throughput import Instant, compute, make_images, publish
from prometheus_client.parser import text_string_to_metric_families

from heliograph.cli.background_process import BackgroundProcess
from heliograph.repository import Repository
from heliograph.v1.classifier_pb2 import ClassifyRequest, Image
from heliograph_gateway.backends.fake_server import FakeTensorFlowServing

WORKERS = (1, 2, 4)
CONNECTIONS = (1, 2, 16)
UNDER_WAY = 32
"""Calls at any time, over all connections."""
START_TIMEOUT = 120.0
SLACK = 30.0
"""Seconds that h2load may take beyond the measurement."""
BOTH_WORK = 0.1
"""A worker with less than this share of the processor time had no connection."""


async def serve_backend(repository: Path) -> None:
    """Answer at once until stdin ends, and say where."""
    server = FakeTensorFlowServing(Instant(Repository(repository), compute))
    await server.start()
    print(server.address, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop()


@contextmanager
def running_backend(repository: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Run the backend in a process of its own; give its address."""
    command = [sys.executable, "-m", "benchmarks.worker_connections", f"--backend={repository}"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            yield process.stdout.readline().strip(), psutil.Process(process.pid)
        finally:
            process.stdin.close()


class RunningGateway:
    """A gateway, its addresses and the processes that answer."""

    def __init__(self, process: BackgroundProcess) -> None:
        """Wait until it is ready."""
        ready = process.wait_for(_ready, START_TIMEOUT)
        self.address: str = ready["address"]
        self._metrics: str = ready["metrics"]
        # One process alone is its own worker; with several, the supervisor answers nothing.
        gateway = psutil.Process(process.pid)
        self.workers = sorted(gateway.children(), key=lambda worker: worker.pid) or [gateway]

    def answered(self) -> float:
        """Return the number of images that were classified."""
        with urllib.request.urlopen(f"http://{self._metrics}/metrics", timeout=SLACK) as response:
            text = response.read().decode()
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "heliograph_class_total"
        )


@contextmanager
def running_gateway(
    repository: Path, backend: str, workers: int, log: Path
) -> Iterator[RunningGateway]:
    """Run a gateway with a number of workers."""
    process = BackgroundProcess(
        "gateway",
        [
            *("serve", f"--repository={repository}", f"--backend={backend}"),
            *("--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0", "--log-format=json"),
            f"--workers={workers}",
        ],
        log,
    )
    try:
        yield RunningGateway(process)
    finally:
        process.stop()


def _ready(line: str) -> dict[str, Any] | None:
    event = json.loads(line) if line.startswith("{") else {}
    return event if event.get("event") == "ready" else None


def measure(
    gateway: RunningGateway, backend: psutil.Process, body: Path, connections: int, seconds: float
) -> dict[str, Any]:
    """Send for a time over new connections; return what was answered, and by whom."""
    answered, before = gateway.answered(), processor_seconds([*gateway.workers, backend])
    start = time.perf_counter()
    subprocess.run(
        [
            *("h2load", f"--duration={round(seconds * 1000)}ms", "--threads=1"),
            *(f"--clients={connections}", f"--max-concurrent-streams={UNDER_WAY // connections}"),
            *("--header=content-type: application/grpc", "--header=te: trailers"),
            *(f"--data={body}", f"http://{gateway.address}/heliograph.v1.Classifier/Classify"),
        ],
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=seconds + SLACK,
    )
    elapsed = time.perf_counter() - start
    after = processor_seconds([*gateway.workers, backend])
    *used, of_backend = [late - early for early, late in zip(before, after, strict=True)]
    return {
        "images_per_second": (gateway.answered() - answered) / elapsed,
        "share_per_worker": [each / max(sum(used), 1e-9) for each in used],
        "cores_of_workers": sum(used) / elapsed,
        "cores_of_backend": of_backend / elapsed,
    }


def processor_seconds(processes: list[psutil.Process]) -> list[float]:
    """Return the processor time that each process has had."""
    return [sum(process.cpu_times()[:2]) for process in processes]


def run(folder: Path, seconds: float, trials: int) -> list[dict[str, Any]]:
    """Measure every number of connections with every number of workers."""
    repository, body = folder / "models", folder / "request.bin"
    publish(repository)
    [image] = make_images(1)
    message = ClassifyRequest(image=Image(encoded=image)).SerializeToString()
    body.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
    cells = []
    with running_backend(repository) as (address, backend):
        for workers in WORKERS:
            log = folder / f"serve-{workers}.log"
            with running_gateway(repository, address, workers, log) as gateway:
                measure(gateway, backend, body, UNDER_WAY, min(1.0, seconds))  # warms all up
                for connections in CONNECTIONS:
                    tries = trials if connections == 2 and workers > 1 else 1
                    print(f"{workers} workers, {connections} connections", file=sys.stderr)
                    measured = [
                        measure(gateway, backend, body, connections, seconds) for _ in range(tries)
                    ]
                    cells.append(
                        {"workers": workers, "connections": connections, "trials": measured}
                    )
    return cells


def describe(cell: dict[str, Any]) -> str:
    """Return a line of the table: medians of the trials, with the lowest and the highest rate."""
    trials = cell["trials"]
    rates = [trial["images_per_second"] for trial in trials]
    rate = f"{statistics.median(rates):.0f}"
    if len(trials) > 1:
        rate += f" ({min(rates):.0f} to {max(rates):.0f})"
    busy = [sum(share > BOTH_WORK for share in trial["share_per_worker"]) for trial in trials]
    shares = sorted(trials[-1]["share_per_worker"], reverse=True)
    answering = f"{min(busy)} to {max(busy)}" if min(busy) < max(busy) else str(busy[0])
    backend = statistics.median(trial["cores_of_backend"] for trial in trials)
    return (
        f"{cell['workers']:>7}  {cell['connections']:>11}  {rate:>22}  {answering:>9}  "
        f"{' '.join(f'{share:.0%}' for share in shares):<20}  {backend:.2f}"
    )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each trial")
    parser.add_argument("--trials", type=int, default=5, help="with two connections")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--backend", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.backend:
        asyncio.run(serve_backend(arguments.backend))
        return 0
    if shutil.which("h2load") is None:
        print("h2load is missing: apt-get install nghttp2-client", file=sys.stderr)
        return 1
    if arguments.seconds <= 0 or arguments.trials < 1:
        parser.error("--seconds has to be above 0, and --trials at least 1")
    with tempfile.TemporaryDirectory() as name:
        cells = run(Path(name), arguments.seconds, arguments.trials)
    if arguments.json:
        print(json.dumps({"cores": os.cpu_count(), "cells": cells}, indent=2))
        return 0
    print(f"{UNDER_WAY} calls under way, {os.cpu_count()} cores for everything")
    print(
        f"{'workers':>7}  {'connections':>11}  {'images/s':>22}  {'answering':>9}  "
        f"{'shares (last trial)':<20}  backend, cores"
    )
    for cell in cells:
        print(describe(cell))
    return 0


if __name__ == "__main__":
    sys.exit(main())
