"""TensorProto to NumPy and back, as the runtime's `Tensor::FromProto` and `AsProtoField` do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from heliograph.errors import InvalidTensorError

if TYPE_CHECKING:
    from collections.abc import Iterable

_LAST_VARINT_SHIFT = 28
"""Lengths of strings are 32-bit varints: five bytes at most."""

_MAX_DIMENSIONS = 254
"""`TensorShape::MaxDimensions()` of TensorFlow."""

MAX_REPEATED_BYTES = 16 * 2**20
"""A tensor may give fewer values than it has elements; the last one is then repeated. Up to this
size, so that a few bytes cannot fill the memory."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """How a data type travels in the typed fields of a TensorProto."""

    name: str
    numpy: np.dtype[Any]
    field: str
    wire: np.dtype[Any]
    """Type of the field's elements; as wide as `numpy` where the bits are reinterpreted."""


def _kind(name: str, numpy: Any, field: str, wire: Any) -> _Kind:
    return _Kind(name, np.dtype(numpy), field, np.dtype(wire))


def _quantized(name: str, storage: Any) -> np.dtype[Any]:
    """The structured type by which TensorFlow marks quantized numbers in NumPy."""
    return np.dtype([(name, storage)])


DT_STRING = 7
"""`DataType.DT_STRING`."""

_KINDS = {
    1: _kind("float", np.float32, "float_val", np.float32),
    2: _kind("double", np.float64, "double_val", np.float64),
    3: _kind("int32", np.int32, "int_val", np.int32),
    4: _kind("uint8", np.uint8, "int_val", np.int32),
    5: _kind("int16", np.int16, "int_val", np.int32),
    6: _kind("int8", np.int8, "int_val", np.int32),
    DT_STRING: _kind("string", np.object_, "string_val", np.object_),
    8: _kind("complex64", np.complex64, "scomplex_val", np.float32),
    9: _kind("int64", np.int64, "int64_val", np.int64),
    10: _kind("bool", np.bool_, "bool_val", np.bool_),
    11: _kind("qint8", _quantized("qint8", np.int8), "int_val", np.int32),
    12: _kind("quint8", _quantized("quint8", np.uint8), "int_val", np.int32),
    13: _kind("qint32", _quantized("qint32", np.int32), "int_val", np.int32),
    14: _kind("bfloat16", ml_dtypes.bfloat16, "half_val", np.int32),
    15: _kind("qint16", _quantized("qint16", np.int16), "int_val", np.int32),
    16: _kind("quint16", _quantized("quint16", np.uint16), "int_val", np.int32),
    17: _kind("uint16", np.uint16, "int_val", np.int32),
    18: _kind("complex128", np.complex128, "dcomplex_val", np.float64),
    19: _kind("half", np.float16, "half_val", np.int32),
    22: _kind("uint32", np.uint32, "uint32_val", np.uint32),
    23: _kind("uint64", np.uint64, "uint64_val", np.uint64),
    24: _kind("float8_e5m2", ml_dtypes.float8_e5m2, "float8_val", np.uint8),
    25: _kind("float8_e4m3fn", ml_dtypes.float8_e4m3fn, "float8_val", np.uint8),
}
"""By number of `DataType`; what is missing, such as resources and variants, cannot be fed."""

DTYPE_NAMES = tuple(kind.name for kind in _KINDS.values())
"""Names of the dtypes that can be sent, as TensorFlow's C++ runtime and `tf.as_dtype` know them."""

_NUMBERS = {kind.numpy: number for number, kind in _KINDS.items()}


def decode_tensor(proto: Any, alias: str) -> np.ndarray:
    """Read a TensorProto.

    `tensor_content` is used when it is there; its length must fit the shape. Otherwise the typed
    field counts: too few values repeat the last one, none at all means zeros, surplus ones are
    ignored.

    Args:
        proto: A `tensorflow.TensorProto`.
        alias: Name of the input, for the error.

    Returns:
        An array of the proto's dtype and shape, read-only where it shares the proto's memory.
        Strings come as an object array of bytes.

    Raises:
        InvalidTensorError: `tensor parsing error: <alias>`, the text of TensorFlow Serving.
    """
    kind = _KINDS.get(proto.dtype)
    shape = _shape(proto.tensor_shape)
    if kind is None or shape is None:
        raise InvalidTensorError(f"tensor parsing error: {alias}")
    content = proto.tensor_content
    count = math.prod(shape)
    try:
        if count == 0:
            return np.empty(shape, kind.numpy)
        if kind.numpy.hasobject:
            strings = _strings(content, count) if content else list(proto.string_val)
            return _string_array(strings, count).reshape(shape)
        if content:
            # Any other byte than 0 and 1 in a bool would be undefined behaviour in the runtime.
            is_bool = kind.numpy == np.bool_
            values = np.frombuffer(content, np.uint8 if is_bool else kind.numpy).reshape(shape)
            return values.astype(np.bool_) if is_bool else values
        return _typed(proto, kind, count).reshape(shape)
    except ValueError as error:
        raise InvalidTensorError(f"tensor parsing error: {alias}") from error


