from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from heliograph.errors import ConfigurationError
from heliograph_training.architectures import pool_sizes
from heliograph_training.augmentation import Augmentation
from heliograph_training.datasets import DATASETS
from heliograph_training.datasets.prepared import PreparedSplit
from heliograph_training.fit import (
    EpochReport,
    History,
    TrainingOptions,
    default_options,
    split_validation,
    steps_per_epoch,
    with_options,
)

DOCUMENT = Path(__file__).parents[3] / "docs" / "training.md"


def test_digits_are_never_flipped_and_photos_are() -> None:
    flips = {name: default_options(name).augmentation.flip for name in DATASETS}
    assert flips == {"digits": False, "cifar10": True, "folder": True}


@pytest.mark.parametrize("name", DATASETS)
def test_the_document_has_the_options_that_are_used(name: str) -> None:
    lines = DOCUMENT.read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("| | flip |"))
    row = next(line for line in lines[start:] if line.startswith(f"| `{name}` |"))
    cells = [cell.strip() for cell in row.strip("|").split("|")][1:]
    options = default_options(name)
    augmentation = options.augmentation
    assert cells[0].startswith("yes" if augmentation.flip else "no")
    figures = [float(cell) if cell != "–" else 0.0 for cell in cells[1:]]
    assert figures == [
        augmentation.shift,
        augmentation.zoom,
        augmentation.noise,
        options.dropout,
        options.epochs,
        options.batch_size,
        options.learning_rate,
    ]


def test_options_and_augmentation_change_by_name() -> None:
    options = with_options(default_options("digits"), {"epochs": 3, "flip": True, "noise": 0.0})
    assert options.epochs == 3
    assert options.augmentation == Augmentation(flip=True, shift=0.1, zoom=0.1, noise=0.0)
    assert options.learning_rate == default_options("digits").learning_rate


@pytest.mark.parametrize(
    "make",
    [
        lambda: TrainingOptions(epochs=0),
        lambda: TrainingOptions(batch_size=0),
        lambda: TrainingOptions(patience=0),
        lambda: TrainingOptions(learning_rate=0),
        lambda: TrainingOptions(learning_rate=float("nan")),
        lambda: TrainingOptions(learning_rate=float("inf")),
        lambda: TrainingOptions(dropout=1),
        lambda: TrainingOptions(seed=-1),
        lambda: Augmentation(shift=1),
        lambda: Augmentation(zoom=-0.1),
        lambda: Augmentation(noise=float("nan")),
    ],
)
def test_options_out_of_range_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ConfigurationError, match="must be"):
        make()


@pytest.mark.parametrize(
    ("side", "windows"), [(8, (2, 2)), (32, (2, 2)), (64, (3, 3)), (96, (4, 3)), (224, (6, 5))]
)
def test_pools_bring_any_image_to_eight_by_eight_or_less(
    side: int, windows: tuple[int, int]
) -> None:
    first, second = pool_sizes(side)
    assert (first, second) == windows
    assert math.ceil(math.ceil(side / first) / second) <= 8


def test_a_tenth_of_every_class_validates() -> None:
    classes = np.repeat([0, 1, 2], [100, 40, 1])
    split = PreparedSplit(
        np.arange(141, dtype=np.uint8).reshape(-1, 1, 1, 1),
        classes,
        tuple(map(str, range(141))),
    )
    learn, validation = split_validation(split)
    assert np.bincount(learn.class_indices).tolist() == [90, 36, 1]
    assert np.bincount(validation.class_indices).tolist() == [10, 4]
    kept = sorted(map(int, (*learn.content, *validation.content)))
    assert kept == list(range(141))
    assert learn.pixels[:, 0, 0, 0].tolist() == list(map(int, learn.content))


def test_the_last_batch_of_an_epoch_may_be_smaller() -> None:
    assert steps_per_epoch(129, TrainingOptions(batch_size=64)) == 3


def test_the_best_epoch_is_the_one_with_the_lowest_validation_loss() -> None:
    losses = (0.9, 0.4, 0.6)
    reports = tuple(EpochReport(number, 1, 0, loss, 0) for number, loss in enumerate(losses, 1))
    assert History(reports).best.epoch == 2
