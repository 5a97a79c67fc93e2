"""Data sets by name: `digits`, `cifar10`, and any folder of images."""

from __future__ import annotations

from pathlib import Path

from heliograph.errors import InvalidDatasetError
from heliograph.preprocessing import Recipe
from heliograph_training.datasets.cifar10 import open_cifar10
from heliograph_training.datasets.dataset import Dataset, Example, Split, SplitName
from heliograph_training.datasets.digits import open_digits
from heliograph_training.datasets.folder import open_folder

__all__ = ["DATASETS", "Dataset", "Example", "Split", "SplitName", "open_dataset"]

DATASETS = ("digits", "cifar10", "folder")
"""Names that `open_dataset` knows."""


def open_dataset(name: str, data: Path | None = None, recipe: Recipe | None = None) -> Dataset:
    """Open a data set.

    Args:
        name: One of `DATASETS`.
        data: Where its files are. `digits` has none; `cifar10` is downloaded without it; `folder`
            needs it.
        recipe: Preprocessing instead of the data set's own.

    Raises:
        InvalidDatasetError: There is no such data set, or its files cannot be used.
        UnavailableError: The download failed.
    """
    if name == "digits":
        if data is not None:
            raise InvalidDatasetError(
                "digits come with scikit-learn; leave out --data, or use --dataset folder"
            )
        return open_digits(recipe)
    if name == "cifar10":
        return open_cifar10(data, recipe)
    if name == "folder":
        if data is None:
            raise InvalidDatasetError("--dataset folder needs --data DIR with one folder per class")
        return open_folder(data, recipe)
    raise InvalidDatasetError(f"no data set {name}; there are {', '.join(DATASETS)}")
