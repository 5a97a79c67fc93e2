"""Fitting a network: Adam with a cosine schedule, early stopping, the best weights kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from heliograph.errors import ConfigurationError
from heliograph_training.augmentation import Augmentation
from heliograph_training.datasets.prepared import PreparedSplit

VALIDATION_FRACTION = 0.1
"""Of each class of the training images; chosen by position, so the same for every seed."""


@dataclass(frozen=True)
class TrainingOptions:
    """How a network is fitted."""

    epochs: int = 30
    """At most."""
    batch_size: int = 64
    learning_rate: float = 1e-3
    """At the start; falls to 0 over `epochs` along half a cosine."""
    patience: int = 10
    """Epochs without a better validation loss after which fitting stops."""
    dropout: float = 0.5
    """Fraction of the dense layer's outputs dropped."""
    seed: int = 0
    """Of weights, shuffling, dropout and augmentation. The splits do not depend on it."""
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        """Refuse what cannot be fitted.

        Raises:
            ConfigurationError: An option is out of range.
        """
        for name in ("epochs", "batch_size", "patience"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} must be at least 1")
        if not 0 < self.learning_rate < math.inf:
            raise ConfigurationError("learning_rate must be above 0 and finite")
        if not 0 <= self.dropout < 1:
            raise ConfigurationError("dropout must be at least 0 and below 1")
        if not 0 <= self.seed < 2**32:
            raise ConfigurationError("seed must be in 0 to 4294967295")


_DEFAULTS: Mapping[str, TrainingOptions] = {
    # 1,442 small images: many short epochs. Digits are not flipped.
    "digits": TrainingOptions(
        epochs=40,
        learning_rate=3e-3,
        dropout=0.3,
        augmentation=Augmentation(shift=0.1, zoom=0.1, noise=0.05),
    ),
    # The guide's network is small for 50,000 images: it underfits long before it overfits.
    "cifar10": TrainingOptions(
        epochs=40,
        dropout=0.3,
        augmentation=Augmentation(flip=True, shift=0.1),
    ),
    "folder": TrainingOptions(
        batch_size=32,
        augmentation=Augmentation(flip=True, shift=0.1, zoom=0.1, noise=0.01),
    ),
}


def default_options(dataset: str) -> TrainingOptions:
    """Return the options that suit a data set of `heliograph_training.datasets.DATASETS`."""
    return _DEFAULTS.get(dataset, _DEFAULTS["folder"])


@dataclass(frozen=True)
class EpochReport:
    """Figures of one epoch. Losses are cross-entropies in nats, accuracies in [0, 1]."""

    epoch: int
    """Counted from 1."""
    loss: float
    """With dropout and augmentation, while the weights changed."""
    accuracy: float
    validation_loss: float
    validation_accuracy: float


@dataclass(frozen=True)
class History:
    """The course of a fit: at least one epoch with a finite validation loss."""

    epochs: tuple[EpochReport, ...]

    @property
    def best(self) -> EpochReport:
        """The epoch whose weights were kept: the one with the lowest validation loss."""
        return min(
            (report for report in self.epochs if math.isfinite(report.validation_loss)),
            key=lambda report: report.validation_loss,
        )


class FitObserver:
    """Is told how a fit goes on. Does nothing; override what is of interest."""

    def on_batch(self) -> None:
        """Note that one more batch is done."""

    def on_epoch(self, report: EpochReport) -> None:
        """Note the figures of a finished epoch."""


def fit(
    build: Callable[[], Any],
    train: PreparedSplit,
    validation: PreparedSplit,
    options: TrainingOptions,
    *,
    checkpoint: Path,
    observer: FitObserver | None = None,
) -> tuple[Any, History]:
    """Build and fit a network.

    Args:
        build: Returns the network, uint8 pixels to probabilities; called after seeding.
        train: What it learns from.
        validation: What decides which weights are best and when to stop.
        options: How.
        checkpoint: File that holds the best epoch so far, with the state of its optimiser; ends in
            `.keras`.
        observer: Is told about every batch and epoch.

    Returns:
        The network with its best weights, and the history.

    Raises:
        ConfigurationError: No epoch gave finite numbers.
    """
    import keras

    keras.utils.set_random_seed(options.seed)
    network = build()
    steps = options.epochs * steps_per_epoch(len(train.pixels), options)
    schedule = keras.optimizers.schedules.CosineDecay(options.learning_rate, steps)
    network.compile(
        optimizer=keras.optimizers.Adam(schedule),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,
    )
    reports: list[EpochReport] = []
    network.fit(
        train.pixels,
        train.class_indices,
        validation_data=(validation.pixels, validation.class_indices),
        validation_batch_size=256,
        epochs=options.epochs,
        batch_size=options.batch_size,
        verbose=0,
        callbacks=[
            # The whole network, not its weights alone: Keras writes those straight into an HDF5
            # file, and HDF5 takes the process along when the disk is full.
            keras.callbacks.ModelCheckpoint(
                str(checkpoint), monitor="val_loss", save_best_only=True
            ),
            keras.callbacks.EarlyStopping("val_loss", patience=options.patience),
            keras.callbacks.TerminateOnNaN(),
            _reporter(reports, observer or FitObserver()),
        ],
    )
    # Keras keeps the first epoch as the best so far, whatever it is worth.
    if not any(math.isfinite(report.validation_loss) for report in reports):
        raise ConfigurationError("training diverged in its first epoch; lower the learning rate")
    return keras.saving.load_model(checkpoint, compile=False), History(tuple(reports))


def steps_per_epoch(examples: int, options: TrainingOptions) -> int:
    """Return the batches of an epoch; the last one may be smaller."""
    return -(-examples // options.batch_size)


def split_validation(train: PreparedSplit) -> tuple[PreparedSplit, PreparedSplit]:
    """Keep a tenth of every class for validation: at least one example of a class with several.

    The examples are taken at equal distances, so the split depends on nothing but their order.
    """
    held_out = np.zeros(len(train.class_indices), dtype=bool)
    for class_index in np.unique(train.class_indices):
        members = np.flatnonzero(train.class_indices == class_index)
        if len(members) > 1:
            count = max(1, round(len(members) * VALIDATION_FRACTION))
            held_out[members[(np.arange(count) * len(members)) // count]] = True
    return _select(train, ~held_out), _select(train, held_out)


def with_options(options: TrainingOptions, changes: Mapping[str, Any]) -> TrainingOptions:
    """Return options with some changed; names of augmentation and of options may be mixed."""
    own = {name for name in Augmentation.__dataclass_fields__ if name in changes}
    return replace(
        options,
        augmentation=replace(options.augmentation, **{name: changes[name] for name in own}),
        **{name: value for name, value in changes.items() if name not in own},
    )


def _select(split: PreparedSplit, mask: npt.NDArray[np.bool_]) -> PreparedSplit:
    return PreparedSplit(
        split.pixels[mask],
        split.class_indices[mask],
        tuple(line for line, chosen in zip(split.content, mask, strict=True) if chosen),
    )


def _reporter(reports: list[EpochReport], observer: FitObserver) -> Any:
    import keras

    class _Reporter(keras.callbacks.Callback):  # type: ignore[misc]  # keras ships no types
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            """Pass the batch on."""
            observer.on_batch()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            """Keep the figures and pass them on."""
            report = EpochReport(
                epoch=epoch + 1,
                loss=float(logs["loss"]),
                accuracy=float(logs["accuracy"]),
                validation_loss=float(logs["val_loss"]),
                validation_accuracy=float(logs["val_accuracy"]),
            )
            reports.append(report)
            observer.on_epoch(report)

    return _Reporter()
