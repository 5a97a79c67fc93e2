"""Naming a model, a version and a signature to TensorFlow Serving."""

from __future__ import annotations

from heliograph.errors import InvalidModelNameError
from heliograph.tfserving.v1.prediction_pb2 import ModelSpec


def model_spec(
    model: str,
    *,
    version: int | None = None,
    version_label: str | None = None,
    signature: str = "",
) -> ModelSpec:
    """Return the spec of a model.

    Args:
        model: Name of the model.
        version: Exact version; None for the latest that is loaded.
        version_label: Name for a version in the server's configuration, instead of `version`.
        signature: Key of the signature; empty where a call has none.

    Raises:
        InvalidModelNameError: The name is empty, the version is negative, or both a version and a
            label are given.
    """
    if not model:
        raise InvalidModelNameError("the name of the model is empty")
    spec = ModelSpec(name=model, signature_name=signature)
    if version is not None:
        if version_label is not None:
            raise InvalidModelNameError("give either a version or a version label, not both")
        if not 0 <= version < 2**63:
            raise InvalidModelNameError(f"version {version} is not an integer of 64 bits from 0 up")
        spec.version.value = version
    elif version_label is not None:
        spec.version_label = version_label
    return spec
