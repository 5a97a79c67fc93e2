"""Classify: one image in, its classes out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from heliograph.preprocessing import parse_recipe
from heliograph.repository import Repository
from heliograph.v1.classifier_pb2 import ClassifyRequest, Image, Tensor
from heliograph.v1.contract_pb2 import Dtype, OutputSpec
from heliograph_gateway.backends.fake import FakeBackend

if TYPE_CHECKING:
    from tests.conftest import Brightness
    from tests.contract.gateway.conftest import RunningGateway, StartGateway


async def test_an_image_is_answered_with_its_classes_best_first(gateway: RunningGateway) -> None:
    response = await gateway.stub.Classify(gateway.request())

    best, second = response.classification.classes
    assert [(best.index, best.class_name), (second.index, second.class_name)] == [
        (1, "bright"),
        (0, "dark"),
    ]
    assert [best.score, second.score] == pytest.approx([200 / 255, 55 / 255])


async def test_the_answer_names_model_version_and_routing_revision(
    gateway: RunningGateway,
) -> None:
    served_by = (await gateway.stub.Classify(gateway.request())).served_by

    assert (served_by.name, served_by.version, served_by.routing_revision) == ("brightness", 1, 1)


async def test_prepared_pixels_are_answered_as_the_image_they_came_from(
    gateway: RunningGateway,
) -> None:
    pixels = parse_recipe(gateway.brightness.recipe).prepare(gateway.brightness.image(77))
    assert not isinstance(pixels, bytes)
    tensor = Tensor(dtype=Dtype.DTYPE_UINT8, shape=pixels.shape, data=pixels.tobytes())

    prepared = await gateway.stub.Classify(ClassifyRequest(image=Image(prepared=tensor)))
    encoded = await gateway.stub.Classify(gateway.request(gateway.brightness.image(77)))

    assert prepared == encoded


async def test_top_k_and_min_score_shorten_the_ranking(gateway: RunningGateway) -> None:
    request = gateway.request()
    request.options.top_k = 1
    assert len((await gateway.stub.Classify(request)).classification.classes) == 1

    request.options.top_k = 7
    assert len((await gateway.stub.Classify(request)).classification.classes) == 2

    request.options.min_score = 0.5
    [best] = (await gateway.stub.Classify(request)).classification.classes
    assert best.class_name == "bright"

    request.options.min_score = 1.0
    assert not (await gateway.stub.Classify(request)).classification.classes


@pytest.mark.parametrize(
    ("activation", "scores"),
    [
        (OutputSpec.ACTIVATION_NONE, [0.25, 0.75]),
        (OutputSpec.ACTIVATION_SOFTMAX, [1 / 4, 3 / 4]),
        (OutputSpec.ACTIVATION_SIGMOID, [1 / 2, 3 / 4]),
    ],
)
async def test_the_activation_of_the_contract_is_applied(
    activation: OutputSpec.Activation.ValueType,
    scores: list[float],
    start_gateway: StartGateway,
    repository: Path,
    brightness: Brightness,
) -> None:
    contract = brightness.contract()
    contract.output.activation = activation
    logits = {
        OutputSpec.ACTIVATION_NONE: [0.25, 0.75],
        OutputSpec.ACTIVATION_SOFTMAX: [0.0, np.log(3)],
        OutputSpec.ACTIVATION_SIGMOID: [0.0, np.log(3)],
    }[activation]

    def compute(rows: np.ndarray) -> np.ndarray:
        return np.array([logits] * len(rows), np.float32)

    brightness.publish(
        repository, contract=contract, compute=lambda rows: np.array([scores], np.float32)
    )
    gateway = await start_gateway(backend=FakeBackend(Repository(repository), compute))

    best, second = (await gateway.stub.Classify(gateway.request())).classification.classes

    assert [second.score, best.score] == pytest.approx(scores)
