"""From the numbers of a model to names of classes."""

from __future__ import annotations

import numpy as np

from heliograph.errors import ModelOutputError
from heliograph.v1.classifier_pb2 import Classification, ClassifyOptions
from heliograph.v1.contract_pb2 import OutputSpec

DEFAULT_TOP_K = 5


def scores_of(outputs: np.ndarray, activation: OutputSpec.Activation.ValueType) -> np.ndarray:
    """Turn outputs into scores.

    Args:
        outputs: float32 [N, classes], logits or probabilities.
        activation: What the contract says is still to be applied.

    Returns:
        float32 [N, classes], each in [0, 1].

    Raises:
        ModelOutputError: An output is not a finite number.
    """
    if not np.isfinite(outputs).all():
        raise ModelOutputError("the model gave numbers that are not finite")
    if activation == OutputSpec.ACTIVATION_SOFTMAX:
        # Shifted by the maximum, so that no exponential overflows. A difference that does is
        # -inf, and its exponential 0, as it should be.
        with np.errstate(over="ignore"):
            exponentials = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))
    if activation == OutputSpec.ACTIVATION_SIGMOID:
        # tanh does not overflow where exp(-x) would: sigmoid(x) = (1 + tanh(x / 2)) / 2.
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * outputs)))
    return outputs


def rank(
    scores: np.ndarray, class_names: tuple[str, ...], options: ClassifyOptions
) -> list[Classification]:
    """Return the best classes of each image.

    Args:
        scores: float32 [N, classes].
        class_names: In order of index.
        options: How many, and the least score; 0 leaves out nothing, whatever a model gives.
    """
    top_k = min(options.top_k or DEFAULT_TOP_K, len(class_names))
    least = options.min_score or -np.inf
    # A stable sort of the negated scores keeps equal scores in order of index.
    best = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
    best_scores = np.take_along_axis(scores, best, axis=1).tolist()
    classifications = []
    for indices, values in zip(best.tolist(), best_scores, strict=True):
        classification = Classification()
        add = classification.classes.add
        for index, score in zip(indices, values, strict=True):
            if score >= least:
                add(index=index, class_name=class_names[index], score=score)
        classifications.append(classification)
    return classifications
