"""From an image file to a class name through gateway, wire and runtime: the same as in training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from heliograph import Client
from heliograph.errors import (
    InvalidImageError,
    ModelNotFoundError,
    VersionLabelNotFoundError,
    VersionNotFoundError,
)
from heliograph.results import Result
from heliograph_training.datasets import open_dataset
from heliograph_training.datasets.dataset import read_all
from heliograph_training.datasets.prepared import prepare_split
from heliograph_training.run import Run, predict

PARITY = 1e-4
"""Largest difference of a probability between trainer and gateway."""


@pytest.fixture(scope="module")
def encoded() -> list[bytes]:
    """Every test image of digits, as a PNG file."""
    return [example.encoded for example in read_all(open_dataset("digits").splits["test"])]


def test_every_test_image_gets_the_probabilities_of_the_trainer(
    client: Client, digits_run: Path, encoded: list[bytes]
) -> None:
    run = Run(digits_run)
    dataset = open_dataset("digits")
    pixels = prepare_split(dataset.splits["test"], dataset.recipe).pixels
    trained = predict(run.load_network(), pixels)

    served = np.zeros_like(trained)
    for row, result in zip(served, client.classify_many(encoded, top_k=10), strict=True):
        assert isinstance(result, Result)
        for entry in result.classes:
            row[entry.index] = entry.score

    assert np.abs(served - trained).max() <= PARITY


def test_one_by_one_and_in_batches_the_answers_are_the_same(
    client: Client, encoded: list[bytes]
) -> None:
    several = list(client.classify_many(encoded[:20], top_k=10))
    for image, other in zip(encoded[:20], several, strict=True):
        result = client.classify(image, top_k=10)
        assert isinstance(other, Result)
        assert [entry.class_name for entry in result.classes] == [
            entry.class_name for entry in other.classes
        ]
        assert [entry.score for entry in result.classes] == pytest.approx(
            [entry.score for entry in other.classes], abs=PARITY
        )


def test_the_answer_names_the_version_and_the_revision(
    client: Client, encoded: list[bytes]
) -> None:
    result = client.classify(encoded[0])
    assert (result.model, result.version, result.routing_revision) == ("digits", 1, 1)
    pinned = client.classify(encoded[0], version=1)
    assert (pinned.version, pinned.routing_revision) == (1, 0)


def test_the_contract_can_be_read_by_a_client(client: Client) -> None:
    details = client.model("digits")
    assert list(details.contract.class_names) == [str(digit) for digit in range(10)]
    assert details.contract.evaluation.metrics["accuracy"] > 0.9


def test_what_is_no_image_is_refused_and_the_next_image_is_answered(
    client: Client, encoded: list[bytes]
) -> None:
    for bad in (b"no image at all", encoded[0][:40]):
        with pytest.raises(InvalidImageError):
            client.classify(bad)
    assert client.classify(encoded[0]).version == 1


def test_unknown_models_versions_and_labels_have_errors_of_their_own(
    client: Client, encoded: list[bytes]
) -> None:
    with pytest.raises(ModelNotFoundError, match="there is no model cats"):
        client.classify(encoded[0], model="cats")
    with pytest.raises(VersionNotFoundError, match="it serves 1"):
        client.classify(encoded[0], model="digits", version=7)
    with pytest.raises(VersionLabelNotFoundError, match="it has stable"):
        client.classify(encoded[0], model="digits", version_label="canary")
