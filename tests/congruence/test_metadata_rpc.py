"""GetModelMetadata and GetModelStatus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from pathlib import Path

IA = grpc.StatusCode.INVALID_ARGUMENT


def metadata_request(model: str | None, *fields: str) -> Any:
    from tensorflow_serving.apis import get_model_metadata_pb2

    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    if model is not None:
        request.model_spec.name = model
    return request


def status_request(model: str | None, version: int | None = None) -> Any:
    from tensorflow_serving.apis import get_model_status_pb2

    request = get_model_status_pb2.GetModelStatusRequest()
    if model is not None:
        request.model_spec.name = model
    if version is not None:
        request.model_spec.version.value = version
    return request


def test_metadata_are_the_signatures_of_a_version(serving: Any) -> None:
    from tensorflow_serving.apis import get_model_metadata_pb2

    response = serving.prediction.GetModelMetadata(metadata_request("image", "signature_def"))

    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    image = signatures.signature_def["serving_default"].inputs["image"]
    assert image.name == "image:0"
    assert [dimension.size for dimension in image.tensor_shape.dim] == [-1, 8, 8, 3]
    assert response.model_spec.name == "image"
    assert response.model_spec.version.value == 5
    assert response.model_spec.signature_name == ""


def test_metadata_without_a_model_spec_are_refused(refused: Any, serving: Any) -> None:
    request = metadata_request(None, "signature_def")

    assert refused(lambda: serving.prediction.GetModelMetadata(request)) == (
        IA,
        "Missing ModelSpec",
    )


def test_metadata_without_a_field_are_refused(refused: Any, serving: Any) -> None:
    request = metadata_request("image")

    assert refused(lambda: serving.prediction.GetModelMetadata(request)) == (
        IA,
        "GetModelMetadataRequest must specify at least one metadata_field",
    )


def test_an_unknown_metadata_field_is_refused(refused: Any, serving: Any) -> None:
    request = metadata_request("image", "signature_def", "x")

    assert refused(lambda: serving.prediction.GetModelMetadata(request)) == (
        IA,
        "Metadata field x is not supported",
    )


def test_metadata_of_an_unknown_model_are_not_found(refused: Any, serving: Any) -> None:
    request = metadata_request("m", "signature_def")

    assert refused(lambda: serving.prediction.GetModelMetadata(request)) == (
        grpc.StatusCode.NOT_FOUND,
        "Servable not found for request: Latest(m)",
    )


def test_the_status_lists_all_versions_newest_first(serving: Any) -> None:
    assert list(serving.status("half_plus_two").items()) == [
        (2, "AVAILABLE"),
        (1, "AVAILABLE"),
    ]


def test_the_status_of_one_version_is_that_version(serving: Any) -> None:
    response = serving.model.GetModelStatus(status_request("half_plus_two", 1))

    [entry] = response.model_version_status
    assert entry.version == 1
    assert entry.HasField("status")
    assert entry.status.error_code == 0
    assert entry.status.error_message == ""


def test_the_status_ignores_a_version_label(serving: Any) -> None:
    request = status_request("half_plus_two")
    request.model_spec.version_label = "whatever"

    response = serving.model.GetModelStatus(request)

    assert len(response.model_version_status) == 2


def test_a_status_without_a_model_spec_is_refused(refused: Any, serving: Any) -> None:
    assert refused(lambda: serving.model.GetModelStatus(status_request(None))) == (
        IA,
        "Missing ModelSpec",
    )


def test_the_status_of_an_unknown_model_is_not_found(refused: Any, serving: Any) -> None:
    assert refused(lambda: serving.model.GetModelStatus(status_request("m"))) == (
        grpc.StatusCode.NOT_FOUND,
        "Could not find any versions of model m",
    )


def test_the_status_of_an_unknown_version_is_not_found(refused: Any, serving: Any) -> None:
    request = status_request("half_plus_two", 7)

    assert refused(lambda: serving.model.GetModelStatus(request)) == (
        grpc.StatusCode.NOT_FOUND,
        "Could not find version 7 of model half_plus_two",
    )


def test_the_status_has_the_error_of_a_failed_load_while_the_old_version_serves(
    client: Any, half: Any, base_path: Path
) -> None:
    version = 33  # states stay: one that no other test uses
    (base_path / str(version)).mkdir()
    client.reload(half(2))

    client.reload(half(2, version))
    client.wait_for("half", {version: "END"})

    response = client.model.GetModelStatus(status_request("half", version))
    [entry] = response.model_version_status
    assert entry.status.error_code == grpc.StatusCode.NOT_FOUND.value[0]
    assert entry.status.error_message.startswith("Could not find SavedModel .pb or .pbtxt")
    assert client.status("half")[2] == "AVAILABLE"
