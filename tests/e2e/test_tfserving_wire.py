"""Our messages and TensorFlow Serving's own are the same bytes, read by either side's classes."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from google.protobuf.message import Message

from heliograph.tfserving.models import (
    metadata,
    metadata_request,
    reload_request,
    status_request,
    statuses,
)
from heliograph.tfserving.prediction import predict_request, prediction
from heliograph.tfserving.tensors import encode_tensor, from_tensor_proto, to_tensor_proto
from heliograph.tfserving.v1 import model_pb2, prediction_pb2, tensor_pb2

DTYPES = [
    *("float32", "float64", "float16", "bfloat16", "bool", "complex64", "complex128"),
    *("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
]


@pytest.fixture(scope="module")
def tfs() -> SimpleNamespace:
    """TensorFlow and tensorflow-serving-api, imported once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow as tf
        from tensorflow.core.framework import types_pb2
        from tensorflow_serving.apis import (
            get_model_metadata_pb2,
            get_model_status_pb2,
            model_management_pb2,
            model_service_pb2_grpc,
            predict_pb2,
            prediction_service_pb2_grpc,
        )
    return SimpleNamespace(
        tf=tf,
        types=types_pb2,
        predict=predict_pb2,
        metadata=get_model_metadata_pb2,
        status=get_model_status_pb2,
        management=model_management_pb2,
        prediction_service=prediction_service_pb2_grpc,
        model_service=model_service_pb2_grpc,
    )


def values(dtype: str, *shape: int) -> Any:
    count = int(np.prod(shape))
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    return (np.arange(count).reshape(shape) % 7).astype(kind)


def fields(descriptor: Any) -> dict[str, tuple[int, int, bool]]:
    """Numbers, types and repetition of the fields of a message, by name."""
    # An enum and an int32 are the same bytes; ours takes a status code as a plain number.
    return {
        item.name: (
            item.number,
            item.TYPE_INT32 if item.type == item.TYPE_ENUM else item.type,
            item.is_repeated,
        )
        for item in descriptor.fields
    }


def test_every_field_of_ours_has_the_number_and_type_of_theirs(tfs: SimpleNamespace) -> None:
    theirs: dict[str, Any] = {
        name: message
        for module in (tfs.predict, tfs.metadata, tfs.status, tfs.management)
        for file in [module.DESCRIPTOR, *_imports(module.DESCRIPTOR)]
        for name, message in _messages(file)
    }
    compared = 0
    for module in (tensor_pb2, prediction_pb2, model_pb2):
        for name, message in _messages(module.DESCRIPTOR):
            assert fields(message).items() <= fields(theirs[name]).items(), name
            compared += 1
    assert compared >= 20


def test_every_number_of_our_enums_is_theirs(tfs: SimpleNamespace) -> None:
    assert dict(tensor_pb2.DataType.items()).items() <= dict(tfs.types.DataType.items()).items()
    states = model_pb2.ModelVersionStatus.State
    assert dict(states.items()) == dict(tfs.status.ModelVersionStatus.State.items())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4), (0, 3)])
def test_a_tensor_of_ours_is_read_by_tensorflow(
    tfs: SimpleNamespace, dtype: str, shape: tuple[int, ...]
) -> None:
    array = values(dtype, *shape)

    theirs = tfs.tf.make_tensor_proto(0)
    theirs.ParseFromString(b"".join(encode_tensor(array)))

    read = tfs.tf.make_ndarray(theirs)
    assert read.dtype == array.dtype
    assert read.shape == shape
    assert (read == array).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4), (0, 3)])
def test_a_tensor_of_tensorflows_is_read_by_us(
    tfs: SimpleNamespace, dtype: str, shape: tuple[int, ...]
) -> None:
    array = values(dtype, *shape)

    read = from_tensor_proto(ours(tensor_pb2.TensorProto, tfs.tf.make_tensor_proto(array)))

    assert read.dtype == array.dtype
    assert read.shape == shape
    assert (read == array).all()


@pytest.mark.parametrize("dtype", [name for name in DTYPES if name != "bfloat16"])
def test_typed_fields_are_read_as_tensorflow_reads_them(tfs: SimpleNamespace, dtype: str) -> None:
    # A scalar is written to a typed field; a larger shape over it repeats the value.
    theirs = tfs.tf.make_tensor_proto(values(dtype, 1) + np.ones(1, dtype), shape=[2, 3])
    assert not theirs.tensor_content

    read = from_tensor_proto(ours(tensor_pb2.TensorProto, theirs))

    assert (read == tfs.tf.make_ndarray(theirs)).all()


def test_strings_pass_both_ways(tfs: SimpleNamespace) -> None:
    strings = np.array([[b"a", b""], [b"zero\0", b"\xff"]], object)

    theirs = tfs.tf.make_tensor_proto(0)
    theirs.ParseFromString(to_tensor_proto(strings).SerializeToString())
    assert tfs.tf.make_ndarray(theirs).tolist() == strings.tolist()

    again = from_tensor_proto(ours(tensor_pb2.TensorProto, tfs.tf.make_tensor_proto(strings)))
    assert again.tolist() == strings.tolist()


