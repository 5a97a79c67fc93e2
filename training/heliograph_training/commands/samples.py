"""`heliograph samples`: held-out test images as files, to try a model with."""

from __future__ import annotations

import argparse
from pathlib import Path

from heliograph.durable_files import storage_errors, write_whole
from heliograph.errors import ConfigurationError
from heliograph_training.commands.dataset_arguments import (
    add_dataset_arguments,
    open_named_dataset,
)
from heliograph_training.commands.evaluation_table import print_json
from heliograph_training.datasets import Dataset
from heliograph_training.datasets.dataset import read_all, spread_over_classes
from heliograph_training.tensorflow_startup import start_tensorflow


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = "Write test images that no training run has seen, with their true classes."
    parser.epilog = (
        "examples:\n"
        "  heliograph samples --dataset digits --count 8 --output samples\n"
        "  heliograph samples --dataset cifar10 --data cifar10.zip --count 100 --output samples "
        "--json\n\n"
        "The files are OUTPUT/CLASS/0001.png and so on (.jpg where the data set has JPEG files)."
    )
    add_dataset_arguments(parser)
    parser.add_argument(
        "--count", type=int, default=8, metavar="N", help="images, over all classes [%(default)s]"
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder to write into"
    )
    parser.add_argument("--json", action="store_true", help="print paths and true classes as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Write the images; return 0."""
    if arguments.count < 1:
        raise ConfigurationError("--count must be at least 1")
    if arguments.dataset == "cifar10" and arguments.data is None:
        start_tensorflow()
    written = write_samples(open_named_dataset(arguments), arguments.count, arguments.output)
    if arguments.json:
        rows = [{"path": str(path), "class_name": class_name} for path, class_name in written]
        print_json({"samples": rows})
    else:
        for path, class_name in written:
            print(f"{path}  {class_name}")
    return 0


def write_samples(dataset: Dataset, count: int, output: Path) -> list[tuple[Path, str]]:
    """Write test images, as evenly over the classes as possible.

    Returns:
        Path and true class name of each.

    Raises:
        StorageError: A file could not be written.
    """
    split = dataset.splits["test"]
    chosen = spread_over_classes(split.class_indices, count)
    written: list[tuple[Path, str]] = []
    numbers: dict[int, int] = {}
    for example in read_all(split, chosen):
        class_name = dataset.class_names[example.class_index]
        number = numbers[example.class_index] = numbers.get(example.class_index, 0) + 1
        path = output / class_name / f"{number:04d}{Path(example.name).suffix.lower()}"
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, example.encoded)
        written.append((path, class_name))
    return written
