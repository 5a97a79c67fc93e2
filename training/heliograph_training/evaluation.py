"""What was measured on a test split: accuracy, precision, recall, F1, confusion, confidence.

The figures are scikit-learn's. A class that is never predicted has precision 0, one that never
occurs has recall 0; macro averages run over the classes that occur or are predicted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from heliograph.errors import InvalidDatasetError
from heliograph.v1.contract_pb2 import Evaluation as EvaluationMessage

BINS = 10
"""Equal bins of the confidence histogram over [0, 1]."""


@dataclass(frozen=True)
class Scores:
    """Precision, recall and F1, each in [0, 1]."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class ClassScores(Scores):
    """Scores of one class."""

    class_name: str
    support: int
    """Test examples of the class."""


@dataclass(frozen=True)
class Evaluation:
    """Figures of a classifier on a test split."""

    examples: int
    accuracy: float
    macro: Scores
    """Mean over classes."""
    weighted: Scores
    """Mean over classes, weighted by their number of examples."""
    classes: tuple[ClassScores, ...]
    confusion: tuple[tuple[int, ...], ...]
    """`confusion[i][j]`: examples of class `i` that were taken for class `j`."""
    confidence_histogram: tuple[int, ...]
    """Top scores counted in ten equal bins over [0, 1]."""

    @property
    def metrics(self) -> dict[str, float]:
        """Figures over all classes by name, as a contract holds them."""
        named = {"accuracy": self.accuracy}
        for average, scores in (("macro", self.macro), ("weighted", self.weighted)):
            named[f"precision_{average}"] = scores.precision
            named[f"recall_{average}"] = scores.recall
            named[f"f1_{average}"] = scores.f1
        return named

    def document(self) -> dict[str, Any]:
        """Return the figures as they are written to JSON."""
        return {
            "examples": self.examples,
            "metrics": self.metrics,
            "classes": [asdict(scores) for scores in self.classes],
            "confusion": self.confusion,
            "confidence_histogram": self.confidence_histogram,
        }

    def message(self) -> EvaluationMessage:
        """Return the figures as a contract holds them."""
        return EvaluationMessage(
            examples=self.examples,
            metrics=self.metrics,
            class_counts=[scores.support for scores in self.classes],
            confidence_histogram=self.confidence_histogram,
        )


def evaluate_predictions(
    class_names: Sequence[str],
    truths: npt.ArrayLike,
    predictions: npt.ArrayLike,
    top_scores: npt.ArrayLike,
) -> Evaluation:
    """Compare predictions with the truth.

    Args:
        class_names: Names in order of index.
        truths: True class indices, `[N]`.
        predictions: Predicted class indices, `[N]`.
        top_scores: Score of each prediction in [0, 1], `[N]`.

    Raises:
        InvalidDatasetError: There is no example.
    """
    from sklearn import metrics

    truth = np.asarray(truths, dtype=np.int64)
    predicted = np.asarray(predictions, dtype=np.int64)
    if truth.size == 0:
        raise InvalidDatasetError("there is no test example to evaluate")
    labels = np.arange(len(class_names))
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        truth, predicted, labels=labels, zero_division=0
    )
    histogram, _ = np.histogram(np.clip(top_scores, 0, 1), bins=BINS, range=(0, 1))
    return Evaluation(
        examples=int(truth.size),
        accuracy=float(metrics.accuracy_score(truth, predicted)),
        macro=_average(truth, predicted, "macro"),
        weighted=_average(truth, predicted, "weighted"),
        classes=tuple(
            ClassScores(
                precision=float(precision[index]),
                recall=float(recall[index]),
                f1=float(f1[index]),
                class_name=class_name,
                support=int(support[index]),
            )
            for index, class_name in enumerate(class_names)
        ),
        confusion=tuple(
            tuple(map(int, row))
            for row in metrics.confusion_matrix(truth, predicted, labels=labels)
        ),
        confidence_histogram=tuple(map(int, histogram)),
    )


def evaluate_probabilities(
    class_names: Sequence[str], truths: npt.ArrayLike, probabilities: npt.NDArray[np.floating[Any]]
) -> Evaluation:
    """Compare the most probable classes with the truth.

    Args:
        class_names: Names in order of index.
        truths: True class indices, `[N]`.
        probabilities: `[N, number of classes]`.
    """
    return evaluate_predictions(
        class_names, truths, probabilities.argmax(axis=1), probabilities.max(axis=1)
    )


def read_evaluation(document: Mapping[str, Any]) -> Evaluation:
    """Return the figures that `Evaluation.document` gave."""
    metrics = document["metrics"]

    def average(name: str) -> Scores:
        return Scores(
            metrics[f"precision_{name}"], metrics[f"recall_{name}"], metrics[f"f1_{name}"]
        )

    return Evaluation(
        examples=document["examples"],
        accuracy=metrics["accuracy"],
        macro=average("macro"),
        weighted=average("weighted"),
        classes=tuple(ClassScores(**scores) for scores in document["classes"]),
        confusion=tuple(tuple(row) for row in document["confusion"]),
        confidence_histogram=tuple(document["confidence_histogram"]),
    )


def _average(
    truth: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64], average: str
) -> Scores:
    from sklearn import metrics

    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        truth, predicted, average=average, zero_division=0
    )
    return Scores(float(precision), float(recall), float(f1))
