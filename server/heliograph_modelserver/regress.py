"""Regress: examples in, one number each out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from tensorflow_serving.apis import regression_pb2

from heliograph.errors import InvalidArgumentError
from heliograph_modelserver.examples import (
    dtype_label,
    example_input,
    named_signature,
    run_on_examples,
    shape_label,
)
from heliograph_modelserver.predict import DEFAULT_SIGNATURE, REGRESS_METHOD, fill_model_spec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from heliograph_modelserver.loader import SavedModelServable

_OUTPUTS = "outputs"


def regress(
    servable: SavedModelServable,
    request: Any,
    timeout: float | None,
    *,
    check_method_name: bool = True,
) -> Any:
    """Answer a RegressionRequest.

    Raises:
        HeliographError: With TensorFlow Serving's status and text.
    """
    name = request.model_spec.signature_name
    signature = named_signature(servable.session, name or DEFAULT_SIGNATURE)
    input_tensor, output_tensor = regression_tensors(signature, check_method_name=check_method_name)
    count, outputs = run_on_examples(
        servable.session, request.input, input_tensor, [output_tensor], timeout
    )
    response = regression_pb2.RegressionResponse()
    fill_model_spec(response.model_spec, servable, name or DEFAULT_SIGNATURE)
    fill_regressions(response.result, signature, count, outputs)
    return response


def regression_tensors(signature: Any, *, check_method_name: bool = True) -> tuple[str, str]:
    """Return the names of the input and the output tensor.

    Raises:
        InvalidArgumentError: When the signature is not one for regression.
    """
    if check_method_name and signature.method_name != REGRESS_METHOD:
        raise InvalidArgumentError(
            f"Expected regression signature method_name to be {REGRESS_METHOD}. "
            f"Was: {signature.method_name}"
        )
    if len(signature.inputs) != 1:
        raise InvalidArgumentError("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise InvalidArgumentError("Expected one output Tensor.")
    input_tensor = example_input(signature, "regression")
    if _OUTPUTS not in signature.outputs:
        raise InvalidArgumentError(f"No regression outputs found in SignatureDef: {signature}")
    return input_tensor, str(signature.outputs[_OUTPUTS].name)


def fill_regressions(
    result: Any, signature: Any, count: int, outputs: Mapping[str, np.ndarray]
) -> None:
    """Write the output of a run into a RegressionResult.

    Args:
        result: The message to fill.
        signature: The regression signature.
        count: Number of examples.
        outputs: Arrays by tensor name.

    Raises:
        InvalidArgumentError: When the output has the wrong dtype or shape.
    """
    output = outputs[signature.outputs[_OUTPUTS].name]
    if not (output.ndim == 1 or (output.ndim == 2 and output.shape[1] == 1)):
        raise InvalidArgumentError(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] "
            f"but got {shape_label(output)}"
        )
    if output.shape[0] != count:
        raise InvalidArgumentError(
            f"Input batch size did not match output batch size: {count} vs. {output.shape[0]}"
        )
    if output.dtype != np.float32:
        raise InvalidArgumentError(
            f"Expected output Tensor of DT_FLOAT.  Got: {dtype_label(output)}"
        )
    for value in output.ravel().tolist():
        result.regressions.add().value = value
