"""From the numbers of a model to names of classes."""

from __future__ import annotations

import numpy as np
import pytest

from heliograph.errors import ModelOutputError
from heliograph.v1.classifier_pb2 import Classification, ClassifyOptions
from heliograph.v1.contract_pb2 import OutputSpec
from heliograph_gateway.ranking import DEFAULT_TOP_K, BatchOutput, rank

NAMES = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu")
SCORES = np.array([0.05, 0.1, 0.3, 0.3, 0.15, 0.1, 0.0], np.float32)


def scores_of(outputs: np.ndarray, activation: OutputSpec.Activation.ValueType) -> np.ndarray:
    """Scores of every row of a batch."""
    output = BatchOutput(outputs, activation)
    return np.stack([row.scores() for row in output.rows(0, len(outputs))])


def ranked_rows(scores: np.ndarray, options: ClassifyOptions) -> list[Classification]:
    """The classes of every row of a batch."""
    output = BatchOutput(scores, OutputSpec.ACTIVATION_NONE)
    return [rank(row, NAMES, options)[1] for row in output.rows(0, len(scores))]


def ranked(top_k: int = 0, min_score: float = 0.0, scores: np.ndarray = SCORES) -> list[str]:
    """Names of the classes returned."""
    options = ClassifyOptions(top_k=top_k, min_score=min_score)
    classification = ranked_rows(scores[np.newaxis], options)[0]
    return [each.class_name for each in classification.classes]


# Activation.


def test_probabilities_are_left_as_they_are() -> None:
    outputs = np.array([[0.25, 0.75]], np.float32)

    assert np.array_equal(scores_of(outputs, OutputSpec.ACTIVATION_NONE), outputs)


def test_softmax_makes_probabilities_of_logits() -> None:
    outputs = np.log(np.array([[1, 2, 5], [1, 1, 2]], np.float32))

    scores = scores_of(outputs, OutputSpec.ACTIVATION_SOFTMAX)

    assert scores == pytest.approx(np.array([[0.125, 0.25, 0.625], [0.25, 0.25, 0.5]]))
    assert scores.dtype == np.float32


def test_sigmoid_makes_a_probability_of_each_logit() -> None:
    outputs = np.array([[0.0, np.log(3), -np.log(3)]], np.float32)

    scores = scores_of(outputs, OutputSpec.ACTIVATION_SIGMOID)

    assert scores == pytest.approx(np.array([[0.5, 0.75, 0.25]]))
    assert scores.dtype == np.float32


@pytest.mark.parametrize(
    "activation", [OutputSpec.ACTIVATION_SOFTMAX, OutputSpec.ACTIVATION_SIGMOID]
)
def test_extreme_logits_do_not_overflow(activation: OutputSpec.Activation.ValueType) -> None:
    outputs = np.array([[3e38, -3e38, 0.0], [-3e38, -3e38, -3e38], [1e4, 1e4, -1e4]], np.float32)

    scores = scores_of(outputs, activation)

    assert np.isfinite(scores).all()
    assert (scores >= 0).all()
    assert (scores <= 1).all()
    assert scores[0] == pytest.approx([1.0, 0.0, 0.5 * (activation == 3)])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("activation", OutputSpec.Activation.values()[1:])
def test_an_output_that_is_no_number_fails_its_own_row_and_no_other(
    value: float, activation: OutputSpec.Activation.ValueType
) -> None:
    good = np.array([[0.5, 0.25], [0.25, 0.5]], np.float32)
    outputs = np.insert(good, 1, [0.5, value], axis=0)

    first, bad, last = BatchOutput(outputs, activation).rows(0, 3)

    for ask in (bad.scores, lambda: bad.best(1)):
        with pytest.raises(ModelOutputError, match="not finite"):
            ask()
    assert np.array_equal(np.stack([first.scores(), last.scores()]), scores_of(good, activation))


# Ranking.


def test_the_best_come_first_and_equal_scores_in_order_of_index() -> None:
    assert ranked(top_k=7) == ["cat", "dog", "eel", "bee", "fox", "ant", "gnu"]


def test_five_are_returned_unless_another_number_is_asked_for() -> None:
    assert len(ranked()) == DEFAULT_TOP_K == 5
    assert ranked(top_k=1) == ["cat"]


def test_more_than_there_are_means_all() -> None:
    assert len(ranked(top_k=2**31 - 1)) == len(NAMES)


def test_a_least_score_leaves_out_what_scores_less() -> None:
    assert ranked(min_score=0.15) == ["cat", "dog", "eel"]
    assert ranked(min_score=1.0) == []


def test_a_score_that_is_exactly_the_least_is_kept() -> None:
    for value in (0.1, 0.3, 1 / 3, 1.0):
        scores = np.array([value, 0, 0, 0, 0, 0, 0], np.float32)
        assert ranked(min_score=value, scores=scores) == ["ant"]


def test_each_class_has_its_index_and_score() -> None:
    [classification] = ranked_rows(SCORES[np.newaxis], ClassifyOptions(top_k=1))
    best = classification.classes[0]

    assert (best.index, best.class_name, best.score) == (2, "cat", float(SCORES[2]))


def test_images_are_ranked_together_as_they_are_alone() -> None:
    scores = np.random.default_rng(0).random((50, len(NAMES)), np.float32)
    options = ClassifyOptions(top_k=4, min_score=0.3)

    together = ranked_rows(scores, options)

    assert together == [ranked_rows(row[np.newaxis], options)[0] for row in scores]
    assert len({len(each.classes) for each in together}) > 1


def test_the_best_class_is_named_also_when_its_score_is_too_low_to_be_returned() -> None:
    [row] = BatchOutput(SCORES[np.newaxis], OutputSpec.ACTIVATION_NONE).rows(0, 1)

    best, classification = rank(row, NAMES, ClassifyOptions(min_score=0.9))

    assert (best, len(classification.classes)) == (2, 0)
