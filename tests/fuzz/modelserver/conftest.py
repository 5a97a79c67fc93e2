"""Requests drawn from the descriptors of the messages, and a server in a process of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from heliograph_modelserver.tensors import DTYPE_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from google.protobuf.descriptor import Descriptor

_INT32 = st.integers(-(2**31), 2**31 - 1)
_INT64 = st.one_of(st.integers(-2, 5), st.integers(-(2**63), 2**63 - 1))
_UINT32 = st.integers(0, 2**32 - 1)
_UINT64 = st.integers(0, 2**64 - 1)
_TEXT = st.text(max_size=8)
_SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_DOUBLE: st.floats(),
    FieldDescriptor.TYPE_FLOAT: st.floats(width=32),
    FieldDescriptor.TYPE_INT64: _INT64,
    FieldDescriptor.TYPE_UINT64: _UINT64,
    FieldDescriptor.TYPE_INT32: _INT32,
    FieldDescriptor.TYPE_UINT32: _UINT32,
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_STRING: _TEXT,
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=16),
}
_DEPTH = 4
"""Messages within messages."""


def messages(descriptor: Descriptor, depth: int = _DEPTH) -> st.SearchStrategy[Any]:
    """Any message of a type: every field absent or with a value of its type."""
    fields = {
        field.name: _field(field, depth)
        for field in descriptor.fields
        if field.message_type is None or depth > 0
    }
    optional = st.fixed_dictionaries({}, optional=fields)
    return optional.map(lambda values: _build(GetMessageClass(descriptor), values))


def _field(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        entry = field.message_type.fields_by_name["value"]
        return st.dictionaries(_TEXT, _value(entry, depth - 1), max_size=2)
    value = _value(field, depth)
    return st.lists(value, max_size=4) if field.is_repeated else value


def _value(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        return messages(field.message_type, depth - 1)
    if field.enum_type is not None:
        known = st.sampled_from([value.number for value in field.enum_type.values])
        return st.one_of(known, st.integers(-1, 200))
    return _SCALARS[field.type]


def _build(message_class: Any, values: dict[str, Any]) -> Any:
    """Fill a message; maps of messages take no assignment."""
    message = message_class()
    for name, value in values.items():
        target = getattr(message, name)
        if isinstance(value, dict):
            for key, entry in value.items():
                if hasattr(entry, "SerializeToString"):
                    target[key].CopyFrom(entry)
                else:
                    target[key] = entry
        elif isinstance(value, list):
            target.extend(value)
        elif hasattr(value, "SerializeToString"):
            target.CopyFrom(value)
        else:
            setattr(message, name, value)
    return message


@st.composite
def tensors(draw: st.DrawFn, hints: tuple[tuple[str, tuple[int, ...]], ...]) -> Any:
    """A TensorProto: mostly one whose parts fit together, then sometimes spoiled.

    Args:
        draw: Hypothesis' drawing function.
        hints: Dtypes and shapes that the models expect.
    """
    import tensorflow as tf
    from tensorflow.core.framework import tensor_pb2

    if draw(st.integers(0, 9)) == 0:
        return draw(messages(tensor_pb2.TensorProto.DESCRIPTOR))
    dtype, shape = draw(
        st.one_of(
            st.sampled_from(hints),
            st.tuples(
                st.sampled_from(DTYPE_NAMES),
                st.lists(st.integers(0, 4), max_size=6).map(tuple),
            ),
        )
    )
    if draw(st.booleans()):
        shape = draw(st.permutations(shape).map(tuple))
    proto = tensor_pb2.TensorProto(dtype=tf.as_dtype(dtype).as_datatype_enum)
    for size in shape:
        proto.tensor_shape.dim.add().size = size
    count = math.prod(shape)
    if draw(st.booleans()) and dtype != "string":
        size = count * tf.as_dtype(dtype).size
        seed = draw(st.binary(min_size=1, max_size=16))
        proto.tensor_content = (seed * (size // len(seed) + 1))[:size]
    else:
        spoiled = draw(messages(tensor_pb2.TensorProto.DESCRIPTOR, 0))
        spoiled.ClearField("dtype")
        spoiled.ClearField("tensor_content")
        proto.MergeFrom(spoiled)
    if draw(st.integers(0, 9)) == 0:
        proto.MergeFrom(draw(messages(tensor_pb2.TensorProto.DESCRIPTOR, 2)))
    return proto


@dataclass(frozen=True)
class FuzzModel:
    """A model of the server, with what its signatures take."""

    name: str
    signatures: tuple[str, ...]
    inputs: tuple[str, ...]
    hints: tuple[tuple[str, tuple[int, ...]], ...]
    """Dtypes and shapes that fit; without any, the signature is named after its dtype."""


MODELS = (
    FuzzModel("image", ("",), ("image",), (("uint8", (1, 8, 8, 3)), ("uint8", (2, 8, 8, 3)))),
    FuzzModel("half", ("",), ("x",), (("float", (1, 1)), ("float", (3,)))),
    FuzzModel("sum", ("", "strict"), ("a", "b"), (("float", (2,)), ("float", ()))),
    FuzzModel("identity", DTYPE_NAMES, ("x",), ()),
)


@st.composite
def predict_requests(draw: st.DrawFn) -> Any:
    """A PredictRequest that usually reaches the runtime."""
    from tensorflow_serving.apis import predict_pb2

    if draw(st.integers(0, 19)) == 0:
        return draw(messages(predict_pb2.PredictRequest.DESCRIPTOR))
    model = draw(st.sampled_from(MODELS))
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model.name
    signature = draw(st.sampled_from(model.signatures))
    request.model_spec.signature_name = signature
    hints = model.hints or ((signature, (2, 2)),)
    for alias in model.inputs:
        request.inputs[alias].CopyFrom(draw(tensors(hints)))
    if draw(st.integers(0, 19)) == 0:
        request.inputs[draw(_TEXT)].CopyFrom(draw(tensors(hints)))
    if draw(st.integers(0, 19)) == 0:
        request.output_filter.extend(draw(st.lists(_TEXT, max_size=3)))
    return request


@st.composite
def example_requests(draw: st.DrawFn) -> tuple[str, Any]:
    """A method that takes examples, and a request for it."""
    from tensorflow_serving.apis import classification_pb2, inference_pb2, regression_pb2

    method, request_class, signature = draw(
        st.sampled_from(
            [
                ("Classify", classification_pb2.ClassificationRequest, "classify_labels"),
                ("Regress", regression_pb2.RegressionRequest, "regress_x_to_y"),
                ("MultiInference", inference_pb2.MultiInferenceRequest, "regress_x_to_y"),
            ]
        )
    )
    request = draw(messages(request_class.DESCRIPTOR, 7))
    if method == "MultiInference":
        if request.tasks:
            request.tasks[0].model_spec.name = "half"
            request.tasks[0].model_spec.signature_name = signature
            request.tasks[0].method_name = "tensorflow/serving/regress"
    else:
        request.model_spec.Clear()
        request.model_spec.name = "half"
        request.model_spec.signature_name = signature
    return method, request


@pytest.fixture(scope="session")
def requests() -> st.SearchStrategy[Any]:
    """Predict requests."""
    return predict_requests()


@pytest.fixture(scope="session")
def requests_with_examples() -> st.SearchStrategy[tuple[str, Any]]:
    """Requests for the other RPCs."""
    return example_requests()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server in a process of its own, so that it may die."""
    import json

    from heliograph.cli.background_process import BackgroundProcess
    from heliograph_modelserver.testing import (
        write_half_plus,
        write_identity,
        write_image_classifier,
        write_sum,
    )

    root = tmp_path_factory.mktemp("fuzz")
    writers: dict[str, Callable[[Path], Path]] = {
        "image": lambda path: write_image_classifier(path, side=8),
        "half": write_half_plus,
        "sum": write_sum,
        "identity": write_identity,
    }
    entries = []
    for name, write in writers.items():
        write(root / name / "1")
        entries.append(f'config {{ name: "{name}" base_path: "{root / name}" model_type: 1 }}')
    config = root / "models.config"
    config.write_text(f"model_config_list {{ {' '.join(entries)} }}")
    socket = root / "model.sock"
    process = BackgroundProcess(
        "model server",
        [
            *("model-server", "--port=0", f"--grpc_socket_path={socket}"),
            f"--model_config_file={config}",
        ],
        root / "log",
    )

    def socket_of(line: str) -> str | None:
        event = json.loads(line) if line.startswith("{") else {}
        return event["socket"] if event.get("event") == "serving" else None

    try:
        yield process.wait_for(socket_of, 120)
    finally:
        process.stop()
