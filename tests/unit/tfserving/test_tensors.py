"""Arrays to TensorProtos and back."""

from __future__ import annotations

import sys
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from heliograph.errors import InvalidTensorError
from heliograph.tfserving.tensors import encode_tensor, from_tensor_proto, to_tensor_proto
from heliograph.tfserving.v1 import tensor_pb2
from heliograph.tfserving.v1.tensor_pb2 import DataType, TensorProto, TensorShapeProto

NUMERIC = {
    "float32": tensor_pb2.DT_FLOAT,
    "float64": tensor_pb2.DT_DOUBLE,
    "int32": tensor_pb2.DT_INT32,
    "uint8": tensor_pb2.DT_UINT8,
    "int16": tensor_pb2.DT_INT16,
    "int8": tensor_pb2.DT_INT8,
    "complex64": tensor_pb2.DT_COMPLEX64,
    "int64": tensor_pb2.DT_INT64,
    "bool": tensor_pb2.DT_BOOL,
    "uint16": tensor_pb2.DT_UINT16,
    "complex128": tensor_pb2.DT_COMPLEX128,
    "float16": tensor_pb2.DT_HALF,
    "uint32": tensor_pb2.DT_UINT32,
    "uint64": tensor_pb2.DT_UINT64,
}
SHAPES = arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)


def shape(*sizes: int) -> TensorShapeProto:
    return TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in sizes])


def tensor(dtype: DataType.ValueType, *sizes: int, **fields: Any) -> TensorProto:
    return TensorProto(dtype=dtype, tensor_shape=shape(*sizes), **fields)


def assert_same(left: Any, right: Any) -> None:
    assert left.dtype == right.dtype
    assert left.shape == right.shape
    assert left.tobytes() == right.tobytes()


def test_every_dtype_of_the_proto_is_covered() -> None:
    covered = {*NUMERIC.values(), tensor_pb2.DT_STRING, tensor_pb2.DT_BFLOAT16}

    assert covered == set(DataType.values()) - {tensor_pb2.DT_INVALID}


@given(arrays.arrays(st.sampled_from(sorted(NUMERIC)).map(np.dtype), SHAPES))
def test_a_numeric_array_comes_back_as_it_was(array: Any) -> None:
    proto = to_tensor_proto(array)

    assert proto.dtype == NUMERIC[array.dtype.name]
    assert_same(from_tensor_proto(proto), array)


@given(arrays.arrays(st.sampled_from(sorted(NUMERIC)).map(np.dtype), SHAPES))
def test_the_parts_of_an_encoded_array_are_its_message(array: Any) -> None:
    assert TensorProto.FromString(b"".join(encode_tensor(array))) == to_tensor_proto(array)


@pytest.mark.parametrize("encode", [to_tensor_proto, lambda a: b"".join(encode_tensor(a))])
@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=">i4").reshape(2, 3, 4),
        np.asfortranarray(np.arange(24.0).reshape(2, 3, 4)),
        np.arange(24, dtype=np.uint8).reshape(4, 6)[::2, ::-3],
        np.broadcast_to(np.float32(1.5), (3, 4)),
        np.array([1.5, -2.25], ml_dtypes.bfloat16),
        np.array(7, ml_dtypes.bfloat16),
    ],
    ids=["big-endian", "column-major", "strided", "broadcast", "bfloat16", "bfloat16 scalar"],
)
def test_the_layout_in_memory_does_not_matter(encode: Any, array: Any) -> None:
    encoded = encode(array)
    proto = TensorProto.FromString(encoded) if isinstance(encoded, bytes) else encoded

    again = from_tensor_proto(proto)

    assert again.dtype == array.dtype.newbyteorder("=")
    assert (again == array).all()


@given(arrays.arrays(np.dtype("O"), SHAPES, elements=st.binary(max_size=8)))
def test_strings_come_back_as_they_were(array: Any) -> None:
    for proto in (to_tensor_proto(array), TensorProto.FromString(b"".join(encode_tensor(array)))):
        again = from_tensor_proto(proto)
        assert again.shape == array.shape
        assert again.tolist() == array.tolist()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"zero at the end\0", b"zero at the end\0"),
        ("schön", "schön".encode()),
        (["a", b"b\0"], [b"a", b"b\0"]),
        (np.array(["ab", "c"]), [b"ab", b"c"]),
        (np.array([b"ab", b"c"]), [b"ab", b"c"]),
    ],
)
def test_strings_may_be_given_in_any_form(value: Any, expected: Any) -> None:
    assert from_tensor_proto(to_tensor_proto(value)).tolist() == expected


@pytest.mark.parametrize(
    ("value", "dtype"), [(1.5, "float64"), (3, "int64"), ([True], "bool"), ([[1, 2]], "int64")]
)
def test_numbers_and_lists_are_arrays(value: Any, dtype: str) -> None:
    array = from_tensor_proto(to_tensor_proto(value))

    assert array.dtype.name == dtype
    assert array.tolist() == value


