"""NumPy arrays and TensorProtos, without TensorFlow.

Numeric arrays travel as `tensor_content`, strings as `string_val`. Both forms of a numeric tensor
are read: TensorFlow Serving answers in typed fields unless it is told otherwise.
"""

from __future__ import annotations

import math
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from heliograph.errors import InvalidTensorError
from heliograph.tfserving.v1 import tensor_pb2
from heliograph.tfserving.v1.tensor_pb2 import DataType, TensorProto, TensorShapeProto
from heliograph.wire_format import delimited

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike, NDArray

MAX_BYTES: Final = 2**31 - 1
"""Largest tensor read, in bytes: the largest message that TensorFlow Serving sends."""

_NUMERIC: Final[dict[DataType.ValueType, tuple[str, str]]] = {
    tensor_pb2.DT_FLOAT: ("<f4", "float_val"),
    tensor_pb2.DT_DOUBLE: ("<f8", "double_val"),
    tensor_pb2.DT_INT32: ("<i4", "int_val"),
    tensor_pb2.DT_UINT8: ("|u1", "int_val"),
    tensor_pb2.DT_INT16: ("<i2", "int_val"),
    tensor_pb2.DT_INT8: ("|i1", "int_val"),
    tensor_pb2.DT_COMPLEX64: ("<c8", "scomplex_val"),
    tensor_pb2.DT_INT64: ("<i8", "int64_val"),
    tensor_pb2.DT_BOOL: ("|b1", "bool_val"),
    tensor_pb2.DT_UINT16: ("<u2", "int_val"),
    tensor_pb2.DT_COMPLEX128: ("<c16", "dcomplex_val"),
    tensor_pb2.DT_HALF: ("<f2", "half_val"),
    tensor_pb2.DT_UINT32: ("<u4", "uint32_val"),
    tensor_pb2.DT_UINT64: ("<u8", "uint64_val"),
}
"""Each numeric type of NumPy's own: its little-endian dtype, and the typed field it may be in."""

_DATA_TYPES: Final = {np.dtype(name).newbyteorder("="): key for key, (name, _) in _NUMERIC.items()}

_NATIVE_IS_LITTLE: Final = sys.byteorder == "little"

_EMPTY_STRING: Final = np.array([b""], object)

_CONTENT_FIELD: Final = TensorProto.TENSOR_CONTENT_FIELD_NUMBER


def to_tensor_proto(value: ArrayLike) -> TensorProto:
    """Return an array as a TensorProto.

    Args:
        value: Array, or what NumPy makes one of. Strings become their UTF-8 bytes.

    Raises:
        InvalidTensorError: TensorFlow has no such dtype.
    """
    array = _as_array(value)
    proto = _header(_data_type(array.dtype), array.shape)
    if proto.dtype == tensor_pb2.DT_STRING:
        proto.string_val.extend(_strings(array))
    else:
        proto.tensor_content = array.astype(_little_endian(array.dtype), copy=False).tobytes()
    return proto


def encode_tensor(value: ArrayLike) -> list[bytes | memoryview]:
    """Return an array as a serialized TensorProto in parts, to be joined with what surrounds it.

    The elements are one part that points into the array: nothing is copied before the join. Use
    this for large numeric batches, and `to_tensor_proto` where a message object is wanted.

    Raises:
        InvalidTensorError: TensorFlow has no such dtype.
    """
    array = _as_array(value)
    if array.dtype.kind in "OSU":
        return [to_tensor_proto(array).SerializeToString()]
    prefix = _content_prefix(_data_type(array.dtype), array.shape, array.nbytes)
    if not array.size:
        return [prefix]
    little = np.ascontiguousarray(array, _little_endian(array.dtype))
    return [prefix, little.reshape(-1).view(np.uint8).data]


def from_tensor_proto(proto: TensorProto) -> NDArray[Any]:
    """Return a TensorProto as an array of its own memory.

    A typed field with fewer values than the shape has elements repeats its last value, as
    TensorFlow reads it. Strings become an object array of bytes.

    Raises:
        InvalidTensorError: The shape is unknown or negative, the values do not fit it, the dtype
            is unknown, or it is bfloat16 and ml_dtypes is not installed.
    """
    shape = _shape(proto.tensor_shape)
    count = math.prod(shape)
    if proto.dtype == tensor_pb2.DT_STRING:
        strings = np.array(list(proto.string_val), object)
        return _fill(strings, count, _EMPTY_STRING).reshape(shape)
    if proto.dtype == tensor_pb2.DT_BFLOAT16:
        dtype, name = _bfloat16(), "half_val"
    elif proto.dtype in _NUMERIC:
        dtype, name = np.dtype(_NUMERIC[proto.dtype][0]), _NUMERIC[proto.dtype][1]
    else:
        raise InvalidTensorError(f"a tensor has dtype {proto.dtype}, which cannot be read")
    if count * dtype.itemsize > MAX_BYTES:
        raise InvalidTensorError(
            f"a tensor of shape {list(shape)} is larger than {MAX_BYTES} bytes"
        )
    if proto.tensor_content:
        return _from_content(proto.tensor_content, dtype, shape, count)
    values = _typed_values(getattr(proto, name), dtype)
    return _fill(values, count, np.zeros(1, values.dtype)).reshape(shape)


