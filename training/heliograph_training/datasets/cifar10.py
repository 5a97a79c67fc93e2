"""CIFAR-10: 60,000 colour images of 32x32 pixels in ten classes, 10,000 of them for the test.

Source: https://www.cs.toronto.edu/~kriz/cifar.html. Without a location Keras downloads it
(170 MB); otherwise the original files for Python (folder or tar.gz) or a folder or zip archive of
JPEG or PNG files serve: `train/CLASS/*.jpg`, `test/CLASS/*.jpg`.
"""

from __future__ import annotations

import sys
import tarfile
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from heliograph.errors import InvalidDatasetError, UnavailableError
from heliograph.preprocessing import Recipe, parse_recipe
from heliograph_training.datasets.arrays import ArraySplit
from heliograph_training.datasets.dataset import Dataset
from heliograph_training.datasets.folder import open_folder
from heliograph_training.datasets.restricted_pickle import load_restricted

RECIPE = "decode(rgb) | resize(32, 32)"
CLASS_NAMES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
_TRAIN_FILES = tuple(f"data_batch_{number}" for number in range(1, 6))
_TEST_FILE = "test_batch"
_Arrays = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]


def open_cifar10(location: Path | None = None, recipe: Recipe | None = None) -> Dataset:
    """Open CIFAR-10.

    Args:
        location: The original files or a folder or zip archive of images; None downloads.
        recipe: Preprocessing; the images as they are when None.

    Raises:
        InvalidDatasetError: The location holds something else.
        UnavailableError: The download failed.
    """
    recipe = recipe or parse_recipe(RECIPE)
    if location is None:
        return _from_arrays(recipe, *_download())
    if not location.exists():
        raise InvalidDatasetError(f"{location} does not exist; give an existing --data")
    files = _original_files(location)
    if files is None:
        dataset = open_folder(location, recipe, name="cifar10")
        if dataset.class_names != CLASS_NAMES:
            raise InvalidDatasetError(
                f"{location} does not hold the ten classes of CIFAR-10 but "
                f"{', '.join(dataset.class_names[:10])}; use --dataset folder for other images"
            )
        return dataset
    missing = [name for name in (*_TRAIN_FILES, _TEST_FILE) if name not in files]
    if missing:
        raise InvalidDatasetError(f"{location} lacks {', '.join(missing)} of CIFAR-10")
    batches = [_read_batch(location, name, files[name]) for name in _TRAIN_FILES]
    train = (
        np.concatenate([pixels for pixels, _ in batches]),
        np.concatenate([classes for _, classes in batches]),
    )
    return _from_arrays(recipe, train, _read_batch(location, _TEST_FILE, files[_TEST_FILE]))


def _from_arrays(recipe: Recipe, train: _Arrays, test: _Arrays) -> Dataset:
    return Dataset(
        name="cifar10",
        class_names=CLASS_NAMES,
        recipe=recipe,
        splits={
            "train": ArraySplit("train", *train, CLASS_NAMES),
            "test": ArraySplit("test", *test, CLASS_NAMES),
        },
    )


def _download() -> tuple[_Arrays, _Arrays]:
    import keras

    try:
        # Keras shows its progress on stdout, which belongs to the command's output.
        with redirect_stdout(sys.stderr):
            (train, train_classes), (test, test_classes) = keras.datasets.cifar10.load_data()
    except Exception as error:
        # Keras raises a bare Exception when a download fails.
        raise UnavailableError(
            f"CIFAR-10 could not be downloaded ({error}); give its files with --data"
        ) from error
    return (
        (train, train_classes.reshape(-1).astype(np.int64)),
        (test, test_classes.reshape(-1).astype(np.int64)),
    )


def _original_files(location: Path) -> Mapping[str, bytes] | None:
    """Return the original files by name; None when the location is not of that form."""
    wanted = {*_TRAIN_FILES, _TEST_FILE}
    try:
        if location.is_dir():
            for folder in (location, location / "cifar-10-batches-py"):
                found = [folder / name for name in sorted(wanted) if (folder / name).is_file()]
                if found:
                    return {path.name: path.read_bytes() for path in found}
            return None
        if not tarfile.is_tarfile(location):
            return None
        contents: dict[str, bytes] = {}
        with tarfile.open(location) as archive:
            for member in archive:
                name = Path(member.name).name
                if member.isfile() and name in wanted:
                    file = archive.extractfile(member)
                    contents[name] = file.read() if file else b""
        return contents
    except (OSError, EOFError, tarfile.TarError) as error:
        raise InvalidDatasetError(f"{location} cannot be read: {error}") from error


def _read_batch(location: Path, name: str, content: bytes) -> _Arrays:
    """Read a batch: rows of 3,072 bytes, red, green and blue planes of 32x32 after each other."""
    try:
        batch: Any = load_restricted(content)
        pixels = np.asarray(batch[b"data"], dtype=np.uint8).reshape(-1, 3, 32, 32)
        classes = np.asarray(batch[b"labels"], dtype=np.int64)
        if classes.shape != (len(pixels),) or not len(pixels):
            raise ValueError("data and labels differ in length")
        if classes.min() < 0 or classes.max() >= len(CLASS_NAMES):
            raise ValueError("a label is not in 0 to 9")
    except (InvalidDatasetError, ValueError, TypeError, KeyError) as error:
        raise InvalidDatasetError(f"{location}: {name} is no batch of CIFAR-10: {error}") from error
    return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)), classes
