"""From a ModelInferRequest to images, options and the outputs that are wanted."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from heliograph.errors import (
    InvalidArgumentError,
    InvalidModelNameError,
    InvalidTensorError,
    UnimplementedError,
)
from heliograph.names import LARGEST_VERSION
from heliograph.v1.classifier_pb2 import ClassifyOptions, Image, ModelSelector, Tensor
from heliograph.v1.contract_pb2 import Dtype
from heliograph_gateway.inference.grpc_service_pb2 import InferParameter, ModelInferRequest
from heliograph_gateway.ranking import DEFAULT_TOP_K
from heliograph_gateway.servables import ServableVersion

IMAGE = "image"
LABELS = "labels"
SCORES = "scores"

BYTES = "BYTES"
FP32 = "FP32"
_DATATYPES: dict[Dtype.ValueType, str] = {
    Dtype.DTYPE_UINT8: "UINT8",
    Dtype.DTYPE_FLOAT32: FP32,
    Dtype.DTYPE_STRING: BYTES,
}
"""The protocol's names of the dtypes of a contract."""

LENGTH = struct.Struct("<I")
"""What stands before each element of a raw BYTES tensor."""

_LARGEST_INT32 = 2**31 - 1
_Parameters = Mapping[str, InferParameter]
_Input = ModelInferRequest.InferInputTensor


@dataclass(frozen=True)
class WantedOutput:
    """An output that the caller asks for."""

    name: str
    count: int
    """Classes per image, at least 1; a model that has fewer gives all."""
    classification: bool = False
    """Whether they are wanted as Triton's texts instead of numbers."""


def selector_of(name: str, version: str) -> ModelSelector:
    """Return the model and version that a request names.

    Args:
        name: Of the model; empty: the only one.
        version: A number, a version label, or nothing for the stable version.

    Raises:
        InvalidModelNameError: The version is a number that no version can have.
    """
    if not version:
        return ModelSelector(name=name)
    if not (version.isascii() and version.isdigit()):
        return ModelSelector(name=name, version_label=version)
    if len(version) > len(str(LARGEST_VERSION)) or int(version) > LARGEST_VERSION:
        raise InvalidModelNameError(f"the version is not in 1 … {LARGEST_VERSION}")
    return ModelSelector(name=name, version=int(version))


def read_outputs(request: ModelInferRequest) -> list[WantedOutput]:
    """Return the outputs that a request asks for, in their order.

    Raises:
        InvalidArgumentError: There is no such output, or a parameter of it is wrong.
        UnimplementedError: An output is to go to shared memory.
    """
    top_k = _integer(request.parameters, "top_k", least=0) or DEFAULT_TOP_K
    wanted: dict[str, WantedOutput] = {}
    for output in request.outputs:
        _refuse_shared_memory(output.parameters)
        name = output.name
        if name not in (LABELS, SCORES):
            raise InvalidArgumentError(
                f"there is no output of that name; ask for {LABELS}, {SCORES}"
            )
        if name in wanted:
            raise InvalidArgumentError(f"the request asks for the output {name} twice")
        count = _integer(output.parameters, "classification", least=1)
        if count is not None and name == LABELS:
            raise InvalidArgumentError(f"ask for classification of {SCORES}, not of {LABELS}")
        wanted[name] = WantedOutput(name, count or top_k, classification=count is not None)
    return list(wanted.values()) or [WantedOutput(LABELS, top_k), WantedOutput(SCORES, top_k)]


def options_for(outputs: Sequence[WantedOutput]) -> ClassifyOptions:
    """Return the options of a ranking that has enough for every output."""
    return ClassifyOptions(top_k=min(max(output.count for output in outputs), _LARGEST_INT32))


def timeout_of(request: ModelInferRequest) -> float:
    """Return the seconds that the parameter `timeout` gives the request; infinite without.

    Raises:
        InvalidArgumentError: It is no number of microseconds.
    """
    microseconds = _integer(request.parameters, "timeout", least=0)
    return microseconds / 1e6 if microseconds else math.inf


