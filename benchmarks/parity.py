"""How far the served probabilities are from the trainer's own, over the whole path.

    python benchmarks/parity.py [--cifar10 ZIP_OR_FOLDER] [--json]

Trains a small network on each data set, exports it, serves it with `heliograph serve`, and compares
what a client gets for encoded images with what the trainer's network says about its own pixels:

    digits    the whole test split, as PNG
    photos    200 generated photographs of 1600 × 1200 and more, as JPEG, decoded at a reduced scale
    cifar10   1,000 test images, as JPEG; only with --cifar10
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from heliograph import Client
from heliograph.cli.background_process import BackgroundProcess
from heliograph.results import Result
from heliograph_training.datasets import open_dataset
from heliograph_training.datasets.dataset import read_all, spread_evenly
from heliograph_training.datasets.prepared import prepare_split
from heliograph_training.run import Run, predict

LARGEST_DIFFERENCE = 1e-4
PHOTOS = 200
START_TIMEOUT = 120.0


@dataclass(frozen=True)
class Case:
    """A data set, how long to train on it, and how many test images to compare."""

    name: str
    dataset: str
    data: Path | None
    epochs: int
    limit: int | None
    recipe: str | None = None


def write_photos(folder: Path) -> None:
    """Write generated photographs of two classes: coarse and fine waves, with noise."""
    random = np.random.default_rng(0)
    for index in range(PHOTOS + 40):
        split = "test" if index < PHOTOS else "train"
        kind, wave = (("coarse", 200.0), ("fine", 40.0))[index % 2]
        width, height = 1600 + 16 * (index % 40), 1200 + 8 * (index % 50)
        y, x = np.mgrid[:height, :width].astype(np.float32)
        colours = [
            128 + 90 * np.sin((x + index * 7) / wave + c) * np.cos(y / wave) for c in (0, 1, 2)
        ]
        pixels = np.stack(colours, axis=-1) + random.normal(0, 8, (height, width, 1))
        target = folder / split / kind / f"{index:04}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=85)
        target.write_bytes(buffer.getvalue())


def compare(case: Case, folder: Path) -> dict[str, Any]:
    """Train, export, serve and compare one case."""
    source = ["--dataset", case.dataset, *(("--data", str(case.data)) if case.data else ())]
    recipe = ["--recipe", case.recipe] if case.recipe else []
    run = folder / f"run-{case.name}"
    repository = folder / f"models-{case.name}"
    command("train", *source, *recipe, f"--epochs={case.epochs}", "--output", str(run))
    command("export", str(run), "--repository", str(repository), "--model", case.name)

    finished = Run(run)
    split = open_dataset(case.dataset, case.data, finished.recipe).splits["test"]
    chosen = spread_evenly(len(split.class_indices), case.limit)
    trained = predict(
        finished.load_network(), prepare_split(split, finished.recipe, indices=chosen).pixels
    )
    served = np.full_like(trained, np.nan)
    gateway = BackgroundProcess(
        "gateway",
        [
            *("serve", f"--repository={repository}", "--listen=127.0.0.1:0"),
            *("--metrics-listen=", "--log-format=json"),
        ],
        folder / f"serve-{case.name}.log",
    )
    try:
        address = gateway.wait_for(find_address, START_TIMEOUT)
        with Client(address, timeout=60.0) as client:
            images = (example.encoded for example in read_all(split, chosen))
            answers = client.classify_many(images, top_k=trained.shape[1])
            for row, answer in zip(served, answers, strict=True):
                assert isinstance(answer, Result), answer
                for entry in answer.classes:
                    row[entry.index] = entry.score
    finally:
        gateway.stop()
    truths = np.array([split.class_indices[index] for index in chosen])
    return {
        "images": len(chosen),
        "largest_difference": float(np.abs(served - trained).max()),
        "accuracy_trainer": float((trained.argmax(axis=1) == truths).mean()),
        "accuracy_served": float((served.argmax(axis=1) == truths).mean()),
    }


def command(*arguments: str) -> None:
    """Run a heliograph command; its progress goes to stderr."""
    subprocess.run(
        [sys.executable, "-m", "heliograph.cli", *arguments], check=True, stdout=sys.stderr
    )


def find_address(line: str) -> str | None:
    """Return the address of a gateway that is ready."""
    event = json.loads(line) if line.startswith("{") else {}
    return event["address"] if event.get("event") == "ready" else None


def main() -> int:
    """Compare every case; 1 when one is off by more than the contract's tolerance."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cifar10", type=Path, help="CIFAR-10 as a zip or folder of images")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_photos(folder / "photos")
        shorter = "decode(rgb) | resize_shorter(72) | center_crop(64, 64)"
        cases = [
            Case("digits", "digits", None, 12, None),
            Case("photos", "folder", folder / "photos", 2, None, shorter),
        ]
        if arguments.cifar10:
            cases.append(Case("cifar10", "cifar10", arguments.cifar10.resolve(), 1, 1000))
        results = {case.name: compare(case, folder) for case in cases}
    if arguments.json:
        print(json.dumps(results, indent=2))
    else:
        for name, result in results.items():
            print(
                f"{name:<8} {result['images']:>6} images  "
                f"largest difference {result['largest_difference']:.1e}  accuracy "
                f"{result['accuracy_trainer']:.4f} trained, {result['accuracy_served']:.4f} served"
            )
    worst = max(result["largest_difference"] for result in results.values())
    return 0 if worst <= LARGEST_DIFFERENCE else 1


if __name__ == "__main__":
    sys.exit(main())
