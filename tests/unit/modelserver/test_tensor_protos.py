"""TensorProto to NumPy by the runtime's rules, with our own copy of the message: no TensorFlow."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.errors import InvalidTensorError
from heliograph.tfserving.v1 import tensor_pb2
from heliograph_modelserver.tensors import (
    MAX_REPEATED_BYTES,
    decode_tensor,
    encode_tensor,
)

FLOAT, INT32, UINT8, STRING, BOOL, HALF, BFLOAT16 = 1, 3, 4, 7, 10, 19, 14


def proto(dtype: int, *shape: int, **fields: Any) -> tensor_pb2.TensorProto:
    tensor = tensor_pb2.TensorProto(**fields)
    tensor.dtype = dtype  # type: ignore[assignment]
    for size in shape:
        tensor.tensor_shape.dim.add().size = size
    return tensor


def decode(dtype: int, *shape: int, **fields: Any) -> Any:
    return decode_tensor(proto(dtype, *shape, **fields), "x").tolist()


def test_content_is_read_as_it_is() -> None:
    assert decode(UINT8, 2, 2, tensor_content=b"\1\2\3\4") == [[1, 2], [3, 4]]


def test_content_wins_over_typed_fields() -> None:
    assert decode(UINT8, 1, tensor_content=b"\1", int_val=[9]) == [1]


def test_the_last_value_is_repeated() -> None:
    assert decode(FLOAT, 4, float_val=[1.0, 2.0]) == [1.0, 2.0, 2.0, 2.0]


def test_no_values_mean_zeros() -> None:
    assert decode(INT32, 2) == [0, 0]
    assert decode(STRING, 2) == [b"", b""]
    assert decode(BOOL, 1) == [False]


def test_surplus_values_are_ignored() -> None:
    assert decode(INT32, 1, int_val=[1, 2]) == [1]
    assert decode(STRING, 1, string_val=[b"a", b"b"]) == [b"a"]


def test_a_scalar_has_no_dimensions() -> None:
    assert decode(FLOAT, float_val=[3.0]) == 3.0


def test_integers_wrap_into_narrow_types() -> None:
    assert decode(UINT8, 2, int_val=[-1, 256]) == [255, 0]


def test_half_and_bfloat16_travel_as_bits() -> None:
    assert decode(HALF, 1, half_val=[0x3C00]) == [1.0]
    assert decode(BFLOAT16, 1, half_val=[0x3F80]) == [1.0]


def test_any_byte_but_zero_is_true() -> None:
    assert decode(BOOL, 3, tensor_content=b"\0\1\xff") == [False, True, True]


def test_strings_in_content_are_lengths_and_then_bytes() -> None:
    assert decode(STRING, 2, tensor_content=b"\1\2abc") == [b"a", b"bc"]


def test_a_tensor_without_elements_keeps_its_shape() -> None:
    assert decode_tensor(proto(FLOAT, 2, 0, 3), "x").shape == (2, 0, 3)


@pytest.mark.parametrize(
    "tensor",
    [
        proto(UINT8, 3, tensor_content=b"\1\2"),
        proto(FLOAT, 1, tensor_content=b"\1\2"),
        proto(FLOAT, -1, float_val=[1.0]),
        proto(FLOAT, 2**40, 2**40),
        proto(FLOAT, 0, 2**62, 2**62),
        proto(FLOAT, *[1] * 255, float_val=[1.0]),
        proto(FLOAT, *[1] * 100, float_val=[1.0]),
        proto(0, 1),
        proto(20, 1),
        proto(21, 1),
        proto(101, 1, float_val=[1.0]),
        proto(9999, 1),
        proto(STRING, 2, tensor_content=b"\1"),
        proto(STRING, 2, tensor_content=b"\1\1a"),
        proto(STRING, 1, tensor_content=b"\1ab"),
        proto(STRING, 1, tensor_content=b"\xff\xff\xff\xff\xff\xff\xff"),
        proto(STRING, 2**40, tensor_content=b"\1ab"),
    ],
)
def test_what_does_not_fit_together_is_refused(tensor: tensor_pb2.TensorProto) -> None:
    with pytest.raises(InvalidTensorError, match=r"^tensor parsing error: x$"):
        decode_tensor(tensor, "x")


def test_an_unknown_rank_is_refused() -> None:
    tensor = proto(FLOAT, float_val=[1.0])
    tensor.tensor_shape.unknown_rank = True

    with pytest.raises(InvalidTensorError):
        decode_tensor(tensor, "x")


@pytest.mark.parametrize("dtype", [FLOAT, STRING])
def test_a_few_bytes_cannot_fill_the_memory(dtype: int) -> None:
    with pytest.raises(InvalidTensorError):
        decode_tensor(proto(dtype, MAX_REPEATED_BYTES, float_val=[1.0]), "x")


@given(
    st.sampled_from([np.float32, np.float64, np.int8, np.int64, np.uint64, np.complex64, np.bool_]),
    st.lists(st.integers(0, 100), max_size=20),
    st.booleans(),
)
def test_an_array_comes_back_as_it_went(
    dtype: type[np.generic], values: list[int], as_content: bool
) -> None:
    array = np.array(values, dtype)
    tensor = tensor_pb2.TensorProto()

    encode_tensor(array, tensor, as_content=as_content)

    decoded = decode_tensor(tensor, "x")
    assert decoded.dtype == array.dtype
    assert decoded.tolist() == array.tolist()


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5), st.booleans())
def test_strings_come_back_as_they_went(values: list[bytes], as_content: bool) -> None:
    array = np.array([*values, None], np.object_)[:-1]
    tensor = tensor_pb2.TensorProto()

    encode_tensor(array, tensor, as_content=as_content)

    assert decode_tensor(tensor, "x").tolist() == values


def test_a_dtype_that_cannot_travel_is_refused() -> None:
    with pytest.raises(InvalidTensorError, match="cannot be sent"):
        encode_tensor(np.zeros(1, ml_dtypes.int4), tensor_pb2.TensorProto())
