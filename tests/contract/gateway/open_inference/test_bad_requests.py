"""What ModelInfer refuses: one clear error each, with its status and reason; serving goes on."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from heliograph.contract import CONTRACT_PATH
from heliograph.errors import BY_REASON, BackendUnavailableError
from heliograph.v1.contract_pb2 import Dtype, InputSpec
from heliograph_gateway.inference import grpc_service_pb2
from heliograph_gateway.inference.grpc_service_pb2 import ModelInferRequest

if TYPE_CHECKING:
    from tests.conftest import Brightness
    from tests.contract.gateway.conftest import Refusal, RunningGateway, StartGateway
    from tests.contract.gateway.open_inference.conftest import Connect, Requests

    from heliograph_gateway.inference.grpc_service_pb2_grpc import GRPCInferenceServiceAsyncStub

PIXELS = np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1)

Refused = Callable[[ModelInferRequest], Any]
Raw = grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]
Change = Callable[[ModelInferRequest], object]


@pytest.fixture
def refused(
    gateway: RunningGateway, inference: GRPCInferenceServiceAsyncStub, requests: Requests
) -> Refused:
    """Send a request that must fail before the model is asked; a good one is answered after it."""

    async def send(request: ModelInferRequest) -> Refusal:
        before = len(gateway.backend.batches)
        refusal = await gateway.refusal(inference.ModelInfer(request, timeout=10))
        assert len(gateway.backend.batches) == before
        assert (await inference.ModelInfer(requests())).outputs
        assert refusal.domain == "heliograph"
        assert BY_REASON[refusal.reason].status == refusal.code
        assert "\n" not in refusal.message
        assert len(refusal.message) < 300
        return refusal

    return send


# Images.


@pytest.mark.parametrize("raw", [False, True], ids=["contents", "raw"])
@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (b"", "UNSUPPORTED_IMAGE_FORMAT"),
        (b"this is no image", "UNSUPPORTED_IMAGE_FORMAT"),
        (b"\x89PNG\r\n\x1a\n", "CORRUPT_IMAGE"),
        (bytes(10 * 2**20 + 1), "IMAGE_TOO_LARGE"),
    ],
    ids=["empty", "text", "damaged", "large"],
)
async def test_a_bad_image_is_an_invalid_argument_with_its_reason(
    image: bytes, reason: str, raw: bool, refused: Refused, requests: Requests
) -> None:
    refusal = await refused(requests(image, raw=raw))

    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", reason)
    assert not refusal.message.startswith("image 0")


async def test_a_bad_image_among_good_ones_fails_the_request_and_is_named(
    refused: Refused, requests: Requests, brightness: Brightness
) -> None:
    good = brightness.image()

    refusal = await refused(requests(good, good, b"no image", b"", good))

    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "UNSUPPORTED_IMAGE_FORMAT")
    assert refusal.message.startswith("image 2: ")


@pytest.mark.parametrize("count", [0, 257, 2**62, -1])
async def test_no_or_too_many_images_are_refused_without_reading_them(
    count: int, refused: Refused, requests: Requests
) -> None:
    for raw in (False, True):
        request = requests(b"", raw=raw)
        request.inputs[0].shape[:] = [count]

        refusal = await refused(request)

        assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_ARGUMENT")
        assert refusal.message == f"the batch has {count} images; send 1 to 256"


# The input.


def _no_input(request: ModelInferRequest) -> None:
    del request.inputs[:]


def _two_inputs(request: ModelInferRequest) -> None:
    request.inputs.add().CopyFrom(request.inputs[0])


def _two_raw_contents(request: ModelInferRequest) -> None:
    request.raw_input_contents.extend([b"", b""])


def _both_contents(request: ModelInferRequest) -> None:
    request.raw_input_contents.append(struct.pack("<I", 1) + b"x")


def _shape(*shape: int) -> Change:
    return lambda request: request.inputs[0].shape.__setitem__(slice(None), shape)


def _set(field: str, value: str) -> Change:
    return lambda request: setattr(request.inputs[0], field, value)


def _raw(content: bytes) -> Change:
    def change(request: ModelInferRequest) -> None:
        request.inputs[0].ClearField("contents")
        request.raw_input_contents.append(content)

    return change


@pytest.mark.parametrize(
    "change",
    [
        _no_input,
        _two_inputs,
        _two_raw_contents,
        _both_contents,
        _set("name", "picture"),
        _set("name", ""),
        _set("datatype", "STRING"),
        _set("datatype", "FP32"),
        _set("datatype", "UINT8"),
        _set("datatype", ""),
        _shape(),
        _shape(1, 2),
        _shape(1, 1, 1),
        _shape(2),
        lambda request: request.inputs[0].ClearField("contents"),
        lambda request: request.inputs[0].contents.bytes_contents.append(b""),
        _raw(b""),
        _raw(b"\1\0"),
        _raw(struct.pack("<I", 2) + b"x"),
        _raw(struct.pack("<I", 2**32 - 1)),
        _raw(struct.pack("<I", 1) + b"xy"),
        _raw(struct.pack("<I", 0) * 5000),
    ],
)
async def test_an_input_that_does_not_fit_is_refused(
    change: Change, refused: Refused, requests: Requests
) -> None:
    request = requests()
    change(request)

    refusal = await refused(request)

    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_TENSOR")


async def test_the_refusal_says_what_the_model_takes(refused: Refused, requests: Requests) -> None:
    request = requests()
    request.inputs[0].name = "picture"

    refusal = await refused(request)

    assert refusal.message == (
        "the input is another; model brightness:1 takes image BYTES [N] or [N, 1], "
        "or image UINT8 [N, 4, 4, 1]"
    )


@pytest.mark.parametrize("raw", [False, True], ids=["contents", "raw"])
@pytest.mark.parametrize(
    "change",
    [
        _shape(4, 4, 1),
        _shape(1, 4, 1, 4),
        _shape(2, 4, 4, 1),
        _shape(1, -4, -4, 1),
        _shape(1, 2**31, 2**31, 2**31),
        _set("name", "pixels"),
        _set("datatype", "FP32"),
        _set("datatype", "INT8"),
        _set("datatype", "BYTES"),
    ],
)
async def test_prepared_pixels_that_do_not_fit_are_refused(
    change: Change, raw: bool, refused: Refused, requests: Requests
) -> None:
    request = requests.pixels(PIXELS, raw=raw)
    change(request)

    refusal = await refused(request)

    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_TENSOR")


async def test_an_element_that_is_no_uint8_is_refused(refused: Refused, requests: Requests) -> None:
    request = requests.pixels(PIXELS, raw=False)
    request.inputs[0].contents.uint_contents[3] = 256

    assert (await refused(request)).reason == "INVALID_TENSOR"


async def test_pixels_that_are_no_numbers_are_refused_by_their_index(
    start_gateway: StartGateway,
    connect: Connect,
    requests: Requests,
    repository: Path,
    brightness: Brightness,
) -> None:
    contract = brightness.contract()
    contract.input.kind = InputSpec.KIND_PIXELS_FLOAT
    contract.input.dtype = Dtype.DTYPE_FLOAT32
    contract.recipe = "decode(grey) | resize(4, 4) | scale(1)"
    brightness.publish(repository, contract=contract)
    gateway = await start_gateway()
    pixels = np.zeros((2, 4, 4, 1), np.float32)
    pixels[1, 0, 0, 0] = np.nan

    refusal = await gateway.refusal(
        connect(gateway.channel).ModelInfer(requests.pixels(pixels, raw=True))
    )

    assert refusal.reason == "INVALID_TENSOR"
    assert refusal.message.startswith("image 1: ")


# Outputs and parameters.


@pytest.mark.parametrize(
    "outputs",
    [
        ["probabilities"],
        [""],
        ["labels", "labels"],
        ["scores", ("scores", {"classification": 1})],
        [("labels", {"classification": 1})],
        [("scores", {"classification": 0})],
        [("scores", {"classification": -1})],
        [("scores", {"classification": "3"})],
        [("scores", {"classification": 1.0})],
        [("scores", {"classification": True})],
    ],
    ids=str,
)
async def test_an_output_that_there_is_not_is_refused(
    outputs: list[Any], refused: Refused, requests: Requests
) -> None:
    refusal = await refused(requests(outputs=outputs))

    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_ARGUMENT")


@pytest.mark.parametrize(
    "parameters",
    [{"top_k": -1}, {"top_k": "3"}, {"top_k": 1.5}, {"timeout": -1}, {"timeout": "1s"}],
    ids=str,
)
async def test_a_parameter_out_of_range_is_refused(
    parameters: dict[str, Any], refused: Refused, requests: Requests
) -> None:
    refusal = await refused(requests(parameters=parameters))

    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_ARGUMENT")
    assert next(iter(parameters)) in refusal.message


async def test_shared_memory_is_not_served(refused: Refused, requests: Requests) -> None:
    into = requests(outputs=[("scores", {"shared_memory_region": "region"})])
    out_of = requests()
    out_of.inputs[0].ClearField("contents")
    out_of.inputs[0].parameters["shared_memory_region"].string_param = "region"

    for request in (into, out_of):
        refusal = await refused(request)
        assert (refusal.code, refusal.reason) == ("UNIMPLEMENTED", "UNIMPLEMENTED")
        assert "send tensors in the messages" in refusal.message


# Models.


@pytest.mark.parametrize(
    ("name", "version", "code", "reason"),
    [
        ("darkness", "", "NOT_FOUND", "MODEL_NOT_FOUND"),
        ("../x", "", "INVALID_ARGUMENT", "INVALID_MODEL_NAME"),
        ("x" * 1_000_000, "", "INVALID_ARGUMENT", "INVALID_MODEL_NAME"),
        ("brightness", "7", "NOT_FOUND", "VERSION_NOT_FOUND"),
        ("brightness", str(2**63 - 1), "NOT_FOUND", "VERSION_NOT_FOUND"),
        ("brightness", "new", "NOT_FOUND", "VERSION_LABEL_NOT_FOUND"),
        ("brightness", "0", "INVALID_ARGUMENT", "INVALID_MODEL_NAME"),
        ("brightness", "-1", "INVALID_ARGUMENT", "INVALID_MODEL_NAME"),
        ("brightness", str(2**63), "INVALID_ARGUMENT", "INVALID_MODEL_NAME"),
        ("brightness", "9" * 1_000_000, "INVALID_ARGUMENT", "INVALID_MODEL_NAME"),
        ("brightness", "1\0", "INVALID_ARGUMENT", "INVALID_MODEL_NAME"),
        ("brightness", "\u0661", "INVALID_ARGUMENT", "INVALID_MODEL_NAME"),
    ],
    ids=lambda value: ascii(value)[:40],
)
async def test_a_model_that_cannot_answer_is_named(
    name: str, version: str, code: str, reason: str, refused: Refused, requests: Requests
) -> None:
    refusal = await refused(requests(model_name=name, model_version=version))

    assert (refusal.code, refusal.reason) == (code, reason)


async def test_a_model_that_is_not_served_says_why(
    start_gateway: StartGateway,
    connect: Connect,
    requests: Requests,
    repository: Path,
    brightness: Brightness,
) -> None:
    brightness.publish(repository, spoil=lambda version: (version / CONTRACT_PATH).unlink())
    gateway = await start_gateway()

    refusal = await gateway.refusal(connect(gateway.channel).ModelInfer(requests()))

    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "MODEL_NOT_SERVING")
    assert "has no contract" in refusal.message


# Faults.


async def test_a_failing_backend_says_when_to_come_back(
    gateway: RunningGateway, inference: GRPCInferenceServiceAsyncStub, requests: Requests
) -> None:
    gateway.backend.failures.append(BackendUnavailableError("away", retry_after=1.5))

    refusal = await gateway.refusal(inference.ModelInfer(requests()))

    assert (refusal.code, refusal.message) == ("UNAVAILABLE", "away")
    assert refusal.trailers["grpc-retry-pushback-ms"] == "1500"


async def test_a_damaged_message_is_an_invalid_argument(gateway: RunningGateway) -> None:
    call: Raw = gateway.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")

    refusal = await gateway.refusal(call(b"\xff\xff\xff"))

    assert (refusal.code, refusal.message) == (
        "INVALID_ARGUMENT",
        "the message is damaged, or of another type",
    )


@pytest.mark.parametrize(
    "method",
    [
        "RepositoryModelLoad",
        "RepositoryModelUnload",
        "SystemSharedMemoryStatus",
        "SystemSharedMemoryRegister",
        "SystemSharedMemoryUnregister",
        "CudaSharedMemoryStatus",
        "CudaSharedMemoryRegister",
        "CudaSharedMemoryUnregister",
        "TraceSetting",
        "LogSettings",
    ],
)
async def test_what_is_not_served_says_so(method: str, gateway: RunningGateway) -> None:
    call: Raw = gateway.channel.unary_unary(f"/inference.GRPCInferenceService/{method}")

    refusal = await gateway.refusal(call(b""))

    assert (refusal.code, refusal.reason) == ("UNIMPLEMENTED", "UNIMPLEMENTED")
    assert re.search("not served|the repository says|is not set by calls", refusal.message)


async def test_streams_are_not_served_and_the_message_says_what_is(
    gateway: RunningGateway, inference: GRPCInferenceServiceAsyncStub, requests: Requests
) -> None:
    async def first() -> None:
        async for _ in inference.ModelStreamInfer(iter([requests()])):
            pass

    refusal = await gateway.refusal(first())

    assert (refusal.code, refusal.reason) == ("UNIMPLEMENTED", "UNIMPLEMENTED")
    assert "use ModelInfer" in refusal.message


def test_every_method_that_is_declared_is_served_or_refused_above() -> None:
    service = grpc_service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    served = {"ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata"}
    served |= {"ModelInfer", "ModelConfig", "ModelStatistics", "RepositoryIndex"}
    source = Path(__file__).read_text()

    refused = {name for name in service.methods_by_name if f'"{name}"' in source} - served

    assert served | refused | {"ModelStreamInfer"} == set(service.methods_by_name)
