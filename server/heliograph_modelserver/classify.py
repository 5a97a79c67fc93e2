"""Classify: examples in, classes and scores out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from tensorflow_serving.apis import classification_pb2

from heliograph.errors import InvalidArgumentError
from heliograph_modelserver.examples import (
    dtype_label,
    example_input,
    named_signature,
    run_on_examples,
    shape_label,
)
from heliograph_modelserver.predict import CLASSIFY_METHOD, DEFAULT_SIGNATURE, fill_model_spec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from heliograph_modelserver.loader import SavedModelServable

_CLASSES = "classes"
_SCORES = "scores"
_BATCH_OF_CLASSES = 2
"""Rank of the outputs: `[examples, classes]`."""


def classify(
    servable: SavedModelServable,
    request: Any,
    timeout: float | None,
    *,
    check_method_name: bool = True,
) -> Any:
    """Answer a ClassificationRequest.

    Raises:
        HeliographError: With TensorFlow Serving's status and text.
    """
    name = request.model_spec.signature_name
    signature = named_signature(servable.session, name or DEFAULT_SIGNATURE)
    tensors = classification_tensors(signature, check_method_name=check_method_name)
    count, outputs = run_on_examples(
        servable.session, request.input, tensors[0], tensors[1:], timeout
    )
    response = classification_pb2.ClassificationResponse()
    fill_model_spec(response.model_spec, servable, name or DEFAULT_SIGNATURE)
    fill_classifications(response.result, signature, count, outputs)
    return response


def classification_tensors(signature: Any, *, check_method_name: bool = True) -> list[str]:
    """Return the names of the input tensor and of the output tensors, in that order.

    Raises:
        InvalidArgumentError: When the signature is not one for classification.
    """
    if check_method_name and signature.method_name != CLASSIFY_METHOD:
        raise InvalidArgumentError(
            f"Expected classification signature method_name to be {CLASSIFY_METHOD}. "
            f"Was: {signature.method_name}"
        )
    if len(signature.inputs) != 1:
        raise InvalidArgumentError("Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        raise InvalidArgumentError(
            f"Expected one or two output Tensors, found {len(signature.outputs)}"
        )
    input_tensor = example_input(signature, "classification")
    outputs = [alias for alias in (_CLASSES, _SCORES) if alias in signature.outputs]
    if not outputs:
        raise InvalidArgumentError(
            "Expected classification signature outputs to contain at least one of "
            f'"{_CLASSES}" or "{_SCORES}". Signature was: {signature}'
        )
    return [input_tensor, *(str(signature.outputs[alias].name) for alias in outputs)]


def fill_classifications(
    result: Any, signature: Any, count: int, outputs: Mapping[str, np.ndarray]
) -> None:
    """Write the outputs of a run into a ClassificationResult.

    Args:
        result: The message to fill.
        signature: The classification signature.
        count: Number of examples.
        outputs: Arrays by tensor name.

    Raises:
        InvalidArgumentError: When an output has the wrong dtype or shape.
    """
    classes = _output(signature, _CLASSES, outputs)
    scores = _output(signature, _SCORES, outputs)
    if classes is not None:
        _check(classes, count, "classes", "DT_STRING", is_right=classes.dtype.hasobject)
    if scores is not None:
        _check(scores, count, "scores", "DT_FLOAT", is_right=scores.dtype == np.float32)
    if classes is not None and scores is not None and classes.shape[1] != scores.shape[1]:
        raise InvalidArgumentError(
            "Tensors class and score should match in dim_size(1). "
            f"Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    found = classes if classes is not None else scores
    width = 0 if found is None else found.shape[1]
    for row in range(count):
        entries = result.classifications.add().classes
        for column in range(width):
            entry = entries.add()
            if classes is not None:
                entry.label = classes[row, column].decode(errors="replace")
            if scores is not None:
                entry.score = float(scores[row, column])


def _output(signature: Any, alias: str, outputs: Mapping[str, np.ndarray]) -> np.ndarray | None:
    if alias not in signature.outputs:
        return None
    return outputs[signature.outputs[alias].name]


def _check(array: np.ndarray, count: int, what: str, dtype: str, *, is_right: bool) -> None:
    if array.ndim != _BATCH_OF_CLASSES:
        raise InvalidArgumentError(
            f"Expected Tensor shape: [batch_size num_classes] but got {shape_label(array)}"
        )
    if not is_right:
        raise InvalidArgumentError(f"Expected {what} Tensor of {dtype}. Got: {dtype_label(array)}")
    if array.shape[0] != count:
        raise InvalidArgumentError(
            f"Expected {what} output batch size of {count}. Got: {array.shape[0]}"
        )
