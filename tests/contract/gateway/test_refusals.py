"""Bad input over the wire: one clear error each, with its status and reason; serving goes on."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from structlog.testing import capture_logs

from heliograph.errors import BY_REASON, InvalidArgumentError
from heliograph.v1.classifier_pb2 import (
    BatchClassifyRequest,
    ClassifyOptions,
    ClassifyRequest,
    GetModelRequest,
    Image,
    ModelSelector,
    Tensor,
)
from heliograph.v1.contract_pb2 import Dtype

if TYPE_CHECKING:
    from tests.contract.gateway.conftest import Refusal, RunningGateway

PIXELS = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)


def png_header(width: int, height: int) -> bytes:
    """The first bytes of a PNG of a size."""
    size = struct.pack(">IIBBBBBI", width, height, 8, 2, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + size


def prepared(**changes: Any) -> Image:
    """An image with prepared pixels that fit, but for what is changed."""
    fields: dict[str, Any] = {"dtype": Dtype.DTYPE_UINT8, "shape": PIXELS.shape}
    return Image(prepared=Tensor(**({**fields, "data": PIXELS.tobytes()} | changes)))


async def refused(gateway: RunningGateway, request: ClassifyRequest) -> Refusal:
    """What Classify says; a good image is answered right after."""
    refusal = await gateway.refusal(gateway.stub.Classify(request, timeout=10))
    assert (await gateway.stub.Classify(gateway.request())).classification.classes
    assert refusal.domain == "heliograph"
    assert BY_REASON[refusal.reason].status == refusal.code
    assert "\n" not in refusal.message
    return refusal


# Images.


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (Image(), "INVALID_IMAGE"),
        (Image(encoded=b""), "UNSUPPORTED_IMAGE_FORMAT"),
        (Image(encoded=b"this is no image"), "UNSUPPORTED_IMAGE_FORMAT"),
        (Image(encoded=b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "UNSUPPORTED_IMAGE_FORMAT"),
        (Image(encoded=b"GIF89a" + bytes(100)), "UNSUPPORTED_IMAGE_FORMAT"),
        (Image(encoded=b"RIFF\x10\0\0\0WEBPVP8 "), "UNSUPPORTED_IMAGE_FORMAT"),
        (Image(encoded=b"\x89PNG\r\n\x1a\n"), "CORRUPT_IMAGE"),
        (Image(encoded=b"\xff\xd8\xff\xe0\0\x10JFIF"), "CORRUPT_IMAGE"),
        (Image(encoded=png_header(30_000, 30_000)), "IMAGE_TOO_LARGE"),
        (Image(encoded=png_header(1, 65_535)), "IMAGE_TOO_LARGE"),
        (Image(encoded=png_header(2**31 - 1, 2**31 - 1)), "IMAGE_TOO_LARGE"),
        (Image(encoded=bytes(10 * 2**20 + 1)), "IMAGE_TOO_LARGE"),
        (prepared(dtype=Dtype.DTYPE_FLOAT32), "INVALID_TENSOR"),
        (prepared(dtype=99), "INVALID_TENSOR"),
        (prepared(shape=[4, 4]), "INVALID_TENSOR"),
        (prepared(shape=[-4, -4, 1]), "INVALID_TENSOR"),
        (prepared(shape=[2**62, 2**62, 2**62]), "INVALID_TENSOR"),
        (prepared(data=PIXELS.tobytes()[1:]), "INVALID_TENSOR"),
    ],
)
async def test_a_bad_image_is_an_invalid_argument_with_its_reason(
    image: Image, reason: str, gateway: RunningGateway
) -> None:
    refusal = await refused(gateway, ClassifyRequest(image=image))

    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", reason)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
async def test_a_truncated_image_is_corrupt(file_format: str, gateway: RunningGateway) -> None:
    encoded = gateway.brightness.image(90, width=64, height=64, file_format=file_format)

    refusal = await refused(gateway, gateway.request(encoded[: len(encoded) * 2 // 3]))

    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "CORRUPT_IMAGE")


async def test_an_image_over_the_byte_limit_names_the_limit(gateway: RunningGateway) -> None:
    refusal = await refused(gateway, gateway.request(bytes(10 * 2**20 + 1)))

    assert str(10 * 2**20) in refusal.message


async def test_a_bad_image_never_reaches_the_backend(gateway: RunningGateway) -> None:
    before = len(gateway.backend.batches)

    await gateway.refusal(gateway.stub.Classify(gateway.request(b"no image")))

    assert len(gateway.backend.batches) == before


# Models.


@pytest.mark.parametrize(
    ("selector", "code", "reason"),
    [
        ({"name": "darkness"}, "NOT_FOUND", "MODEL_NOT_FOUND"),
        ({"name": "brightness", "version": 7}, "NOT_FOUND", "VERSION_NOT_FOUND"),
        ({"name": "brightness", "version": 2**63 - 1}, "NOT_FOUND", "VERSION_NOT_FOUND"),
        ({"name": "brightness", "version_label": "new"}, "NOT_FOUND", "VERSION_LABEL_NOT_FOUND"),
        ({"name": "brightness", "version": 0}, "INVALID_ARGUMENT", "INVALID_MODEL_NAME"),
        ({"name": "brightness", "version": -1}, "INVALID_ARGUMENT", "INVALID_MODEL_NAME"),
        ({"name": "brightness", "version": -(2**63)}, "INVALID_ARGUMENT", "INVALID_MODEL_NAME"),
        ({"name": "brightness", "version_label": ""}, "INVALID_ARGUMENT", "INVALID_MODEL_NAME"),
        ({"name": "brightness", "version_label": "a/b"}, "INVALID_ARGUMENT", "INVALID_MODEL_NAME"),
        ({"name": "../x"}, "INVALID_ARGUMENT", "INVALID_MODEL_NAME"),
        ({"name": "%2e%2e%2fx"}, "INVALID_ARGUMENT", "INVALID_MODEL_NAME"),
        ({"name": "bright\0ness"}, "INVALID_ARGUMENT", "INVALID_MODEL_NAME"),
        ({"name": "brïghtness"}, "INVALID_ARGUMENT", "INVALID_MODEL_NAME"),
        ({"name": "x" * 1_000_000}, "INVALID_ARGUMENT", "INVALID_MODEL_NAME"),
    ],
    ids=lambda value: str(value)[:40].encode("ascii", "replace").decode(),
)
async def test_a_model_that_cannot_answer_is_named(
    selector: dict[str, Any], code: str, reason: str, gateway: RunningGateway
) -> None:
    refusal = await refused(gateway, gateway.request(**selector))

    assert (refusal.code, refusal.reason) == (code, reason)
    assert len(refusal.message) < 300
    description = gateway.stub.GetModel(GetModelRequest(model=ModelSelector(**selector)))
    assert (await gateway.refusal(description)).reason == reason


async def test_a_version_of_more_than_64_bits_is_no_version(gateway: RunningGateway) -> None:
    # A selector with version 2**63, which no protobuf library would write.
    selector = b"\x0a\x0abrightness\x10" + b"\x80" * 9 + b"\x01"
    message = b"\x0a" + bytes([len(selector)]) + selector
    refusal = await gateway.refusal(gateway.raw("Classify")(message))

    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_MODEL_NAME")


# Options.


@pytest.mark.parametrize(
    "options",
    [
        ClassifyOptions(top_k=-1),
        ClassifyOptions(top_k=-(2**31)),
        ClassifyOptions(min_score=-0.01),
        ClassifyOptions(min_score=1.01),
        ClassifyOptions(min_score=math.nan),
        ClassifyOptions(min_score=math.inf),
    ],
)
async def test_options_out_of_range_are_refused(
    options: ClassifyOptions, gateway: RunningGateway
) -> None:
    request = gateway.request()
    request.options.CopyFrom(options)

    refusal = await refused(gateway, request)

    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_ARGUMENT")
    assert "it must be" in refusal.message


async def test_an_empty_request_has_no_image(gateway: RunningGateway) -> None:
    refusal = await refused(gateway, ClassifyRequest())

    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_IMAGE")


# Messages and methods.


async def test_a_message_over_the_limit_is_resource_exhausted(gateway: RunningGateway) -> None:
    call = gateway.stub.Classify(gateway.request(bytes(65 * 2**20)))

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await gateway.stub.Classify(gateway.request())).classification.classes


@pytest.mark.parametrize("method", ["Classify", "BatchClassify", "GetModel"])
async def test_a_damaged_message_is_an_invalid_argument(
    method: str, gateway: RunningGateway
) -> None:
    refusal = await gateway.refusal(gateway.raw(method)(b"\xff\xff\xff"))

    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_ARGUMENT")
    assert refusal.message == "the message is damaged, or of another type"
    assert refusal.request_id


async def test_an_unknown_method_is_unimplemented(gateway: RunningGateway) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.raw("Segment")(b"")

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


# Faults on our side.


async def test_an_unexpected_exception_is_internal_and_its_text_stays_in_the_log(
    gateway: RunningGateway,
) -> None:
    gateway.backend.failures.append(RuntimeError("secret path /etc/heliograph"))

    with capture_logs() as logs:
        refusal = await refused(gateway, gateway.request())

    assert (refusal.code, refusal.reason) == ("INTERNAL", "INTERNAL")
    assert refusal.request_id
    assert refusal.request_id in refusal.message
    assert "secret" not in repr(refusal)
    assert "RuntimeError" not in repr(refusal)
    [entry] = [entry for entry in logs if entry["event"] == "unexpected error"]
    assert entry["request_id"] == refusal.request_id
    assert "secret path" in str(entry["exc_info"])


def _shape(rows: np.ndarray) -> np.ndarray:
    return np.zeros((len(rows), 3), np.float32)


def _dtype(rows: np.ndarray) -> np.ndarray:
    return np.zeros((len(rows), 2), np.float64)


def _not_a_number(rows: np.ndarray) -> np.ndarray:
    return np.full((len(rows), 2), np.nan, np.float32)


@pytest.mark.parametrize("compute", [_shape, _dtype, _not_a_number])
async def test_a_model_that_answers_nonsense_is_an_internal_error_of_the_model(
    compute: Any, gateway: RunningGateway
) -> None:
    [(servable, _)] = gateway.backend.batches[-1:]
    gateway.backend.computes[servable] = compute

    refusal = await gateway.refusal(gateway.stub.Classify(gateway.request()))

    assert (refusal.code, refusal.reason) == ("INTERNAL", "MODEL_OUTPUT")
    assert refusal.request_id


async def test_an_image_that_the_model_itself_refuses_is_an_invalid_argument(
    gateway: RunningGateway,
) -> None:
    gateway.backend.failures.append(InvalidArgumentError("cannot be decoded"))

    refusal = await refused(gateway, gateway.request())

    assert (refusal.code, refusal.message) == ("INVALID_ARGUMENT", "cannot be decoded")


# Batches.


@pytest.mark.parametrize("count", [0, 257, 5000])
async def test_a_batch_of_no_or_too_many_images_is_refused(
    count: int, gateway: RunningGateway
) -> None:
    request = BatchClassifyRequest(images=[Image(encoded=b"x")] * count)

    refusal = await gateway.refusal(gateway.stub.BatchClassify(request))

    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_ARGUMENT")
    assert f"has {count} images; send 1 to 256" in refusal.message