@pytest.mark.parametrize(
    ("name", "field", "values", "dtype", "expected"),
    [
        ("DT_FLOAT", "float_val", [1, -2.5], "float32", [1, -2.5]),
        ("DT_DOUBLE", "double_val", [1, -2.5], "float64", [1, -2.5]),
        ("DT_INT32", "int_val", [1, -2], "int32", [1, -2]),
        ("DT_UINT8", "int_val", [1, 255], "uint8", [1, 255]),
        ("DT_INT16", "int_val", [1, -2], "int16", [1, -2]),
        ("DT_INT8", "int_val", [1, -2], "int8", [1, -2]),
        ("DT_UINT16", "int_val", [1, 65535], "uint16", [1, 65535]),
        ("DT_COMPLEX64", "scomplex_val", [1, 2, 3, 4], "complex64", [1 + 2j, 3 + 4j]),
        ("DT_COMPLEX128", "dcomplex_val", [1, 2, 3, 4], "complex128", [1 + 2j, 3 + 4j]),
        ("DT_INT64", "int64_val", [-(2**63), 1], "int64", [-(2**63), 1]),
        ("DT_BOOL", "bool_val", [True, False], "bool", [True, False]),
        ("DT_HALF", "half_val", [0x3C00, 0xC000], "float16", [1, -2]),
        ("DT_BFLOAT16", "half_val", [0x3FC0, 0xC000], "bfloat16", [1.5, -2]),
        ("DT_UINT32", "uint32_val", [1, 2**32 - 1], "uint32", [1, 2**32 - 1]),
        ("DT_UINT64", "uint64_val", [1, 2**64 - 1], "uint64", [1, 2**64 - 1]),
    ],
)
def test_typed_fields_are_read(
    name: str, field: str, values: list[Any], dtype: str, expected: list[Any]
) -> None:
    proto = tensor(DataType.Value(name), 2, **{field: values})

    array = from_tensor_proto(proto)

    assert array.dtype.name == dtype
    assert array.tolist() == expected


def test_the_last_value_stands_for_the_ones_left_out() -> None:
    proto = tensor(tensor_pb2.DT_FLOAT, 2, 2, float_val=[1, 2])
    assert from_tensor_proto(proto).tolist() == [[1, 2], [2, 2]]

    strings = tensor(tensor_pb2.DT_STRING, 3, string_val=[b"a"])
    assert from_tensor_proto(strings).tolist() == [b"a", b"a", b"a"]


@pytest.mark.parametrize("name", sorted(NUMERIC))
def test_no_values_at_all_are_zeros(name: str) -> None:
    proto = tensor(NUMERIC[name], 2)

    assert_same(from_tensor_proto(proto), np.zeros(2, name))


def test_no_strings_at_all_are_empty_ones() -> None:
    proto = tensor(tensor_pb2.DT_STRING, 2)

    assert from_tensor_proto(proto).tolist() == [b"", b""]


def test_an_array_may_be_written_to() -> None:
    for proto in (
        to_tensor_proto(np.ones(3, np.float32)),
        tensor(tensor_pb2.DT_FLOAT, 3, float_val=[1]),
    ):
        array = from_tensor_proto(proto)
        array[0] = 5
        assert array.tolist() == [5, 1, 1]


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        (tensor(tensor_pb2.DT_FLOAT, 1, float_val=[1, 2]), "2 values for 1"),
        (tensor(tensor_pb2.DT_STRING, 0, string_val=[b""]), "1 values for 0"),
        (tensor(tensor_pb2.DT_FLOAT, 2, tensor_content=b"1234567"), "7 bytes, not 8"),
        (tensor(tensor_pb2.DT_FLOAT, 2, tensor_content=b"x" * 12), "12 bytes, not 8"),
        (tensor(tensor_pb2.DT_FLOAT, -1), "not fully known"),
        (
            TensorProto(
                dtype=tensor_pb2.DT_FLOAT, tensor_shape=TensorShapeProto(unknown_rank=True)
            ),
            "not fully known",
        ),
        (tensor(tensor_pb2.DT_FLOAT, 2**30), "larger than"),
        (tensor(tensor_pb2.DT_STRING, 2**62, 2**62), "larger than"),
        (tensor(tensor_pb2.DT_INVALID, 1), "dtype 0"),
        (TensorProto.FromString(b"\x08\x63"), "dtype 99"),
    ],
)
def test_a_tensor_that_contradicts_itself_is_refused(proto: TensorProto, message: str) -> None:
    with pytest.raises(InvalidTensorError, match=message):
        from_tensor_proto(proto)


@pytest.mark.parametrize("encode", [to_tensor_proto, encode_tensor])
@pytest.mark.parametrize(
    "value",
    [
        np.zeros(1, "datetime64[s]"),
        np.zeros(1, [("a", "i4")]),
        np.array([{}], object),
        np.array([None], object),
    ],
    ids=["time", "record", "dictionary", "none"],
)
def test_an_array_that_tensorflow_does_not_know_is_refused(encode: Any, value: Any) -> None:
    with pytest.raises(InvalidTensorError):
        encode(value)


def test_bfloat16_without_ml_dtypes_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)

    with pytest.raises(InvalidTensorError, match="pip install ml_dtypes"):
        from_tensor_proto(tensor(tensor_pb2.DT_BFLOAT16, 1, half_val=[0]))
