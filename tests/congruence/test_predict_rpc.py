"""Predict, as tensorflow-serving-api's users see it; the errors are those of serving-wire.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

if TYPE_CHECKING:
    pass


def half(value: Any = ((1.0,),)) -> dict[str, np.ndarray]:
    return {"x": np.asarray(value, np.float32)}


def test_the_newest_version_answers_when_none_is_asked_for(serving: Any) -> None:
    assert serving.predict("half_plus_two", **half())["y"].tolist() == [[3.5]]


def test_an_image_is_classified(serving: Any) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)

    probabilities = serving.predict("image", image=images)["probabilities"]

    assert probabilities.shape == (3, 10)
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(3))


def test_the_answer_names_model_version_and_signature(serving: Any) -> None:
    from heliograph_modelserver.testing import predict_request

    response = serving.prediction.Predict(predict_request("half_plus_two", half()))

    assert response.model_spec.name == "half_plus_two"
    assert response.model_spec.version.value == 2
    assert response.model_spec.signature_name == "serving_default"


def test_outputs_are_typed_fields(serving: Any) -> None:
    from heliograph_modelserver.testing import predict_request

    output = serving.prediction.Predict(predict_request("half_plus_two", half())).outputs["y"]

    assert output.tensor_content == b""
    assert list(output.float_val) == [3.5]


def test_a_batch_shape_is_not_compared_with_the_signature(serving: Any) -> None:
    """TensorFlow Serving accepts a vector for a `[-1, 1]` signature; Session.run would not."""
    assert serving.predict("half_plus_two", **half([2.0, 4.0]))["y"].tolist() == [4.0, 5.0]


def test_a_request_without_a_model_spec_is_refused(refused: Any, serving: Any) -> None:
    from tensorflow_serving.apis import predict_pb2

    assert refused(lambda: serving.prediction.Predict(predict_pb2.PredictRequest())) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "Missing ModelSpec",
    )


def test_an_empty_model_name_is_refused(refused: Any, serving: Any) -> None:
    assert refused(lambda: serving.predict("", **half())) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "ModelSpec has no name specified.",
    )


def test_an_unknown_model_is_not_found(refused: Any, serving: Any) -> None:
    assert refused(lambda: serving.predict("m", **half())) == (
        grpc.StatusCode.NOT_FOUND,
        "Servable not found for request: Latest(m)",
    )


def test_an_unknown_version_is_not_found(refused: Any, serving: Any) -> None:
    from heliograph_modelserver.testing import predict_request

    request = predict_request("half_plus_two", half())
    request.model_spec.version.value = 7

    assert refused(lambda: serving.prediction.Predict(request)) == (
        grpc.StatusCode.NOT_FOUND,
        "Servable not found for request: Specific(half_plus_two, 7)",
    )


@pytest.mark.parametrize("model", ["half_plus_two", "unknown"])
def test_an_unknown_label_is_refused(refused: Any, serving: Any, model: str) -> None:
    from heliograph_modelserver.testing import predict_request

    request = predict_request(model, half())
    request.model_spec.version_label = "stable"

    assert refused(lambda: serving.prediction.Predict(request)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "Unrecognized servable version label: stable",
    )


def test_an_unknown_signature_is_refused(refused: Any, serving: Any) -> None:
    assert refused(lambda: serving.predict("half_plus_two", "s", **half())) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        'Serving signature key "s" not found.',
    )


def test_missing_and_extra_inputs_are_named_in_order(refused: Any, serving: Any) -> None:
    one = np.array([1], np.float32)

    assert refused(lambda: serving.predict("half_plus_two", b=one, a=one)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        (
            "input size does not match signature: 2!=1 len({a,b}) != len({x}). "
            "Sent extra: {a,b}. Missing but required: {x}."
        ),
    )


def test_the_right_number_of_inputs_with_a_wrong_name_is_refused(
    refused: Any, serving: Any
) -> None:
    assert refused(lambda: serving.predict("half_plus_two", z=np.array([1], np.float32))) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        (
            "Signature input alias: x(feed name: x:0) not found in request and no default value "
            "provided. Inputs expected to be in the request {z}, or default input alias set: "
        ),
    )


def test_a_tensor_that_cannot_be_parsed_is_refused(refused: Any, serving: Any) -> None:
    from heliograph_modelserver.testing import predict_request

    request = predict_request("half_plus_two", half())
    request.inputs["x"].tensor_content = b"123"

    assert refused(lambda: serving.prediction.Predict(request)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "tensor parsing error: x",
    )


def test_an_unknown_output_filter_is_refused(refused: Any, serving: Any) -> None:
    from heliograph_modelserver.testing import predict_request

    request = predict_request("half_plus_two", half())
    request.output_filter.append("q")

    assert refused(lambda: serving.prediction.Predict(request)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "output tensor alias not found in signature: q Outputs expected to be in the set {y}.",
    )


def test_a_repeated_output_filter_is_refused(refused: Any, serving: Any) -> None:
    from heliograph_modelserver.testing import predict_request

    request = predict_request("half_plus_two", half())
    request.output_filter.extend(["y", "y"])

    assert refused(lambda: serving.prediction.Predict(request)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "duplicate output tensor alias: y",
    )


def test_a_wrong_dtype_is_refused_by_the_runtime(refused: Any, serving: Any) -> None:
    code, message = refused(lambda: serving.predict("half_plus_two", x=np.array([[1]])))

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert message.startswith("Expects arg[0] to be float but int64 is provided")


def test_an_input_with_a_default_may_be_left_out(serving: Any) -> None:
    one = np.array([1.0], np.float32)

    assert serving.predict("sum", a=one)["total"].tolist() == [11.0]
    assert serving.predict("sum", a=one, b=one)["total"].tolist() == [2.0]


def test_an_input_without_a_default_may_not_be_left_out(refused: Any, serving: Any) -> None:
    one = np.array([1.0], np.float32)

    assert refused(lambda: serving.predict("sum", b=one)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        (
            "Signature input alias: a(feed name: a:0) not found in request and no default value "
            "provided. Inputs expected to be in the request {b}, or default input alias set: b"
        ),
    )


def test_an_extra_input_is_refused_where_another_has_a_default(refused: Any, serving: Any) -> None:
    one = np.array([1.0], np.float32)

    assert refused(lambda: serving.predict("sum", a=one, c=one)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "Inputs contains invalid name. Used request inputs: a, request input: a,c",
    )


def test_a_missing_input_is_named(refused: Any, serving: Any) -> None:
    one = np.array([1.0], np.float32)

    assert refused(lambda: serving.predict("sum", "strict", a=one)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        (
            "input size does not match signature: 1!=2 len({a}) != len({a,b}). "
            "Sent extra: {}. Missing but required: {b}."
        ),
    )


def test_an_output_filter_selects_outputs(serving: Any) -> None:
    from heliograph_modelserver.testing import predict_request

    one = np.array([1.0], np.float32)
    request = predict_request("sum", {"a": one, "b": one}, "strict")
    assert set(serving.prediction.Predict(request).outputs) == {"difference", "total"}

    request.output_filter.append("total")

    assert set(serving.prediction.Predict(request).outputs) == {"total"}


def test_a_wrong_size_is_refused_with_the_words_of_the_operation(
    refused: Any, serving: Any
) -> None:
    two, three = np.zeros(2, np.float32), np.zeros(3, np.float32)

    code, message = refused(lambda: serving.predict("sum", a=two, b=three))

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert message.startswith("Incompatible shapes: [2] vs. [3]")


def test_a_long_error_text_is_cut(refused: Any, serving: Any) -> None:
    code, message = refused(lambda: serving.predict("m" * 3000, **half()))

    assert code is grpc.StatusCode.NOT_FOUND
    assert message == ("Servable not found for request: Latest(" + "m" * 3000)[:1024] + (
        "...TRUNCATED"
    )


def test_the_deadline_of_the_call_is_the_deadline_of_the_run(refused: Any, serving: Any) -> None:
    steps = np.array(2**60)

    code, _ = refused(lambda: serving.predict("counter", "busy", timeout=0.3, steps=steps))

    assert code is grpc.StatusCode.DEADLINE_EXCEEDED


def test_messages_larger_than_grpc_allows_by_default_are_taken(serving: Any) -> None:
    assert serving.predict("image", image=np.zeros((30_000, 8, 8, 3), np.uint8))[
        "probabilities"
    ].shape == (30_000, 10)