def test_a_predict_request_is_read_by_tensorflow_serving(tfs: SimpleNamespace) -> None:
    pixels = values("uint8", 2, 4, 4, 3)
    request = tfs.predict.PredictRequest.FromString(
        predict_request(
            "digits", {"image": pixels}, version=3, signature="encoded", output_filter=["scores"]
        )
    )

    assert (request.model_spec.name, request.model_spec.version.value) == ("digits", 3)
    assert request.model_spec.signature_name == "encoded"
    assert list(request.output_filter) == ["scores"]
    assert (tfs.tf.make_ndarray(request.inputs["image"]) == pixels).all()


def test_a_predict_request_with_a_label_is_read_by_tensorflow_serving(
    tfs: SimpleNamespace,
) -> None:
    request = tfs.predict.PredictRequest.FromString(
        predict_request("digits", {}, version_label="canary")
    )

    assert request.model_spec.version_label == "canary"


def test_a_predict_response_is_read_by_us(tfs: SimpleNamespace) -> None:
    theirs = tfs.predict.PredictResponse()
    theirs.model_spec.name = "digits"
    theirs.model_spec.version.value = 3
    theirs.outputs["scores"].CopyFrom(tfs.tf.make_tensor_proto(values("float32", 2, 10)))

    outputs = prediction(ours(prediction_pb2.PredictResponse, theirs))

    assert (outputs.model, outputs.version) == ("digits", 3)
    assert (outputs["scores"] == values("float32", 2, 10)).all()


def test_metadata_passes_both_ways(tfs: SimpleNamespace) -> None:
    request = tfs.metadata.GetModelMetadataRequest.FromString(metadata_request("digits", 3))
    assert (request.model_spec.version.value, list(request.metadata_field)) == (
        3,
        ["signature_def"],
    )

    signatures = tfs.metadata.SignatureDefMap()
    signature = signatures.signature_def["serving_default"]
    signature.method_name = "tensorflow/serving/predict"
    signature.inputs["image"].name = "image:0"
    signature.inputs["image"].dtype = tfs.tf.uint8.as_datatype_enum
    signature.inputs["image"].tensor_shape.dim.add(size=-1)
    theirs = tfs.metadata.GetModelMetadataResponse()
    theirs.model_spec.name = "digits"
    theirs.metadata["signature_def"].Pack(signatures)

    read = metadata(ours(prediction_pb2.GetModelMetadataResponse, theirs))

    image = read.signatures["serving_default"].inputs["image"]
    assert image.dtype == tensor_pb2.DT_UINT8
    assert [dimension.size for dimension in image.tensor_shape.dim] == [-1]


def test_the_state_of_versions_passes_both_ways(tfs: SimpleNamespace) -> None:
    request = tfs.status.GetModelStatusRequest.FromString(status_request("digits", 3))
    assert (request.model_spec.name, request.model_spec.version.value) == ("digits", 3)

    theirs = tfs.status.GetModelStatusResponse()
    version = theirs.model_version_status.add(version=4, state="END")
    version.status.error_code = 5
    version.status.error_message = "gone"

    (read,) = statuses(ours(model_pb2.GetModelStatusResponse, theirs))

    assert (read.version, read.state, read.error_code, read.error_message) == (4, "END", 5, "gone")


def test_a_configuration_is_read_by_tensorflow_serving(tfs: SimpleNamespace) -> None:
    config = model_pb2.ModelConfig(
        name="digits",
        base_path="/models/digits",
        model_platform="tensorflow",
        version_labels={"stable": 3},
    )
    config.model_version_policy.specific.versions.extend([3, 4])

    request = tfs.management.ReloadConfigRequest.FromString(
        reload_request(model_pb2.ModelConfigList(config=[config]))
    )

    (read,) = request.config.model_config_list.config
    assert (read.name, read.base_path, read.model_platform) == (
        "digits",
        "/models/digits",
        "tensorflow",
    )
    assert list(read.model_version_policy.specific.versions) == [3, 4]
    assert dict(read.version_labels) == {"stable": 3}


def test_the_paths_of_the_calls_are_theirs(tfs: SimpleNamespace) -> None:
    from heliograph.tfserving import models
    from heliograph.tfserving import prediction as predictions

    paths: set[str] = set()

    class Channel:
        def unary_unary(self, path: str, **_: object) -> None:
            paths.add(path)

    tfs.prediction_service.PredictionServiceStub(Channel())
    tfs.model_service.ModelServiceStub(Channel())

    assert {predictions.PREDICT, models.METADATA, models.STATUS, models.RELOAD} <= paths


def ours(kind: type[Message], theirs: Any) -> Any:
    return kind.FromString(theirs.SerializeToString())


def _imports(file: Any) -> list[Any]:
    found = list(file.dependencies)
    return found + [deeper for dependency in found for deeper in _imports(dependency)]


def _messages(file: Any) -> list[tuple[str, Any]]:
    """Messages of a file by their name without its package, nested ones included."""

    def walk(message: Any, prefix: str) -> list[tuple[str, Any]]:
        name = f"{prefix}{message.name}"
        nested = [deeper for inner in message.nested_types for deeper in walk(inner, f"{name}.")]
        return [(name, message), *nested]

    return [found for message in file.message_types_by_name.values() for found in walk(message, "")]