def _as_array(value: ArrayLike) -> NDArray[Any]:
    if isinstance(value, np.ndarray):
        return value
    array = np.asarray(value)
    # NumPy's fixed-length strings drop trailing zero bytes, which encoded images may have.
    return np.array(value, dtype=object) if array.dtype.kind in "SU" else array


def _data_type(dtype: np.dtype[Any]) -> DataType.ValueType:
    if dtype.kind in "OSU":
        return tensor_pb2.DT_STRING
    if dtype.name == "bfloat16":
        return tensor_pb2.DT_BFLOAT16
    known = _DATA_TYPES.get(dtype if dtype.isnative else dtype.newbyteorder("="))
    if known is None:
        raise InvalidTensorError(f"an array has dtype {dtype}, which TensorFlow does not know")
    return known


def _little_endian(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype if _NATIVE_IS_LITTLE and dtype.isnative else dtype.newbyteorder("<")


def _header(data_type: DataType.ValueType, shape: tuple[int, ...]) -> TensorProto:
    proto = TensorProto(dtype=data_type)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    # A scalar has a shape as well, without dimensions.
    proto.tensor_shape.SetInParent()
    return proto


@lru_cache(maxsize=256)
def _content_prefix(data_type: DataType.ValueType, shape: tuple[int, ...], size: int) -> bytes:
    """Serialize what precedes the elements; the batches of a model have few shapes."""
    return _header(data_type, shape).SerializeToString() + delimited(_CONTENT_FIELD, size)


def _strings(array: NDArray[Any]) -> Iterable[bytes]:
    for item in array.reshape(-1).tolist():
        if isinstance(item, str):
            yield item.encode()
        elif isinstance(item, bytes):
            yield item
        else:
            raise InvalidTensorError(
                f"an array of objects holds a {type(item).__name__}; use bytes or str only"
            )


def _shape(proto: TensorShapeProto) -> tuple[int, ...]:
    shape = tuple(dimension.size for dimension in proto.dim)
    if proto.unknown_rank or any(size < 0 for size in shape):
        raise InvalidTensorError("the shape of a tensor is not fully known")
    if math.prod(shape) > MAX_BYTES:
        raise InvalidTensorError(
            f"a tensor of shape {list(shape)} is larger than {MAX_BYTES} bytes"
        )
    return shape


def _from_content(
    content: bytes, dtype: np.dtype[Any], shape: tuple[int, ...], count: int
) -> NDArray[Any]:
    if len(content) != count * dtype.itemsize:
        raise InvalidTensorError(
            f"a tensor of shape {list(shape)} and dtype {dtype.name} has {len(content)} bytes, "
            f"not {count * dtype.itemsize}"
        )
    native = dtype.newbyteorder("=")
    return np.frombuffer(bytearray(content), dtype).astype(native, copy=False).reshape(shape)


def _typed_values(values: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    native = dtype.newbyteorder("=")
    if dtype.kind == "c":
        return np.array(values, f"f{dtype.itemsize // 2}").view(native)
    if dtype.name in {"float16", "bfloat16"}:
        return np.array(values, "i4").astype("u2").view(native)
    if dtype.kind in "iu" and dtype.itemsize < 4:
        return np.array(values, "i4").astype(native)
    return np.array(values, native)


def _fill(values: NDArray[Any], count: int, absent: NDArray[Any]) -> NDArray[Any]:
    """Repeat the last value, or `absent` where there is none, until there are `count`."""
    if values.size > count:
        raise InvalidTensorError(f"a tensor has {values.size} values for {count} elements")
    if values.size == count:
        return values
    last = values[-1:] if values.size else absent
    return np.concatenate([values, np.repeat(last, count - values.size)])


def _bfloat16() -> np.dtype[Any]:
    try:
        import ml_dtypes
    except ModuleNotFoundError as error:
        raise InvalidTensorError(
            "a tensor has dtype bfloat16, which NumPy lacks: pip install ml_dtypes"
        ) from error
    dtype: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return dtype
