"""Arguments that name a data set, shared by the commands that read one."""

from __future__ import annotations

import argparse
from pathlib import Path

from heliograph.errors import InvalidDatasetError
from heliograph.preprocessing import Recipe, parse_recipe
from heliograph_training.datasets import DATASETS, Dataset, open_dataset
from heliograph_training.run import Run


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


def open_named_dataset(arguments: argparse.Namespace, recipe: Recipe | None = None) -> Dataset:
    """Open the data set that the arguments name.

    Args:
        arguments: With `dataset`, `data` and `recipe`.
        recipe: Used when the arguments give none; None for the data set's own.

    Raises:
        InvalidDatasetError: It cannot be used.
        InvalidRecipeError: The recipe does not parse.
    """
    if arguments.recipe is not None:
        recipe = parse_recipe(arguments.recipe)
    return open_dataset(arguments.dataset, arguments.data, recipe)


def dataset_of_run(run: Run, *, data: Path | None = None) -> Dataset:
    """Open the data set of a run again, with the recipe of the run.

    Args:
        run: The run.
        data: Where the files are now; where they were when None.

    Raises:
        InvalidDatasetError: It cannot be used, or has other classes than the run.
    """
    source = run.configuration["dataset"]
    if data is None and source.get("data"):
        data = Path(source["data"])
    dataset = open_dataset(source["name"], data, run.recipe)
    if dataset.class_names != run.class_names:
        raise InvalidDatasetError(
            f"{data or source['name']} no longer has the classes of {run.path}; give the data of "
            "the run with --data"
        )
    return dataset
