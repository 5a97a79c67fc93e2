"""Requests to TensorFlow Serving, and what its responses mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage

from heliograph.errors import InternalError, InvalidModelNameError, NotFoundError
from heliograph.tfserving.models import (
    check_reloaded,
    metadata,
    metadata_request,
    reload_request,
    status_request,
    statuses,
)
from heliograph.tfserving.prediction import predict_request, prediction
from heliograph.tfserving.tensors import to_tensor_proto
from heliograph.tfserving.v1.model_pb2 import (
    GetModelStatusRequest,
    GetModelStatusResponse,
    ModelConfig,
    ModelConfigList,
    ReloadConfigRequest,
    ReloadConfigResponse,
    StatusProto,
)
from heliograph.tfserving.v1.prediction_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    ModelSpec,
    PredictRequest,
    PredictResponse,
    SignatureDef,
    SignatureDefMap,
)

INPUTS: dict[str, Any] = {
    "image": np.arange(48, dtype=np.uint8).reshape(4, 4, 3),
    "größe": np.array([1.5], np.float32),
    "text": [b"a", b"b"],
    "nothing": np.zeros((0, 3), np.int64),
    "large": np.zeros(100_000, np.int32),
}


def test_a_predict_request_is_what_the_generated_class_would_write() -> None:
    request = predict_request(
        "digits", INPUTS, version=3, signature="encoded", output_filter=["scores", "logits"]
    )

    expected = PredictRequest(
        model_spec=ModelSpec(name="digits", signature_name="encoded"),
        inputs={name: to_tensor_proto(value) for name, value in INPUTS.items()},
        output_filter=["scores", "logits"],
    )
    expected.model_spec.version.value = 3
    assert PredictRequest.FromString(request) == expected


def test_a_predict_request_without_a_version_asks_for_the_latest() -> None:
    spec = PredictRequest.FromString(predict_request("digits", {})).model_spec

    assert spec.WhichOneof("version_choice") is None
    assert spec.signature_name == "serving_default"


def test_a_version_label_takes_the_place_of_a_version() -> None:
    request = predict_request("digits", {}, version_label="canary")

    assert PredictRequest.FromString(request).model_spec.version_label == "canary"


def test_version_zero_is_a_version() -> None:
    spec = PredictRequest.FromString(predict_request("digits", {}, version=0)).model_spec

    assert spec.HasField("version")


@pytest.mark.parametrize(
    "arguments",
    [
        {"model": ""},
        {"model": "digits", "version": -1},
        {"model": "digits", "version": 2**63},
        {"model": "digits", "version": 1, "version_label": "canary"},
    ],
)
def test_a_malformed_model_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidModelNameError):
        predict_request(inputs={}, **arguments)


def test_a_prediction_is_a_mapping_that_names_its_version() -> None:
    response = PredictResponse(
        outputs={"scores": to_tensor_proto(np.array([0.25, 0.75], np.float32))}
    )
    response.model_spec.name = "digits"
    response.model_spec.version.value = 3
    response.model_spec.signature_name = "serving_default"

    outputs = prediction(response)

    assert list(outputs) == ["scores"]
    assert outputs["scores"].tolist() == [0.25, 0.75]
    assert (outputs.model, outputs.version, outputs.signature) == ("digits", 3, "serving_default")
    assert repr(outputs) == "Prediction(digits/3 serving_default; scores: float32(2,))"


def test_metadata_asks_for_the_signatures() -> None:
    request = GetModelMetadataRequest.FromString(metadata_request("digits", 3))

    assert (request.model_spec.name, request.model_spec.version.value) == ("digits", 3)
    assert list(request.metadata_field) == ["signature_def"]


def test_metadata_reads_the_signatures_by_whatever_name_their_type_has() -> None:
    signatures = SignatureDefMap(
        signature_def={"serving_default": SignatureDef(method_name="tensorflow/serving/predict")}
    )
    response = GetModelMetadataResponse(
        metadata={
            "signature_def": AnyMessage(
                type_url="type.googleapis.com/tensorflow.serving.SignatureDefMap",
                value=signatures.SerializeToString(),
            )
        }
    )
    response.model_spec.name = "digits"
    response.model_spec.version.value = 3

    read = metadata(response)

    assert (read.model, read.version) == ("digits", 3)
    assert read.signatures["serving_default"].method_name == "tensorflow/serving/predict"


def test_metadata_that_cannot_be_read_is_a_fault_of_the_server() -> None:
    response = GetModelMetadataResponse(metadata={"signature_def": AnyMessage(value=b"\xff")})

    with pytest.raises(InternalError):
        metadata(response)


def test_a_status_tells_what_went_wrong_with_a_version() -> None:
    request = GetModelStatusRequest.FromString(status_request("digits", 3))
    assert (request.model_spec.name, request.model_spec.version.value) == ("digits", 3)

    response = GetModelStatusResponse()
    response.model_version_status.add(version=4, state="END").status.CopyFrom(
        StatusProto(error_code=5, error_message="no saved_model.pb")
    )
    response.model_version_status.add(version=3, state="AVAILABLE")
    failed, serving = statuses(response)

    assert (failed.version, failed.state, failed.available) == (4, "END", False)
    assert (failed.error_code, failed.error_message) == (5, "no saved_model.pb")
    assert (serving.version, serving.available, serving.error_code) == (3, True, 0)


def test_a_state_from_the_future_is_unknown() -> None:
    response = GetModelStatusResponse.FromString(b"\x0a\x04\x08\x03\x10\x63")

    assert statuses(response)[0].state == "UNKNOWN"


def test_a_reload_replaces_the_list_of_models() -> None:
    config = ModelConfigList(config=[ModelConfig(name="digits", base_path="/models/digits")])

    request = ReloadConfigRequest.FromString(reload_request(config))

    assert request.config.model_config_list == config


def test_a_reload_that_failed_inside_of_an_ok_is_an_error() -> None:
    check_reloaded(ReloadConfigResponse())

    with pytest.raises(NotFoundError, match="no such path"):
        check_reloaded(
            ReloadConfigResponse(status=StatusProto(error_code=5, error_message="no such path"))
        )
