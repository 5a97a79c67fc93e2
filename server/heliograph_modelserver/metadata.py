"""GetModelMetadata and GetModelStatus: what a model takes, and which versions there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from heliograph.errors import InvalidArgumentError, NotFoundError
from heliograph_modelserver.predict import fill_model_spec
from heliograph_modelserver.servable import ServableId

if TYPE_CHECKING:
    from heliograph.errors import HeliographError
    from heliograph_modelserver.core import ServerCore
    from heliograph_modelserver.servable import ServableState

_SIGNATURES = "signature_def"
"""The only metadata field there is."""


def model_metadata(core: ServerCore, request: Any) -> Any:
    """Answer a GetModelMetadataRequest with the signatures of a version.

    Raises:
        HeliographError: With TensorFlow Serving's status and text.
    """
    if not request.HasField("model_spec"):
        raise InvalidArgumentError("Missing ModelSpec")
    if not request.metadata_field:
        raise InvalidArgumentError(
            "GetModelMetadataRequest must specify at least one metadata_field"
        )
    for field in request.metadata_field:
        if field != _SIGNATURES:
            raise InvalidArgumentError(f"Metadata field {field} is not supported")
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    with core.handle(request.model_spec) as handle:
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name, signature in handle.servable.session.signatures.items():
            signatures.signature_def[name].CopyFrom(signature)
        fill_model_spec(response.model_spec, handle.servable, None)
    response.metadata[_SIGNATURES].Pack(signatures)
    return response


def model_status(core: ServerCore, request: Any) -> Any:
    """Answer a GetModelStatusRequest with the states of one or all versions, the newest first.

    Raises:
        HeliographError: With TensorFlow Serving's status and text.
    """
    if not request.HasField("model_spec"):
        raise InvalidArgumentError("Missing ModelSpec")
    spec = request.model_spec
    response = get_model_status_pb2.GetModelStatusResponse()
    if spec.HasField("version"):
        state = core.monitor.state(ServableId(spec.name, spec.version.value))
        if state is None:
            raise NotFoundError(f"Could not find version {spec.version.value} of model {spec.name}")
        _add_state(response, state)
        return response
    states = core.monitor.states(spec.name)
    if not states:
        raise NotFoundError(f"Could not find any versions of model {spec.name}")
    for state in states.values():
        _add_state(response, state)
    return response


def fill_status(status: Any, error: HeliographError | None) -> None:
    """Write an error, or its absence, into a StatusProto."""
    if error is not None:
        status.error_code = getattr(tf.errors, error.status)
        status.error_message = error.message


def _add_state(response: Any, state: ServableState) -> None:
    entry = response.model_version_status.add(version=state.id.version, state=int(state.state))
    entry.status.SetInParent()
    fill_status(entry.status, state.error)