def encode_tensor(
    array: np.ndarray, proto: Any, *, dtype: int | None = None, as_content: bool = False
) -> None:
    """Write an array into an empty TensorProto.

    Args:
        array: Any array that a session returns.
        proto: The `tensorflow.TensorProto` to fill.
        dtype: Number of the `DataType`, where the array's own dtype does not tell it.
        as_content: Write `tensor_content` instead of typed fields.

    Raises:
        InvalidTensorError: When the dtype cannot travel.
    """
    number = DT_STRING if array.dtype.hasobject else dtype or _NUMBERS.get(array.dtype)
    if number not in _KINDS:
        raise InvalidTensorError(f"Tensors of type {array.dtype} cannot be sent.")
    kind = _KINDS[number]
    proto.dtype = number
    dimensions = proto.tensor_shape.dim
    for size in array.shape:
        dimensions.add().size = size
    if number == DT_STRING:
        values = [
            value if isinstance(value, bytes) else str(value).encode() for value in array.flat
        ]
        if as_content:
            proto.tensor_content = _string_content(values)
        else:
            proto.string_val.extend(values)
    elif as_content:
        proto.tensor_content = array.tobytes()
    elif kind.field == "float8_val":
        proto.float8_val = array.tobytes()
    else:
        getattr(proto, kind.field).extend(_to_wire(array, kind).tolist())


def _shape(proto: Any) -> tuple[int, ...] | None:
    if proto.unknown_rank or len(proto.dim) > _MAX_DIMENSIONS:
        return None
    sizes = tuple(dimension.size for dimension in proto.dim)
    if any(size < 0 for size in sizes) or math.prod(filter(None, sizes)) >= 2**63:
        return None
    return sizes


def _typed(proto: Any, kind: _Kind, count: int) -> np.ndarray:
    field = getattr(proto, kind.field)
    width = 2 if kind.numpy.kind == "c" else 1
    if isinstance(field, bytes):
        values = np.frombuffer(field, kind.wire)
    else:
        present = min(len(field) // width, count) * width
        values = np.fromiter(field, kind.wire, len(field))[:present]
    values = _from_wire(values[: count * width], kind)
    if len(values) == count:
        return values
    if count * kind.numpy.itemsize > MAX_REPEATED_BYTES:
        raise ValueError("too many repeated values")
    filled = np.zeros(count, kind.numpy)
    if len(values):
        filled[: len(values)] = values
        filled[len(values) :] = values[-1]
    return filled


def _from_wire(values: np.ndarray, kind: _Kind) -> np.ndarray:
    """Turn the elements of a typed field into the dtype."""
    if kind.numpy.kind == "c":
        return values.view(kind.numpy)
    if kind.field == "half_val":
        return values.astype(np.uint16).view(kind.numpy)
    if kind.field == "float8_val":
        return values.view(kind.numpy)
    if kind.numpy.fields is not None:
        return values.astype(kind.numpy[0]).view(kind.numpy)
    return values.astype(kind.numpy, copy=False)


def _to_wire(array: np.ndarray, kind: _Kind) -> np.ndarray:
    """Turn an array into the elements of its typed field."""
    flat = np.ascontiguousarray(array).ravel()
    if kind.numpy.kind == "c":
        return flat.view(kind.wire)
    if kind.field == "half_val":
        return flat.view(np.uint16)
    return flat.view(kind.numpy[0]) if kind.numpy.fields is not None else flat


def _string_array(values: list[bytes], count: int) -> np.ndarray:
    if len(values) < count and count * np.dtype(np.object_).itemsize > MAX_REPEATED_BYTES:
        raise ValueError("too many repeated values")
    array = np.empty(count, np.object_)
    array[: len(values)] = values[:count]
    array[len(values) :] = values[-1] if values else b""
    return array


def _strings(content: bytes, count: int) -> list[bytes]:
    """Split what `EncodeStringList` of the runtime joins: lengths as varints, then strings."""
    lengths = []
    position = 0
    for _ in range(count):
        length = shift = 0
        while True:
            if position == len(content) or shift > _LAST_VARINT_SHIFT:
                raise ValueError("string lengths are cut off")
            byte = content[position]
            position += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        lengths.append(length)
    if position + sum(lengths) != len(content):
        raise ValueError("string lengths do not fit the content")
    strings = []
    for length in lengths:
        strings.append(content[position : position + length])
        position += length
    return strings


def _string_content(values: Iterable[bytes]) -> bytes:
    strings = list(values)
    content = bytearray()
    for value in strings:
        length = len(value)
        while length >= 0x80:
            content.append(length & 0x7F | 0x80)
            length >>= 7
        content.append(length)
    return bytes(content) + b"".join(strings)
