"""Evaluation through a gateway whose answers are written in the test."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest

from heliograph import Client
from heliograph.cli import main
from heliograph.errors import (
    CorruptImageError,
    InvalidDatasetError,
    OverloadedError,
    UnavailableError,
)
from heliograph.testing import FakeGateway
from heliograph_training.datasets import open_dataset
from heliograph_training.endpoint_evaluation import evaluate_endpoint
from heliograph_training.evaluation import evaluate_predictions

DIGITS = tuple("0123456789")


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    """Return a gateway whose model knows the digits, in an order of its own, and a letter."""
    with FakeGateway(model="digits", class_names=("x", *reversed(DIGITS)), versions=(3, 7)) as fake:
        yield fake


def answer_truth_except_for_ones(gateway: FakeGateway, limit: int | None = None) -> None:
    split = open_dataset("digits").splits["test"]
    for class_index in split.class_indices[:limit]:
        gateway.answer({"7" if class_index == 1 else DIGITS[class_index]: 0.8}, times=1)


def test_the_figures_are_those_of_the_predictions(gateway: FakeGateway) -> None:
    answer_truth_except_for_ones(gateway)
    dataset = open_dataset("digits")
    truths = dataset.splits["test"].class_indices
    with Client(gateway.target) as client:
        measured = evaluate_endpoint(client, dataset)
    expected = evaluate_predictions(
        DIGITS, truths, [7 if truth == 1 else truth for truth in truths], [0.8] * len(truths)
    )
    assert measured.evaluation.metrics == pytest.approx(expected.metrics)
    assert measured.evaluation.examples == len(truths)
    assert measured.evaluation.confidence_histogram == expected.confidence_histogram
    assert (measured.model, measured.versions, measured.failures) == ("digits", (7,), ())


def test_the_images_sent_are_the_files_of_the_data_set(gateway: FakeGateway) -> None:
    dataset = open_dataset("digits")
    with Client(gateway.target) as client:
        evaluate_endpoint(client, dataset, limit=5)
    sent = [image.encoded for call in gateway.calls for image in call.images]
    size = len(dataset.splits["test"].class_indices)
    chosen = [size * number // 5 for number in range(5)]
    assert sent == [dataset.splits["test"].read(index).encoded for index in chosen]


def test_a_version_can_be_asked_for(gateway: FakeGateway) -> None:
    with Client(gateway.target) as client:
        measured = evaluate_endpoint(client, open_dataset("digits"), version=3, limit=10)
    assert measured.versions == (3,)


def test_images_that_are_not_answered_are_left_out_and_told(gateway: FakeGateway) -> None:
    gateway.fail(CorruptImageError("the image is damaged"), times=2)
    gateway.answer({"4": 1.0})
    with Client(gateway.target) as client:
        measured = evaluate_endpoint(client, open_dataset("digits"), limit=10)
    assert measured.evaluation.examples == 8
    assert [type(error) for error in measured.failures] == [CorruptImageError] * 2


def test_when_no_image_is_answered_the_reason_is_raised(gateway: FakeGateway) -> None:
    gateway.fail(OverloadedError("too much work"), times=None)
    with Client(gateway.target) as client, pytest.raises(OverloadedError, match="too much work"):
        evaluate_endpoint(client, open_dataset("digits"), limit=10)


def test_a_model_with_other_classes_cannot_be_evaluated(fake_gateway: FakeGateway) -> None:
    with (
        Client(fake_gateway.target) as client,
        pytest.raises(InvalidDatasetError, match="does not know 0, 1, 2, 3, 4 of the data set"),
    ):
        evaluate_endpoint(client, open_dataset("digits"))


def test_the_command_prints_one_json_document(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    answer_truth_except_for_ones(gateway)
    words = ["--target", gateway.target, "--model", "digits", "--dataset", "digits", "--json"]
    assert main(["evaluate", *words]) == 0
    document = json.loads(capsys.readouterr().out)
    ones = open_dataset("digits").splits["test"].class_indices.count(1)
    assert document["metrics"]["accuracy"] == pytest.approx(1 - ones / document["examples"])
    assert document["model"] == "digits"
    assert document["versions"] == [7]
    assert document["failures"] == []


def test_the_command_prints_a_table(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--target", gateway.target, "--dataset", "digits", "--limit", "20"]
    assert main(["evaluate", *words]) == 0
    output = capsys.readouterr().out
    assert "macro average" in output
    assert "on 20 test images" in output


def test_the_command_tells_of_failures_and_exits_with_their_code(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.fail(CorruptImageError("the image is damaged"), times=1)
    words = ["--target", gateway.target, "--dataset", "digits", "--limit", "9", "--json"]
    assert main(["evaluate", *words]) == CorruptImageError.exit_code
    captured = capsys.readouterr()
    assert json.loads(captured.out)["failures"] == ["the image is damaged"]
    assert "images not answered: 1; the first: the image is damaged" in captured.err


def test_the_command_names_a_gateway_that_is_not_there(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    target = gateway.target
    gateway.stop()
    code = main(["evaluate", "--target", target, "--dataset", "digits", "--limit", "1"])
    assert code == UnavailableError.exit_code
    assert capsys.readouterr().err.startswith("heliograph evaluate: ")


def test_evaluating_an_endpoint_needs_no_tensorflow(gateway: FakeGateway) -> None:
    import subprocess

    program = (
        "import sys; from heliograph.cli import main\n"
        f"assert main(['evaluate', '--target', {gateway.target!r}, '--dataset', 'digits',"
        " '--limit', '3']) == 0\n"
        "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--model", "digits"],
        ["run", "--target", "localhost:1"],
        ["run", "--limit", "0"],
        ["run", "--recipe", "bytes"],
        ["--target", "localhost:1"],
    ],
)
def test_arguments_that_contradict_each_other_are_refused(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *words]) == 78
    assert capsys.readouterr().err.startswith("heliograph evaluate: ")
