"""MultiInference: several signatures of one model over the same examples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tensorflow_serving.apis import inference_pb2

from heliograph.errors import InvalidArgumentError, UnimplementedError
from heliograph_modelserver.classify import classification_tensors, fill_classifications
from heliograph_modelserver.examples import run_on_examples
from heliograph_modelserver.predict import (
    CLASSIFY_METHOD,
    DEFAULT_SIGNATURE,
    REGRESS_METHOD,
    fill_model_spec,
)
from heliograph_modelserver.regress import fill_regressions, regression_tensors

if TYPE_CHECKING:
    from heliograph_modelserver.loader import SavedModelServable


def multi_inference(
    servable: SavedModelServable,
    request: Any,
    timeout: float | None,
    *,
    check_method_name: bool = True,
) -> Any:
    """Answer a MultiInferenceRequest with one run of the session.

    Raises:
        HeliographError: With TensorFlow Serving's status and text.
    """
    input_tensors: list[str] = []
    output_tensors: list[str] = []
    tasks: list[tuple[Any, str, Any]] = []
    for task in request.tasks:
        name = _check_spec(task, request, [signature for _, signature, _ in tasks])
        signature = servable.session.signatures.get(name)
        if signature is None:
            raise InvalidArgumentError(f"Requested signature not found in model graph: {name}")
        input_tensor, *outputs = _tensors(
            task.method_name, signature, check_method_name=check_method_name
        )
        input_tensors.append(input_tensor)
        output_tensors.extend(outputs)
        tasks.append((task, name, signature))
        if input_tensor != input_tensors[0]:
            raise InvalidArgumentError("Input tensor must be the same for all Signatures.")
    count, arrays = run_on_examples(
        servable.session, request.input, input_tensors[0], output_tensors, timeout
    )
    response = inference_pb2.MultiInferenceResponse()
    for task, name, signature in tasks:
        result = response.results.add()
        fill_model_spec(result.model_spec, servable, name)
        if task.method_name == CLASSIFY_METHOD:
            fill_classifications(result.classification_result, signature, count, arrays)
        else:
            fill_regressions(result.regression_result, signature, count, arrays)
    return response


def first_model_spec(request: Any) -> Any:
    """Return the model spec that routes a request: its first task's, or an empty one."""
    return (
        request.tasks[0].model_spec if request.tasks else inference_pb2.InferenceTask().model_spec
    )


def _check_spec(task: Any, request: Any, seen: list[str]) -> str:
    spec = task.model_spec
    if not spec.name:
        raise InvalidArgumentError("Found ModelSpec with an empty model name.")
    if spec.name != request.tasks[0].model_spec.name:
        raise InvalidArgumentError(
            "All ModelSpecs in a MultiInferenceRequest must access the same model name."
        )
    name = str(spec.signature_name or DEFAULT_SIGNATURE)
    if name in seen:
        raise InvalidArgumentError(f"Duplicate evaluation of signature: {name}")
    return name


def _tensors(method: str, signature: Any, *, check_method_name: bool) -> list[str]:
    if method == CLASSIFY_METHOD:
        return classification_tensors(signature, check_method_name=check_method_name)
    if method == REGRESS_METHOD:
        return list(regression_tensors(signature, check_method_name=check_method_name))
    raise UnimplementedError(f"Unsupported signature method_name: {method}")
