"""What TensorFlow Serving says about its models, and how it is told which ones to hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from heliograph.errors import InternalError
from heliograph.tfserving.model_spec import model_spec
from heliograph.tfserving.v1.model_pb2 import (
    GetModelStatusRequest,
    GetModelStatusResponse,
    ModelConfigList,
    ModelServerConfig,
    ModelVersionStatus,
    ReloadConfigRequest,
    ReloadConfigResponse,
)
from heliograph.tfserving.v1.prediction_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    SignatureDef,
    SignatureDefMap,
)
from heliograph.wire_errors import from_status

METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"
STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"

State = Literal["UNKNOWN", "START", "LOADING", "AVAILABLE", "UNLOADING", "END"]
"""State of a version in its life cycle, as TensorFlow Serving names it."""


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """State of one version of a model."""

    version: int
    state: State
    error_code: int
    """Canonical status code of what went wrong; 0 when nothing did."""
    error_message: str
    """What went wrong; empty when nothing did."""

    @property
    def available(self) -> bool:
        """Whether the version answers requests."""
        return self.state == "AVAILABLE"


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """Signatures of one version of a model."""

    model: str
    version: int
    signatures: Mapping[str, SignatureDef]
    """Messages by signature key."""


def metadata_request(
    model: str, version: int | None = None, version_label: str | None = None
) -> bytes:
    """Return a serialized request for the signatures of a version."""
    spec = model_spec(model, version=version, version_label=version_label)
    request = GetModelMetadataRequest(model_spec=spec, metadata_field=["signature_def"])
    return request.SerializeToString()


def metadata(response: GetModelMetadataResponse) -> ModelMetadata:
    """Return what a response says.

    Raises:
        InternalError: It has no signatures, or they cannot be read.
    """
    spec = response.model_spec
    try:
        # The type's name is TensorFlow Serving's own, so that `Any.Unpack` would refuse it.
        signatures = SignatureDefMap.FromString(response.metadata["signature_def"].value)
    except DecodeError as error:
        raise InternalError(f"the signatures of {spec.name} cannot be read") from error
    return ModelMetadata(spec.name, spec.version.value, dict(signatures.signature_def))


def status_request(model: str, version: int | None = None) -> bytes:
    """Return a serialized request for the state of a model's versions."""
    return GetModelStatusRequest(model_spec=model_spec(model, version=version)).SerializeToString()


def statuses(response: GetModelStatusResponse) -> tuple[VersionStatus, ...]:
    """Return what a response says, in its order."""
    return tuple(
        VersionStatus(
            item.version,
            cast("State", _STATES.get(item.state, "UNKNOWN")),
            item.status.error_code,
            item.status.error_message,
        )
        for item in response.model_version_status
    )


def reload_request(config: ModelConfigList) -> bytes:
    """Return a serialized request that replaces the configuration."""
    return ReloadConfigRequest(
        config=ModelServerConfig(model_config_list=config)
    ).SerializeToString()


def check_reloaded(response: ReloadConfigResponse) -> None:
    """Raise what a response reports; TensorFlow Serving may do so inside of an OK.

    Raises:
        HeliographError: The configuration was not applied.
    """
    if response.status.error_code:
        raise from_status(
            status_pb2.Status(
                code=response.status.error_code, message=response.status.error_message
            )
        )


_STATES = {number: name for name, number in ModelVersionStatus.State.items()}
