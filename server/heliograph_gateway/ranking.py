"""From the numbers of a model to names of classes.

A model answers a batch, a caller asks for one image. What can be done for all rows at once, the
activation and the order of the classes, is done once per batch, by the first who asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from heliograph.errors import ModelOutputError
from heliograph.v1.classifier_pb2 import Classification, ClassifyOptions
from heliograph.v1.contract_pb2 import OutputSpec

DEFAULT_TOP_K = 5


class BatchOutput:
    """What a model gave for the rows of one batch."""

    def __init__(self, values: np.ndarray, activation: OutputSpec.Activation.ValueType) -> None:
        """Keep what the model gave.

        Args:
            values: float32 [N, classes], logits or probabilities.
            activation: What the contract says is still to be applied.
        """
        self._values = values
        self._activation = activation

    def rows(self, start: int, stop: int) -> list[RowOutput]:
        """Return the rows from `start` up to `stop`."""
        return [RowOutput(self, index) for index in range(start, stop)]

    @cached_property
    def finite(self) -> list[bool]:
        """Whether a row holds nothing but finite numbers."""
        finite: list[bool] = np.isfinite(self._values).all(axis=1).tolist()
        return finite

    @cached_property
    def scores(self) -> np.ndarray:
        """Scores, float32 [N, classes], each in [0, 1] in the rows that are finite."""
        # What is not finite in one row stays in that row, and is refused there.
        with np.errstate(over="ignore", invalid="ignore"):
            return _activate(self._values, self._activation)

    @cached_property
    def order(self) -> np.ndarray:
        """Indices of the classes, int64 [N, classes], the highest score first."""
        # A stable sort of the negated scores keeps equal scores in order of index.
        return np.argsort(-self.scores, axis=1, kind="stable")

    @cached_property
    def ordered_scores(self) -> np.ndarray:
        """The scores in that order, float32 [N, classes]."""
        return np.take_along_axis(self.scores, self.order, axis=1)


@dataclass(frozen=True, slots=True)
class RowOutput:
    """What a model gave for one image."""

    batch: BatchOutput
    index: int

    def scores(self) -> np.ndarray:
        """Return the scores, float32 [classes].

        Raises:
            ModelOutputError: The model gave a number that is not finite.
        """
        self._check()
        scores: np.ndarray = self.batch.scores[self.index]
        return scores

    def best(self, count: int) -> tuple[list[int], list[float]]:
        """Return the indices and scores of the best classes, the highest score first.

        Raises:
            ModelOutputError: The model gave a number that is not finite.
        """
        self._check()
        batch, index = self.batch, self.index
        return batch.order[index, :count].tolist(), batch.ordered_scores[index, :count].tolist()

    def _check(self) -> None:
        if not self.batch.finite[self.index]:
            raise ModelOutputError("the model gave numbers that are not finite")


def rank(
    output: RowOutput, class_names: tuple[str, ...], options: ClassifyOptions
) -> tuple[int, Classification]:
    """Return the best class of an image, and what its caller asked for.

    Args:
        output: Of the image.
        class_names: In order of index.
        options: How many, and the least score; 0 leaves out nothing, whatever a model gives.

    Returns:
        The index of the class with the highest score, and the classes that were asked for.

    Raises:
        ModelOutputError: The model gave a number that is not finite.
    """
    indices, scores = output.best(min(options.top_k or DEFAULT_TOP_K, len(class_names)))
    least = options.min_score or -np.inf
    classification = Classification()
    add = classification.classes.add
    for index, score in zip(indices, scores, strict=True):
        if score < least:
            break
        add(index=index, class_name=class_names[index], score=score)
    return indices[0], classification


def _activate(values: np.ndarray, activation: OutputSpec.Activation.ValueType) -> np.ndarray:
    if activation == OutputSpec.ACTIVATION_SOFTMAX:
        # Shifted by the maximum, so that no exponential overflows. A difference that does is
        # -inf, and its exponential 0, as it should be.
        exponentials = np.exp(values - values.max(axis=1, keepdims=True))
        return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))
    if activation == OutputSpec.ACTIVATION_SIGMOID:
        # tanh does not overflow where exp(-x) would: sigmoid(x) = (1 + tanh(x / 2)) / 2.
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * values)))
    return values
