"""A training run: from a data set to a directory that holds everything one wants to know later.

    RUN/configuration.json   what was asked for: data set, recipe, architecture, options, versions
    RUN/dataset.json         what the data was: class names, sizes of the splits, fingerprint
    RUN/history.json         losses and accuracies of every epoch
    RUN/checkpoint.keras     the best epoch, with the state of its optimiser
    RUN/model.keras          its network alone
    RUN/evaluation.json      figures on the test split

The directory appears whole, when the run is finished.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from heliograph.durable_files import storage_errors, sync_directory, sync_tree, write_whole
from heliograph.errors import (
    AlreadyExistsError,
    ConfigurationError,
    InvalidDatasetError,
    NotFoundError,
)
from heliograph.preprocessing import RECIPE_VERSION, Recipe, decoder_build, parse_recipe
from heliograph.version import __version__
from heliograph_training.architectures import guide_cnn
from heliograph_training.datasets.dataset import Dataset, SplitName, fingerprint, spread_evenly
from heliograph_training.datasets.prepared import PreparedSplit, check_trainable, prepare_split
from heliograph_training.evaluation import Evaluation, evaluate_probabilities, read_evaluation
from heliograph_training.fit import (
    EpochReport,
    FitObserver,
    History,
    TrainingOptions,
    fit,
    split_validation,
    steps_per_epoch,
)
from heliograph_training.progress import Progress, SilentProgress, Task

_BATCH = 256
"""Images per step where nothing is learnt."""


@dataclass(frozen=True)
class Run:
    """A finished run. Its files are read when they are asked for."""

    path: Path

    @cached_property
    def configuration(self) -> Mapping[str, Any]:
        """What was asked for."""
        return self._read("configuration.json")

    @cached_property
    def dataset(self) -> Mapping[str, Any]:
        """What the data was."""
        return self._read("dataset.json")

    @cached_property
    def evaluation(self) -> Evaluation:
        """Figures on the test split."""
        return read_evaluation(self._read("evaluation.json"))

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names in order of index."""
        return tuple(self.dataset["class_names"])

    @property
    def recipe(self) -> Recipe:
        """Preprocessing that the run was trained with."""
        return parse_recipe(self.dataset["recipe"])

    def load_network(self) -> Any:
        """Load the network with its best weights.

        Raises:
            ConfigurationError: It cannot be loaded.
        """
        import keras

        path = self.path / "model.keras"
        try:
            return keras.saving.load_model(path, compile=False)
        except (OSError, ValueError, TypeError, KeyError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ConfigurationError(f"{path} cannot be loaded: {reason}") from error

    def _read(self, name: str) -> Mapping[str, Any]:
        path = self.path / name
        try:
            document: Mapping[str, Any] = json.loads(path.read_bytes())
        except ValueError as error:
            raise ConfigurationError(f"{path} is damaged: {error}; train again") from error
        except OSError as error:
            raise NotFoundError(
                f"{self.path} is no training run ({name}: {error.strerror}); "
                "`heliograph train --output RUN` makes one"
            ) from error
        return document


def train(
    dataset: Dataset,
    options: TrainingOptions,
    output: Path,
    *,
    source: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Train the guide's network on a data set and write the run.

    Args:
        dataset: What to learn.
        options: How.
        output: Directory of the run.
        source: How to open the data set again, for the configuration: `name` and `data`.
        overwrite: Replace a run that is there.
        progress: Where progress goes; nowhere when None.

    Raises:
        AlreadyExistsError: The directory is there and `overwrite` is not given.
        InvalidDatasetError: The data set cannot be used.
        StorageError: The run cannot be written. Nothing of it stays.
    """
    check_trainable(dataset.recipe)
    progress = progress or SilentProgress()
    with _publish(output, overwrite) as staging:
        prepared = {split: _prepare(dataset, split, progress) for split in sorted(dataset.splits)}
        if "validation" in prepared:
            learn, validation = prepared["train"], prepared["validation"]
        else:
            learn, validation = split_validation(prepared["train"])
        if not len(validation.pixels):
            raise InvalidDatasetError("too few images: no class has two to train and validate with")
        _write(staging / "configuration.json", _configuration(dataset, options, source))
        _write(
            staging / "dataset.json",
            {
                "name": dataset.name,
                "class_names": dataset.class_names,
                "recipe": str(dataset.recipe),
                "examples": {
                    "train": len(learn.pixels),
                    "validation": len(validation.pixels),
                    "test": len(prepared["test"].pixels),
                },
                "fingerprint": fingerprint(
                    dataset.class_names, {split: part.content for split, part in prepared.items()}
                ),
            },
        )

        def build() -> Any:
            return guide_cnn(
                dataset.recipe.output.shape,
                len(dataset.class_names),
                augmentation=options.augmentation,
                dropout=options.dropout,
            )

        batches = steps_per_epoch(len(learn.pixels), options)
        with progress.task("training", options.epochs * batches) as task:
            network, history = fit(
                build,
                learn,
                validation,
                options,
                checkpoint=staging / "checkpoint.keras",
                observer=_Observer(task, options.epochs),
            )
        _write(staging / "history.json", _history(history))
        network.save(staging / "model.keras")
        evaluation = evaluate_probabilities(
            dataset.class_names,
            prepared["test"].class_indices,
            predict(network, prepared["test"].pixels),
        )
        _write(staging / "evaluation.json", evaluation.document())
    return Run(output)


def evaluate_run(
    run: Run, dataset: Dataset, *, limit: int | None = None, progress: Progress | None = None
) -> Evaluation:
    """Evaluate the network of a run on the test split of a data set.

    Args:
        run: The run.
        dataset: Prepared by its own recipe; its classes must be those of the run.
        limit: Images used, at equal distances over the split; all when None.
        progress: Where progress goes; nowhere when None.

    Raises:
        InvalidDatasetError: The classes differ, or images cannot be used.
    """
    if dataset.class_names != run.class_names:
        raise InvalidDatasetError(
            f"the classes of {dataset.name} are not those that {run.path} was trained on"
        )
    split = dataset.splits["test"]
    chosen = spread_evenly(len(split.class_indices), limit)
    with (progress or SilentProgress()).task("reading test images", len(chosen)) as task:
        prepared = prepare_split(split, dataset.recipe, indices=chosen, on_prepared=task.advance)
    probabilities = predict(run.load_network(), prepared.pixels)
    return evaluate_probabilities(run.class_names, prepared.class_indices, probabilities)


def check_output(output: Path, *, overwrite: bool) -> None:
    """Check that a run can be written to a directory, before any work is done for it.

    Raises:
        AlreadyExistsError: It is there and may not be replaced, or is no training run.
    """
    if not output.exists():
        return
    if not overwrite:
        raise AlreadyExistsError(f"{output} exists; choose another --output, or add --overwrite")
    if not (output / "configuration.json").is_file():
        raise AlreadyExistsError(f"{output} exists and is no training run; choose another --output")


def predict(network: Any, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the probabilities `[N, classes]` of prepared pixels `[N, H, W, C]`."""
    probabilities: npt.NDArray[np.float32] = network.predict(pixels, batch_size=_BATCH, verbose=0)
    return probabilities


def _prepare(dataset: Dataset, split: SplitName, progress: Progress) -> PreparedSplit:
    source = dataset.splits[split]
    with progress.task(f"reading {split} images", len(source.class_indices)) as task:
        return prepare_split(source, dataset.recipe, on_prepared=task.advance)


def _configuration(
    dataset: Dataset, options: TrainingOptions, source: Mapping[str, Any] | None
) -> dict[str, Any]:
    return {
        "dataset": {"name": dataset.name, **(source or {})},
        "recipe": str(dataset.recipe),
        "recipe_version": RECIPE_VERSION,
        "architecture": "guide_cnn",
        "options": asdict(options),
        "versions": {
            "heliograph": __version__,
            "keras": version("keras"),
            "tensorflow": version("tensorflow"),
            "decoder": decoder_build(),
        },
    }


def _history(history: History) -> dict[str, Any]:
    return {
        "best_epoch": history.best.epoch,
        "epochs": [_without_nan(asdict(report)) for report in history.epochs],
    }


def _without_nan(figures: Mapping[str, float]) -> dict[str, float | None]:
    """Return figures as JSON can hold them; an epoch that diverges ends in NaN."""
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


def _write(path: Path, document: Mapping[str, Any]) -> None:
    write_whole(path, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())


@contextmanager
def _publish(output: Path, overwrite: bool) -> Iterator[Path]:
    """Give a directory beside `output` to write into; rename it when the block succeeds."""
    check_output(output, overwrite=overwrite)
    parent = output.absolute().parent
    with storage_errors(output):
        parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".tmp-{output.name}-", dir=parent))
        staging.chmod(0o755)
    try:
        with storage_errors(output):
            yield staging
            sync_tree(staging)
            _replace(output, staging)
            sync_directory(parent)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def _replace(output: Path, staging: Path) -> None:
    if not output.exists():
        staging.rename(output)
        return
    # The old run goes out of the way first and is deleted last, so that one of the two is whole.
    old = staging.with_name(f"{staging.name}-old")
    output.rename(old)
    staging.rename(output)
    shutil.rmtree(old, ignore_errors=True)


class _Observer(FitObserver):
    """Turns batches and epochs into a task of so many batches."""

    def __init__(self, task: Task, epochs: int) -> None:
        self._task = task
        self._epochs = epochs

    def on_batch(self) -> None:
        """Advance by a batch."""
        self._task.advance(1)

    def on_epoch(self, report: EpochReport) -> None:
        """Show the figures of an epoch."""
        self._task.note(
            f"epoch {report.epoch}/{self._epochs}  loss {report.loss:.4f}  "
            f"accuracy {report.accuracy:.4f}  validation loss {report.validation_loss:.4f}  "
            f"accuracy {report.validation_accuracy:.4f}"
        )
