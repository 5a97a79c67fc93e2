"""Handwritten digits of 8x8 pixels, 1,797 of them; they come with scikit-learn.

Source: https://archive.ics.uci.edu/dataset/80 (the test part of it), values 0 to 16.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from heliograph.preprocessing import Recipe, parse_recipe
from heliograph_training.datasets.arrays import ArraySplit
from heliograph_training.datasets.dataset import Dataset

RECIPE = "decode(grey) | resize(8, 8)"
CLASS_NAMES = tuple("0123456789")
_LARGEST_VALUE = 16
_TEST_EVERY = 5
"""Every fifth digit of a class is held out for the test, whatever the seed of a run."""


def open_digits(recipe: Recipe | None = None) -> Dataset:
    """Return the digits, each class split 4:1 into train and test."""
    from sklearn.datasets import load_digits

    source = load_digits()
    pixels = np.rint(source.images * (255 / _LARGEST_VALUE)).astype(np.uint8)
    classes = source.target.astype(np.int64)
    held_out = _hold_out(classes)
    return Dataset(
        name="digits",
        class_names=CLASS_NAMES,
        recipe=recipe or parse_recipe(RECIPE),
        splits={
            "train": ArraySplit("train", pixels[~held_out], classes[~held_out], CLASS_NAMES),
            "test": ArraySplit("test", pixels[held_out], classes[held_out], CLASS_NAMES),
        },
    )


def _hold_out(classes: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    held_out = np.zeros(len(classes), dtype=bool)
    for class_index in np.unique(classes):
        held_out[np.flatnonzero(classes == class_index)[_TEST_EVERY - 1 :: _TEST_EVERY]] = True
    return held_out
