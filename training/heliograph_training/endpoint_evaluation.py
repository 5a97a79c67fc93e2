"""Evaluation of a model that is served: the test images go through the gateway, as a user's would.

The figures are those of a run's evaluation; what lies between them is the whole path.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from heliograph import Client, Failure
from heliograph.errors import HeliographError, InvalidDatasetError
from heliograph_training.datasets.dataset import Dataset, read_all, spread_evenly
from heliograph_training.evaluation import Evaluation, evaluate_predictions
from heliograph_training.progress import Progress, SilentProgress

_SHOWN = 5


@dataclass(frozen=True)
class EndpointEvaluation:
    """What an endpoint answered to a test split."""

    model: str
    """Name of the model that answered."""
    evaluation: Evaluation
    """Figures over the images that were answered, in the class order of the served model."""
    versions: tuple[int, ...]
    """Versions that answered, ascending: one, unless the routing changed meanwhile."""
    failures: tuple[HeliographError, ...]
    """Why the other images were not answered."""


def evaluate_endpoint(
    client: Client,
    dataset: Dataset,
    *,
    model: str | None = None,
    version: int | None = None,
    limit: int | None = None,
    progress: Progress | None = None,
) -> EndpointEvaluation:
    """Classify the test split of a data set through a gateway.

    Args:
        client: Connected to the gateway.
        dataset: Its classes must be classes of the model.
        model: Name of the model; None for the client's own, or the only one served.
        version: Version that must answer; None for the stable one.
        limit: Images sent, at equal distances over the split; all when None.
        progress: Where progress goes; nowhere when None.

    Raises:
        InvalidDatasetError: The model does not know a class of the data set.
        HeliographError: No image was answered; the error of the first.
    """
    details = client.model(model, version=version)
    index_of = {name: index for index, name in enumerate(details.class_names)}
    name = details.model.name
    _check_classes(dataset, name, details.class_names)
    split = dataset.splits["test"]
    chosen = spread_evenly(len(split.class_indices), limit)
    truths: list[int] = []
    predictions: list[int] = []
    scores: list[float] = []
    versions: set[int] = set()
    failures: list[HeliographError] = []
    with (progress or SilentProgress()).task("classifying test images", len(chosen)) as task:
        images: Iterator[bytes] = (example.encoded for example in read_all(split, chosen))
        results = client.classify_many(images, model=model, version=version, top_k=1)
        for index, result in zip(chosen, results, strict=True):
            task.advance(1)
            if isinstance(result, Failure):
                failures.append(result.error)
                continue
            truths.append(index_of[dataset.class_names[split.class_indices[index]]])
            predictions.append(result.classes[0].index)
            scores.append(result.score)
            versions.add(result.version)
    if not truths and failures:
        raise failures[0]
    evaluation = evaluate_predictions(details.class_names, truths, predictions, scores)
    return EndpointEvaluation(name, evaluation, tuple(sorted(versions)), tuple(failures))


def _check_classes(dataset: Dataset, model: str, known: Sequence[str]) -> None:
    unknown = [name for name in dataset.class_names if name not in known]
    if unknown:
        raise InvalidDatasetError(
            f"model {model} does not know {', '.join(unknown[:_SHOWN])} of the data set "
            f"{dataset.name}; evaluate it on data with its own classes"
        )
