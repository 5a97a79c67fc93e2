"""The Open Inference Protocol, called by the generated stub."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import grpc
import numpy as np
import pytest

from heliograph_gateway.inference.grpc_service_pb2 import (
    InferParameter,
    InferTensorContents,
    ModelInferRequest,
    ModelInferResponse,
)
from heliograph_gateway.inference.grpc_service_pb2_grpc import GRPCInferenceServiceStub

if TYPE_CHECKING:
    from tests.conftest import Brightness
    from tests.contract.gateway.conftest import RunningGateway

    from heliograph_gateway.inference.grpc_service_pb2_grpc import GRPCInferenceServiceAsyncStub

ROOT = Path(__file__).resolve().parents[4]

Connect = Callable[[grpc.aio.Channel], "GRPCInferenceServiceAsyncStub"]


@pytest.fixture
def connect() -> Connect:
    """Make the stub of a channel."""
    return lambda channel: cast("GRPCInferenceServiceAsyncStub", GRPCInferenceServiceStub(channel))


@pytest.fixture
def inference(gateway: RunningGateway, connect: Connect) -> GRPCInferenceServiceAsyncStub:
    """The stub of the gateway."""
    return connect(gateway.channel)


def raw_bytes(elements: Iterable[bytes]) -> bytes:
    """A raw BYTES tensor."""
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


class Requests:
    """Builds requests that are right, but for what a test changes."""

    def __init__(self, brightness: Brightness) -> None:
        self._brightness = brightness

    def __call__(
        self,
        *images: bytes,
        raw: bool = False,
        outputs: Sequence[str | tuple[str, dict[str, Any]]] = (),
        parameters: dict[str, Any] | None = None,
        **fields: Any,
    ) -> ModelInferRequest:
        """A request with encoded images, by default one.

        Args:
            *images: Encoded.
            raw: Whether to send them as raw contents.
            outputs: Names of outputs, or names and their parameters.
            parameters: Of the request; int, str, bool or float.
            **fields: More fields of the request.
        """
        images = images or (self._brightness.image(),)
        request = ModelInferRequest(**fields)
        tensor = request.inputs.add(name="image", datatype="BYTES", shape=[len(images)])
        if raw:
            request.raw_input_contents.append(raw_bytes(images))
        else:
            tensor.contents.bytes_contents.extend(images)
        for output in outputs:
            name, parameters_of_output = (output, {}) if isinstance(output, str) else output
            added = request.outputs.add(name=name)
            for key, value in parameters_of_output.items():
                added.parameters[key].CopyFrom(self.parameter(value))
        for key, value in (parameters or {}).items():
            request.parameters[key].CopyFrom(self.parameter(value))
        return request

    def pixels(self, array: np.ndarray, *, name: str = "image", raw: bool) -> ModelInferRequest:
        """A request with prepared pixels."""
        request = ModelInferRequest()
        tensor = request.inputs.add(
            name=name,
            datatype={"uint8": "UINT8", "float32": "FP32"}[array.dtype.name],
            shape=array.shape,
        )
        if raw:
            request.raw_input_contents.append(array.tobytes())
        elif array.dtype == np.uint8:
            tensor.contents.uint_contents.extend(array.ravel().tolist())
        else:
            tensor.contents.fp32_contents.extend(array.ravel().tolist())
        return request

    @staticmethod
    def parameter(value: Any) -> InferParameter:
        """A parameter of the type of a value."""
        kind = {bool: "bool_param", int: "int64_param", str: "string_param", float: "double_param"}
        return InferParameter(**{kind[type(value)]: value})


@pytest.fixture
def requests(brightness: Brightness) -> Requests:
    """Build requests."""
    return Requests(brightness)


Read = Callable[[ModelInferResponse, str], Any]


@pytest.fixture
def read() -> Read:
    """Read an output of a response, raw or not, as nested lists."""

    def read_output(response: ModelInferResponse, name: str) -> Any:
        [index] = [i for i, output in enumerate(response.outputs) if output.name == name]
        output = response.outputs[index]
        rows, columns = output.shape
        if response.raw_output_contents:
            assert output.contents == InferTensorContents()
            elements = _raw_elements(response.raw_output_contents[index], output.datatype)
        elif output.datatype == "FP32":
            elements = list(output.contents.fp32_contents)
        else:
            elements = [element.decode() for element in output.contents.bytes_contents]
        assert len(elements) == rows * columns
        return [elements[row * columns : (row + 1) * columns] for row in range(rows)]

    return read_output


def _raw_elements(raw: bytes, datatype: str) -> list[Any]:
    if datatype == "FP32":
        return list(np.frombuffer(raw, "<f4").tolist())
    elements = []
    while raw:
        [length] = struct.unpack_from("<I", raw)
        elements.append(raw[4 : 4 + length].decode())
        raw = raw[4 + length :]
    return elements
