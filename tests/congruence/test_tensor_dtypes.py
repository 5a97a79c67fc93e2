"""Every dtype through the wire, the session and back, in both forms a TensorProto may have."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from heliograph_modelserver.tensors import DTYPE_NAMES, decode_tensor, encode_tensor

VALUES = [0, 1, 2, 100, 1, 0]


def values_of(dtype: str) -> np.ndarray:
    """Six values of a dtype, shape [2, 3]."""
    import tensorflow as tf

    if dtype == "string":
        strings = [b"", b"a", "ü".encode(), b"\0\xff", b"x" * 300, b"z"]
        return np.array(strings, np.object_).reshape(2, 3)
    numpy = np.dtype(tf.as_dtype(dtype).as_numpy_dtype)
    if numpy.fields is not None:
        quantized: np.ndarray = np.array(VALUES).astype(numpy[0]).view(numpy)
        return quantized.reshape(2, 3)
    values: np.ndarray = np.array(VALUES).astype(numpy).reshape(2, 3)
    return values + numpy.type(1j) if numpy.kind == "c" else values


def request_for(dtype: str, array: np.ndarray, *, as_content: bool) -> Any:
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name = "identity"
    request.model_spec.signature_name = dtype
    encode_tensor(array, request.inputs["x"], as_content=as_content)
    return request


@pytest.mark.parametrize("as_content", [True, False], ids=["content", "fields"])
@pytest.mark.parametrize("dtype", DTYPE_NAMES)
def test_a_tensor_comes_back_as_it_was_sent(serving: Any, dtype: str, as_content: bool) -> None:
    import tensorflow as tf

    array = values_of(dtype)

    response = serving.prediction.Predict(request_for(dtype, array, as_content=as_content))

    proto = response.outputs["y"]
    assert proto.dtype == tf.as_dtype(dtype).as_datatype_enum
    assert proto.tensor_content == b""
    decoded = decode_tensor(proto, "y")
    assert decoded.dtype == array.dtype
    assert decoded.tolist() == array.tolist()


@pytest.mark.parametrize("dtype", [name for name in DTYPE_NAMES if not name.startswith("float8")])
def test_typed_fields_are_what_tensorflow_reads(serving: Any, dtype: str) -> None:
    import tensorflow as tf

    array = values_of(dtype)

    response = serving.prediction.Predict(request_for(dtype, array, as_content=True))

    assert tf.make_ndarray(response.outputs["y"]).tolist() == array.tolist()


@pytest.mark.parametrize(
    "array",
    [np.float32(3), np.zeros((1,) * 30, np.float32), np.zeros((2, 0), np.float32)],
    ids=["scalar", "rank 30", "no elements"],
)
def test_unusual_shapes_come_back_as_they_were_sent(serving: Any, array: np.ndarray) -> None:
    request = request_for("float", np.asarray(array), as_content=True)

    response = serving.prediction.Predict(request)

    assert decode_tensor(response.outputs["y"], "y").shape == np.shape(array)


def test_a_scalar_string_comes_back_as_it_was_sent(serving: Any) -> None:
    array = np.empty((), np.object_)
    array[()] = b"one"

    response = serving.prediction.Predict(request_for("string", array, as_content=False))

    assert list(response.outputs["y"].string_val) == [b"one"]
    assert not response.outputs["y"].tensor_shape.dim
