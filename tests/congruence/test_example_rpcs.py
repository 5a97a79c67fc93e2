"""Classify, Regress and MultiInference over tf.Example."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest

if TYPE_CHECKING:
    pass

IA = grpc.StatusCode.INVALID_ARGUMENT
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"


def example(**features: float) -> Any:
    import tensorflow as tf

    one = tf.train.Example()
    for name, value in features.items():
        one.features.feature[name].float_list.value.append(value)
    return one


def fill(request: Any, *values: float, model: str = "half_plus_two", signature: str = "") -> Any:
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    request.input.example_list.examples.extend(example(x=value) for value in values)
    return request


def regression(*values: float, **spec: str) -> Any:
    from tensorflow_serving.apis import regression_pb2

    return fill(regression_pb2.RegressionRequest(), *values, **spec)


def classification(*values: float, **spec: str) -> Any:
    from tensorflow_serving.apis import classification_pb2

    return fill(classification_pb2.ClassificationRequest(), *values, **spec)


def inference(*tasks: tuple[str, str], values: tuple[float, ...] = (1.0,)) -> Any:
    """A MultiInferenceRequest; each task is a signature and a method."""
    from tensorflow_serving.apis import inference_pb2

    request = inference_pb2.MultiInferenceRequest()
    for signature, method in tasks:
        task = request.tasks.add(method_name=method)
        task.model_spec.name = "half_plus_two"
        task.model_spec.signature_name = signature
    request.input.example_list.examples.extend(example(x=value) for value in values)
    return request


def test_regress_gives_a_number_for_each_example(serving: Any) -> None:
    response = serving.prediction.Regress(regression(1.0, 2.0, signature="regress_x_to_y"))

    assert [one.value for one in response.result.regressions] == [3.5, 4.0]
    assert response.model_spec.version.value == 2
    assert response.model_spec.signature_name == "regress_x_to_y"


def test_classify_gives_the_scores_of_each_example(serving: Any) -> None:
    response = serving.prediction.Classify(classification(1.0, 2.0, signature="classify_x_to_y"))

    scores = [[one.score for one in entry.classes] for entry in response.result.classifications]
    assert scores == [[3.5], [4.0]]


def test_classify_gives_class_names_where_the_signature_has_them(serving: Any) -> None:
    response = serving.prediction.Classify(classification(1.0, signature="classify_labels"))

    [entry] = response.result.classifications
    assert [(one.label, one.score) for one in entry.classes] == [("3.500000", 3.5)]


def test_a_context_is_merged_into_every_example(serving: Any) -> None:
    from tensorflow_serving.apis import regression_pb2

    request = regression_pb2.RegressionRequest()
    request.model_spec.name = "half_plus_two"
    request.model_spec.signature_name = "regress_x_to_y"
    request.input.example_list_with_context.examples.extend([example(other=1.0), example(x=4.0)])
    request.input.example_list_with_context.context.CopyFrom(example(x=2.0))

    response = serving.prediction.Regress(request)

    assert [one.value for one in response.result.regressions] == [4.0, 5.0]


def test_multi_inference_answers_each_task_from_the_same_examples(serving: Any) -> None:
    response = serving.prediction.MultiInference(
        inference(("regress_x_to_y", REGRESS), ("classify_x_to_y", CLASSIFY), values=(1.0, 2.0))
    )

    regressed, classified = response.results
    assert [one.value for one in regressed.regression_result.regressions] == [3.5, 4.0]
    assert [
        entry.classes[0].score for entry in classified.classification_result.classifications
    ] == [3.5, 4.0]
    assert regressed.model_spec.signature_name == "regress_x_to_y"
    assert classified.model_spec.version.value == 2


@pytest.mark.parametrize("method", ["Classify", "Regress"])
def test_a_request_without_a_model_spec_is_refused(refused: Any, serving: Any, method: str) -> None:
    from tensorflow_serving.apis import classification_pb2, regression_pb2

    request = {
        "Classify": classification_pb2.ClassificationRequest(),
        "Regress": regression_pb2.RegressionRequest(),
    }[method]

    assert refused(lambda: getattr(serving.prediction, method)(request)) == (
        IA,
        "Missing ModelSpec",
    )


def test_an_unknown_signature_is_refused(refused: Any, serving: Any) -> None:
    message = "No signature was found with the name: s"
    prediction = serving.prediction

    assert refused(lambda: prediction.Classify(classification(1, signature="s"))) == (IA, message)
    assert refused(lambda: prediction.Regress(regression(1, signature="s"))) == (IA, message)
    assert refused(lambda: prediction.MultiInference(inference(("s", REGRESS)))) == (
        IA,
        "Requested signature not found in model graph: s",
    )


def test_a_signature_for_another_rpc_is_refused(refused: Any, serving: Any) -> None:
    prediction = serving.prediction

    assert refused(lambda: prediction.Classify(classification(1, signature="regress_x_to_y"))) == (
        IA,
        (
            "Expected classification signature method_name to be tensorflow/serving/classify. "
            "Was: tensorflow/serving/regress"
        ),
    )
    assert refused(lambda: prediction.Regress(regression(1))) == (
        IA,
        (
            "Expected regression signature method_name to be tensorflow/serving/regress. "
            "Was: tensorflow/serving/predict"
        ),
    )


def test_no_examples_are_refused(refused: Any, serving: Any) -> None:
    prediction = serving.prediction

    assert refused(lambda: prediction.Classify(classification(signature="classify_x_to_y"))) == (
        IA,
        "Input is empty.",
    )
    assert refused(lambda: prediction.Regress(regression(signature="regress_x_to_y"))) == (
        IA,
        "Input is empty.",
    )
    assert refused(
        lambda: prediction.MultiInference(inference(("regress_x_to_y", REGRESS), values=()))
    ) == (IA, "Input is empty.")


def test_an_example_without_the_feature_fails_in_the_runtime(refused: Any, serving: Any) -> None:
    request = regression(signature="regress_x_to_y")
    request.input.example_list.examples.append(example(other=1.0))

    code, message = refused(lambda: serving.prediction.Regress(request))

    assert code is IA
    assert "Feature: x" in message


@pytest.mark.parametrize(
    ("signature", "message"),
    [
        ("two_inputs", "Expected one input Tensor."),
        ("three_outputs", "Expected one or two output Tensors, found 3"),
        ("other_input", "No classification inputs found in SignatureDef: "),
        ("other_output", "Expected classification signature outputs to contain at least one of"),
        ("vector_scores", "Expected Tensor shape: [batch_size num_classes] but got [1]"),
        ("double_scores", "Expected scores Tensor of DT_FLOAT. Got: DT_DOUBLE"),
        ("float_classes", "Expected classes Tensor of DT_STRING. Got: DT_FLOAT"),
        ("other_batch", "Expected scores output batch size of 1. Got: 3"),
        ("uneven", "Tensors class and score should match in dim_size(1). Got 2 vs. 1"),
    ],
)
def test_a_classification_signature_of_the_wrong_form_is_refused(
    refused: Any, serving: Any, signature: str, message: str
) -> None:
    request = classification(1.0, model="odd", signature=signature)

    code, text = refused(lambda: serving.prediction.Classify(request))

    assert code is IA
    assert text.startswith(message)


@pytest.mark.parametrize(
    ("signature", "message"),
    [
        ("regress_two_inputs", "Expected one input Tensor."),
        ("regress_two_outputs", "Expected one output Tensor."),
        ("regress_other_output", "No regression outputs found in SignatureDef: "),
        (
            "regress_matrix",
            (
                "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] "
                "but got [1,2]"
            ),
        ),
        ("regress_double", "Expected output Tensor of DT_FLOAT.  Got: DT_DOUBLE"),
        ("regress_batch", "Input batch size did not match output batch size: 1 vs. 3"),
    ],
)
def test_a_regression_signature_of_the_wrong_form_is_refused(
    refused: Any, serving: Any, signature: str, message: str
) -> None:
    request = regression(1.0, model="odd", signature=signature)

    code, text = refused(lambda: serving.prediction.Regress(request))

    assert code is IA
    assert text.startswith(message)


def test_multi_inference_refuses_mixed_models(refused: Any, serving: Any) -> None:
    request = inference(("regress_x_to_y", REGRESS), ("regress_x_to_twice", REGRESS))
    request.tasks[1].model_spec.name = "image"

    assert refused(lambda: serving.prediction.MultiInference(request)) == (
        IA,
        "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
    )


def test_multi_inference_refuses_a_repeated_signature(refused: Any, serving: Any) -> None:
    request = inference(("regress_x_to_y", REGRESS), ("regress_x_to_y", REGRESS))

    assert refused(lambda: serving.prediction.MultiInference(request)) == (
        IA,
        "Duplicate evaluation of signature: regress_x_to_y",
    )


def test_multi_inference_refuses_an_empty_name(refused: Any, serving: Any) -> None:
    request = inference(("regress_x_to_y", REGRESS), ("regress_x_to_twice", REGRESS))
    request.tasks[1].model_spec.name = ""

    assert refused(lambda: serving.prediction.MultiInference(request)) == (
        IA,
        "Found ModelSpec with an empty model name.",
    )


def test_multi_inference_refuses_a_request_without_tasks(refused: Any, serving: Any) -> None:
    assert refused(lambda: serving.prediction.MultiInference(inference())) == (
        IA,
        "ModelSpec has no name specified.",
    )


def test_multi_inference_does_not_know_other_methods(refused: Any, serving: Any) -> None:
    request = inference(("regress_x_to_y", "tensorflow/serving/predict"))

    assert refused(lambda: serving.prediction.MultiInference(request)) == (
        grpc.StatusCode.UNIMPLEMENTED,
        "Unsupported signature method_name: tensorflow/serving/predict",
    )


def test_multi_inference_refuses_signatures_with_different_inputs(
    refused: Any, serving: Any
) -> None:
    request = inference(("fine", CLASSIFY), ("other_examples", CLASSIFY))
    for task in request.tasks:
        task.model_spec.name = "odd"

    assert refused(lambda: serving.prediction.MultiInference(request)) == (
        IA,
        "Input tensor must be the same for all Signatures.",
    )
