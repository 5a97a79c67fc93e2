"""Runs signatures on `tf.Example` messages: what Classify, Regress and MultiInference share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from heliograph.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heliograph_modelserver.session import SavedModelSession

EXAMPLE_INPUTS = "inputs"
"""Alias of the input of classification and regression signatures."""


def serialized_examples(model_input: Any) -> np.ndarray:
    """Serialize the examples of a `tensorflow.serving.Input`; a shared context is merged into each.

    Returns:
        An object array of bytes, shape `[examples]`.

    Raises:
        InvalidArgumentError: When there are none.
    """
    kind = model_input.WhichOneof("kind")
    context = b""
    examples: Sequence[Any] = ()
    if kind == "example_list":
        examples = model_input.example_list.examples
    elif kind == "example_list_with_context":
        examples = model_input.example_list_with_context.examples
        context = model_input.example_list_with_context.context.SerializeToString()
    if not examples:
        raise InvalidArgumentError("Input is empty.")
    array = np.empty(len(examples), np.object_)
    for index, example in enumerate(examples):
        array[index] = context + example.SerializeToString()
    return array


def run_on_examples(
    session: SavedModelSession,
    model_input: Any,
    input_tensor: str,
    output_tensors: Sequence[str],
    timeout: float | None,
) -> tuple[int, dict[str, np.ndarray]]:
    """Feed the examples and compute each output tensor once.

    Returns:
        The number of examples, and the outputs by tensor name.
    """
    examples = serialized_examples(model_input)
    names = sorted(set(output_tensors))
    outputs = session.run({input_tensor: examples}, names, timeout)
    return len(examples), dict(zip(names, outputs, strict=True))


def example_input(signature: Any, kind: str) -> str:
    """Return the name of the tensor that takes the examples of a signature.

    Raises:
        InvalidArgumentError: When the signature's input has another alias.
    """
    if EXAMPLE_INPUTS not in signature.inputs:
        raise InvalidArgumentError(f"No {kind} inputs found in SignatureDef: {signature}")
    return str(signature.inputs[EXAMPLE_INPUTS].name)


def named_signature(session: SavedModelSession, name: str) -> Any:
    """Return a signature, by the rules of Classify and Regress.

    Raises:
        InvalidArgumentError: When there is none of that name.
    """
    signature = session.signatures.get(name)
    if signature is None:
        raise InvalidArgumentError(f"No signature was found with the name: {name}")
    return signature


def dtype_label(array: np.ndarray) -> str:
    """Name of an array's dtype as a `DataType` enumerator, for errors."""
    if array.dtype.hasobject:
        return "DT_STRING"
    names = {"float32": "DT_FLOAT", "float64": "DT_DOUBLE", "float16": "DT_HALF"}
    return names.get(array.dtype.name, f"DT_{array.dtype.name.upper()}")


def shape_label(array: np.ndarray) -> str:
    """Shape as the runtime prints it: `[2,10]`."""
    return "[" + ",".join(str(size) for size in array.shape) + "]"