def read_images(
    request: ModelInferRequest, version: ServableVersion, check_count: Callable[[int], None]
) -> list[Image]:
    """Return the images of a request.

    Args:
        request: As it came.
        version: That will answer; its contract says which prepared pixels are taken.
        check_count: Refuses a number of images.

    Raises:
        InvalidTensorError: The input is not what the version takes, or its content does not fit
            its shape.
        InvalidArgumentError: There are too many images, or none.
        UnimplementedError: The input is in shared memory.
    """
    if len(request.inputs) != 1:
        raise InvalidTensorError(f"the request has {len(request.inputs)} inputs; {_takes(version)}")
    [tensor] = request.inputs
    _refuse_shared_memory(tensor.parameters)
    raw = _raw_content(request)
    contract = version.contract.input
    shape = tuple(tensor.shape)
    kind = (tensor.name, tensor.datatype)
    encoded = {(IMAGE, BYTES)}
    if contract.dtype == Dtype.DTYPE_STRING:
        encoded.add((contract.tensor, BYTES))
    if kind in encoded and len(shape) in (1, 2) and shape[1:] in ((), (1,)):
        check_count(shape[0])
        elements = tensor.contents.bytes_contents if raw is None else _split(raw, shape[0])
        _check_length("elements", len(elements), shape[0])
        return [Image(encoded=element) for element in elements]
    if kind == (contract.tensor, _DATATYPES[contract.dtype]) and shape[1:] == version.shape:
        check_count(shape[0])
        size = math.prod(version.shape)
        data = _pixels(tensor, shape[0] * size) if raw is None else raw
        size *= version.dtype.itemsize
        _check_length("bytes", len(data), shape[0] * size)
        rows = (data[start : start + size] for start in range(0, len(data), size))
        return [
            Image(prepared=Tensor(dtype=contract.dtype, shape=version.shape, data=row))
            for row in rows
        ]
    raise InvalidTensorError(f"the input is another; {_takes(version)}")


def _takes(version: ServableVersion) -> str:
    """Say what a version takes."""
    contract = version.contract.input
    said = f"model {version.servable} takes {IMAGE} {BYTES} [N] or [N, 1]"
    if contract.dtype == Dtype.DTYPE_STRING:
        return said
    shape = ", ".join(map(str, ["N", *version.shape]))
    return f"{said}, or {contract.tensor} {_DATATYPES[contract.dtype]} [{shape}]"


def _raw_content(request: ModelInferRequest) -> bytes | None:
    if not request.raw_input_contents:
        return None
    if len(request.raw_input_contents) > 1 or request.inputs[0].contents.ListFields():
        raise InvalidTensorError(
            "the request has one input and more than one content: send raw_input_contents or "
            "contents"
        )
    return request.raw_input_contents[0]


def _split(raw: bytes, count: int) -> list[bytes]:
    """Take apart a raw BYTES tensor of so many elements."""
    elements = []
    start = 0
    for _ in range(count):
        end = start + LENGTH.size
        if end > len(raw):
            break
        [length] = LENGTH.unpack_from(raw, start)
        start = end + length
        elements.append(raw[end:start])
    if len(elements) != count or start != len(raw):
        raise InvalidTensorError(
            f"raw_input_contents does not hold {count} elements, each after its length in four "
            "bytes"
        )
    return elements


def _pixels(tensor: _Input, count: int) -> bytes:
    """Return the typed contents of a UINT8 or FP32 tensor of so many elements as bytes."""
    contents = tensor.contents
    if tensor.datatype == FP32:
        _check_length("elements", len(contents.fp32_contents), count)
        return np.array(contents.fp32_contents, "<f4").tobytes()
    _check_length("elements", len(contents.uint_contents), count)
    elements = np.array(contents.uint_contents, np.uint32)
    if elements.max() > np.iinfo(np.uint8).max:
        raise InvalidTensorError("uint_contents has an element that is no UINT8")
    return elements.astype(np.uint8).tobytes()


def _check_length(what: str, length: int, expected: int) -> None:
    if length != expected:
        raise InvalidTensorError(f"the input has {length} {what}, and its shape says {expected}")


def _integer(parameters: _Parameters, name: str, *, least: int) -> int | None:
    """Return a parameter that has to be an integer; None where it is not given."""
    if name not in parameters:
        return None
    parameter = parameters[name]
    match parameter.WhichOneof("parameter_choice"):
        case "int64_param":
            value = parameter.int64_param
        case "uint64_param":
            value = parameter.uint64_param
        case _:
            raise InvalidArgumentError(f"the parameter {name} is no int64_param")
    if value < least:
        raise InvalidArgumentError(f"the parameter {name} is {value}; it must be {least} or more")
    return value


def _refuse_shared_memory(parameters: _Parameters) -> None:
    if "shared_memory_region" in parameters:
        raise UnimplementedError("shared memory is not served; send tensors in the messages")
