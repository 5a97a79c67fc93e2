from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import metrics

from heliograph.errors import InvalidDatasetError
from heliograph_training.evaluation import (
    evaluate_predictions,
    evaluate_probabilities,
    read_evaluation,
)

NAMES = ("cat", "dog", "fish")
TRUTHS = [0, 0, 0, 1, 1, 2]
PREDICTIONS = [0, 0, 1, 1, 0, 1]
SCORES = [0.95, 0.51, 0.4, 1.0, 0.72, 0.999]


def test_figures_per_class_are_those_worked_out_by_hand() -> None:
    evaluation = evaluate_predictions(NAMES, TRUTHS, PREDICTIONS, SCORES)
    assert evaluation.examples == 6
    assert evaluation.accuracy == pytest.approx(3 / 6)
    cat, dog, fish = evaluation.classes
    assert (cat.precision, cat.recall) == pytest.approx((2 / 3, 2 / 3))
    assert (dog.precision, dog.recall, dog.f1) == pytest.approx((1 / 3, 1 / 2, 2 / 5))
    assert (fish.precision, fish.recall, fish.f1, fish.support) == (0, 0, 0, 1)
    assert evaluation.confusion == ((2, 1, 0), (1, 1, 0), (0, 1, 0))


@pytest.mark.parametrize("average", ["macro", "weighted"])
def test_averages_are_those_of_scikit_learn(average: str) -> None:
    generator = np.random.default_rng(0)
    truths, predictions = generator.integers(0, 3, (2, 200))
    figures = evaluate_predictions(NAMES, truths, predictions, np.ones(200)).metrics
    assert figures["accuracy"] == metrics.accuracy_score(truths, predictions)
    for name, function in (
        ("precision", metrics.precision_score),
        ("recall", metrics.recall_score),
        ("f1", metrics.f1_score),
    ):
        assert figures[f"{name}_{average}"] == function(truths, predictions, average=average)


def test_macro_averages_leave_out_classes_that_never_occur() -> None:
    evaluation = evaluate_predictions((*NAMES, "cow"), [0, 1, 2], [0, 1, 2], [1, 1, 1])
    assert evaluation.macro.f1 == 1
    assert evaluation.classes[3].support == 0


def test_the_histogram_counts_top_scores_in_ten_bins() -> None:
    evaluation = evaluate_predictions(NAMES, TRUTHS, PREDICTIONS, SCORES)
    assert evaluation.confidence_histogram == (0, 0, 0, 0, 1, 1, 0, 1, 0, 3)


def test_a_score_a_rounding_error_above_one_is_in_the_last_bin() -> None:
    evaluation = evaluate_predictions(NAMES, [0], [0], [1 + 1e-7])
    assert evaluation.confidence_histogram[-1] == 1


def test_probabilities_count_for_their_largest() -> None:
    probabilities = np.array([[0.2, 0.7, 0.1], [0.5, 0.3, 0.2]], np.float32)
    evaluation = evaluate_probabilities(NAMES, [1, 1], probabilities)
    assert evaluation.accuracy == 0.5
    assert evaluation.confidence_histogram == (0, 0, 0, 0, 0, 1, 0, 1, 0, 0)


def test_nothing_cannot_be_evaluated() -> None:
    with pytest.raises(InvalidDatasetError, match="no test example"):
        evaluate_predictions(NAMES, [], [], [])


def test_figures_survive_json() -> None:
    evaluation = evaluate_predictions(NAMES, TRUTHS, PREDICTIONS, SCORES)
    assert read_evaluation(json.loads(json.dumps(evaluation.document()))) == evaluation


def test_a_contract_gets_metrics_counts_and_confidence() -> None:
    message = evaluate_predictions(NAMES, TRUTHS, PREDICTIONS, SCORES).message()
    assert message.examples == 6
    assert message.metrics["accuracy"] == 0.5
    assert set(message.metrics) == {
        "accuracy", "precision_macro", "recall_macro", "f1_macro",
        "precision_weighted", "recall_weighted", "f1_weighted",
    }  # fmt: skip
    assert list(message.class_counts) == [3, 2, 1]
    assert sum(message.confidence_histogram) == 6
