"""Arguments that name a data set, shared by the commands that read one."""

from __future__ import annotations

import argparse
from pathlib import Path

from heliograph.preprocessing import parse_recipe
from heliograph_training.datasets import DATASETS, Dataset, open_dataset


def add_dataset_arguments(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add `--dataset`, `--data` and `--recipe`."""
    group = parser.add_argument_group("data")
    group.add_argument(
        "--dataset",
        choices=DATASETS,
        required=required,
        help="digits comes with scikit-learn, cifar10 is downloaded unless --data says where it "
        "is, folder is any folder or zip archive with one folder per class",
    )
    group.add_argument(
        "--data", type=Path, metavar="DIR", help="folder or archive of the data set's files"
    )
    group.add_argument(
        "--recipe",
        metavar="TEXT",
        help="preprocessing, for example 'decode(rgb) | resize_shorter(96) | center_crop(96)'; "
        "chosen from the sizes of the images unless given",
    )


def open_named_dataset(arguments: argparse.Namespace) -> Dataset:
    """Open the data set that the arguments name.

    Raises:
        InvalidDatasetError: It cannot be used.
        InvalidRecipeError: The recipe does not parse.
    """
    recipe = None if arguments.recipe is None else parse_recipe(arguments.recipe)
    return open_dataset(arguments.dataset, arguments.data, recipe)
