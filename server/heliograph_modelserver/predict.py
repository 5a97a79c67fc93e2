"""Predict: tensors in, tensors out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tensorflow_serving.apis import predict_pb2

from heliograph.errors import (
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    InvalidTensorError,
)
from heliograph_modelserver.tensors import decode_tensor, encode_tensor

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np

    from heliograph_modelserver.loader import SavedModelServable

DEFAULT_SIGNATURE = "serving_default"
CLASSIFY_METHOD = "tensorflow/serving/classify"
PREDICT_METHOD = "tensorflow/serving/predict"
REGRESS_METHOD = "tensorflow/serving/regress"
_METHODS = (PREDICT_METHOD, CLASSIFY_METHOD, REGRESS_METHOD)

_RANK_THAT_MAY_ABORT = 3
"""From this rank on, a tensor of another rank can reach a kernel that ends the process."""


def predict(
    servable: SavedModelServable,
    request: Any,
    timeout: float | None,
    *,
    as_content: bool = False,
    check_method_name: bool = True,
) -> Any:
    """Answer a PredictRequest.

    Args:
        servable: The version the request was routed to.
        request: A `tensorflow.serving.PredictRequest`.
        timeout: Seconds the run may take; None for no limit.
        as_content: Answer with `tensor_content` instead of typed fields.
        check_method_name: Whether the signature must be one for predict, classify or regress.

    Returns:
        A `tensorflow.serving.PredictResponse`.

    Raises:
        HeliographError: With TensorFlow Serving's status and text.
    """
    spec = request.model_spec
    name = spec.signature_name or DEFAULT_SIGNATURE
    signature = servable.session.signatures.get(name)
    if signature is None:
        raise FailedPreconditionError(f'Serving signature key "{name}" not found.')
    if check_method_name and signature.method_name not in _METHODS:
        raise InternalError(
            f"Expected prediction signature method_name to be one of {{{', '.join(_METHODS)}}}. "
            f"Was: {signature.method_name}"
        )
    feeds = _feeds(signature, request.inputs)
    aliases = _output_aliases(signature, request.output_filter)
    tensors = [str(signature.outputs[alias].name) for alias in aliases]
    outputs = servable.session.run(feeds, tensors, timeout)
    response = predict_pb2.PredictResponse()
    fill_model_spec(response.model_spec, servable, name)
    for alias, tensor, output in zip(aliases, tensors, outputs, strict=True):
        encode_tensor(
            output,
            response.outputs[alias],
            dtype=servable.session.dtype(tensor),
            as_content=as_content,
        )
    return response


def fill_model_spec(spec: Any, servable: SavedModelServable, signature: str | None) -> None:
    """Say which version answered."""
    spec.name = servable.id.name
    spec.version.value = servable.id.version
    if signature is not None:
        spec.signature_name = signature


def check_tensor(array: np.ndarray, info: Any, alias: str) -> None:
    """Refuse what the runtime would not survive, or would answer with the wrong shape.

    Args:
        array: The value to feed.
        info: The signature's `TensorInfo` for it.
        alias: Name of the input, for the error.

    Raises:
        InvalidTensorError: On an empty batch, or another rank than that of a signature of rank 3 or
            more.
    """
    if array.ndim and array.shape[0] == 0:
        raise InvalidTensorError(f"input {alias} has an empty batch: shape {_shape(array.shape)}")
    if info.tensor_shape.unknown_rank or len(info.tensor_shape.dim) < _RANK_THAT_MAY_ABORT:
        return
    expected = [dimension.size for dimension in info.tensor_shape.dim]
    if array.ndim != len(expected) or 0 in array.shape:
        raise InvalidTensorError(
            f"input {alias} has shape {_shape(array.shape)}, the signature wants {_shape(expected)}"
        )


def _feeds(signature: Any, inputs: Any) -> dict[str, np.ndarray]:
    _check_input_names(signature, inputs)
    feeds: dict[str, np.ndarray] = {}
    for alias in sorted(signature.inputs):
        info = signature.inputs[alias]
        if alias in inputs:
            proto = inputs[alias]
        elif alias in signature.defaults:
            proto = signature.defaults[alias]
        else:
            raise InvalidArgumentError(
                f"Signature input alias: {alias}(feed name: {info.name}) not found in request and "
                "no default value provided. Inputs expected to be in the request "
                f"{{{_names(inputs)}}}, or default input alias set: {_names(signature.defaults)}"
            )
        array = decode_tensor(proto, alias)
        check_tensor(array, info, alias)
        if info.name in feeds:
            raise InvalidArgumentError(f'Endpoint "{info.name}" fed more than once.')
        feeds[info.name] = array
    if any(alias not in signature.inputs for alias in inputs):
        used = [alias for alias in inputs if alias in signature.inputs]
        raise InvalidArgumentError(
            f"Inputs contains invalid name. Used request inputs: {_names(used)}, "
            f"request input: {_names(inputs)}"
        )
    return feeds


def _check_input_names(signature: Any, inputs: Any) -> None:
    sent, known = len(inputs), len(signature.inputs)
    if sent == known or (sent < known and signature.defaults):
        return
    extra = set(inputs) - set(signature.inputs)
    missing = set(signature.inputs) - set(inputs) - set(signature.defaults)
    raise InvalidArgumentError(
        f"input size does not match signature: {sent}!={known} len({{{_names(inputs)}}}) != "
        f"len({{{_names(signature.inputs)}}}). "
        f"Sent extra: {{{_names(extra)}}}. Missing but required: {{{_names(missing)}}}."
    )


def _output_aliases(signature: Any, output_filter: Any) -> list[str]:
    if not output_filter:
        return sorted(signature.outputs)
    aliases: list[str] = []
    for alias in output_filter:
        if alias not in signature.outputs:
            raise InvalidArgumentError(
                f"output tensor alias not found in signature: {alias} "
                f"Outputs expected to be in the set {{{_names(signature.outputs)}}}."
            )
        if alias in aliases:
            raise InvalidArgumentError(f"duplicate output tensor alias: {alias}")
        aliases.append(alias)
    return aliases


def _names(names: Iterable[str]) -> str:
    return ",".join(sorted(names))


def _shape(sizes: Iterable[int]) -> str:
    return "[" + ",".join("?" if size < 0 else str(size) for size in sizes) + "]"
