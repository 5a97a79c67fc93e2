"""BatchClassify: several images in one message, each with a result or an error in its place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from heliograph.errors import BackendUnavailableError, InvalidArgumentError
from heliograph.repository import Repository
from heliograph.v1.classifier_pb2 import BatchClassifyRequest, Image, ImageResult, ModelSelector
from heliograph.v1.contract_pb2 import Dtype, InputSpec
from heliograph_gateway.backends.fake import FakeBackend

if TYPE_CHECKING:
    from tests.conftest import Brightness
    from tests.contract.gateway.conftest import ReadDetails, RunningGateway, StartGateway


def batch(*images: bytes) -> BatchClassifyRequest:
    return BatchClassifyRequest(images=[Image(encoded=image) for image in images])


def level(result: ImageResult) -> int:
    """The grey level that a result says."""
    scores = {each.class_name: each.score for each in result.classification.classes}
    return round(scores["bright"] * 255)


async def test_every_image_is_answered_in_its_place(gateway: RunningGateway) -> None:
    levels = [7 * place % 256 for place in range(200)]

    response = await gateway.stub.BatchClassify(batch(*map(gateway.brightness.image, levels)))

    assert [level(result) for result in response.results] == levels
    served_by = response.served_by
    assert (served_by.name, served_by.version, served_by.routing_revision) == ("brightness", 1, 1)


async def test_a_batch_reaches_the_backend_in_batches(
    start_gateway: StartGateway, repository: Path, brightness: Brightness
) -> None:
    brightness.publish(repository)
    gateway = await start_gateway(max_batch_size=8, backend_batches_in_flight=1)
    gateway.backend.batches.clear()

    await gateway.stub.BatchClassify(batch(*[brightness.image()] * 20))

    assert [len(rows) for _, rows in gateway.backend.batches] == [8, 8, 4]


async def test_a_bad_image_has_its_error_in_its_place_with_all_details(
    gateway: RunningGateway, read_details: ReadDetails
) -> None:
    good = gateway.brightness.image
    images = [good(1), b"no image", good(3), good(64)[:60], good(5)]

    call = gateway.stub.BatchClassify(batch(*images), metadata=[("x-request-id", "batch-7")])
    response = await call

    assert [result.WhichOneof("result") for result in response.results] == [
        "classification",
        "error",
        "classification",
        "error",
        "classification",
    ]
    assert [level(response.results[place]) for place in (0, 2, 4)] == [1, 3, 5]
    for place, reason in ((1, "UNSUPPORTED_IMAGE_FORMAT"), (3, "CORRUPT_IMAGE")):
        error = response.results[place].error
        assert error.code == 3
        assert error.message
        assert read_details(error) == {
            "reason": reason,
            "domain": "heliograph",
            "request_id": "batch-7",
            "retry_seconds": None,
        }


async def test_a_batch_of_bad_images_needs_no_backend(gateway: RunningGateway) -> None:
    gateway.backend.batches.clear()

    response = await gateway.stub.BatchClassify(batch(b"none", b"of", b"these"))

    assert [result.WhichOneof("result") for result in response.results] == ["error"] * 3
    assert gateway.backend.batches == []


async def test_a_failing_backend_fails_the_call(gateway: RunningGateway) -> None:
    gateway.backend.failures.append(BackendUnavailableError("away", retry_after=1.5))

    refusal = await gateway.refusal(
        gateway.stub.BatchClassify(batch(*[gateway.brightness.image()] * 3))
    )

    assert (refusal.code, refusal.reason) == ("UNAVAILABLE", "BACKEND_UNAVAILABLE")
    assert refusal.retry_seconds == 1.5


async def test_a_model_that_gives_no_number_for_one_image_fails_it_alone(
    gateway: RunningGateway, read_details: ReadDetails
) -> None:
    def compute(rows: np.ndarray) -> np.ndarray:
        scores = gateway.brightness.compute(rows)
        scores[rows[:, 0, 0, 0] == 13] = np.nan
        return scores

    [(servable, _)] = gateway.backend.batches[-1:]
    gateway.backend.computes[servable] = compute

    response = await gateway.stub.BatchClassify(
        batch(*[gateway.brightness.image(grey) for grey in (12, 13, 14)])
    )

    assert [level(response.results[place]) for place in (0, 2)] == [12, 14]
    details = read_details(response.results[1].error)
    assert (response.results[1].error.code, details["reason"]) == (13, "MODEL_OUTPUT")


async def test_an_unknown_model_fails_the_call(gateway: RunningGateway) -> None:
    request = batch(gateway.brightness.image())
    request.model.CopyFrom(ModelSelector(name="darkness"))

    refusal = await gateway.refusal(gateway.stub.BatchClassify(request))

    assert (refusal.code, refusal.reason) == ("NOT_FOUND", "MODEL_NOT_FOUND")


async def test_a_batch_that_would_never_be_admitted_is_told_the_limit(
    start_gateway: StartGateway, repository: Path, brightness: Brightness
) -> None:
    brightness.publish(repository)
    gateway = await start_gateway(max_in_flight=10)

    refusal = await gateway.refusal(gateway.stub.BatchClassify(batch(*[brightness.image()] * 11)))

    assert refusal.code == "INVALID_ARGUMENT"
    assert "send 1 to 10" in refusal.message


@pytest.fixture
async def decoding_gateway(
    start_gateway: StartGateway, repository: Path, brightness: Brightness
) -> RunningGateway:
    """A gateway whose model decodes images in its graph, and fails as a whole on a bad one."""
    contract = brightness.contract()
    contract.input.kind = InputSpec.KIND_ENCODED
    contract.input.dtype = Dtype.DTYPE_STRING
    del contract.input.shape[:]
    contract.recipe = "bytes"
    poison = brightness.image(66)

    def decode(rows: np.ndarray) -> np.ndarray:
        if any(row == poison for row in rows):
            raise InvalidArgumentError("cannot be decoded")
        return np.array([[0.25, 0.75]] * len(rows), np.float32)

    brightness.publish(repository, contract=contract, compute=decode)
    return await start_gateway(backend=FakeBackend(Repository(repository), decode))


async def test_of_images_that_the_graph_decodes_a_bad_one_fails_alone(
    decoding_gateway: RunningGateway, read_details: ReadDetails
) -> None:
    image = decoding_gateway.brightness.image
    images = [image(66 if place in (3, 40) else place) for place in range(64)]

    response = await decoding_gateway.stub.BatchClassify(batch(*images))

    failed = [place for place, result in enumerate(response.results) if result.HasField("error")]
    assert failed == [3, 40]
    assert response.results[3].error.message == "cannot be decoded"
    assert read_details(response.results[3].error)["reason"] == "INVALID_ARGUMENT"
