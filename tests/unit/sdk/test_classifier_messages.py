"""Requests assembled as bytes are what the generated classes would have written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph import Failure, PreparedImage, Result
from heliograph.classifier_calls import (
    batch_request,
    classify_request,
    question,
    stream_question,
    stream_request,
    stream_results,
)
from heliograph.errors import CorruptImageError, InternalError
from heliograph.health import check_request
from heliograph.images import load_image
from heliograph.v1.classifier_pb2 import (
    BatchClassifyRequest,
    Classification,
    ClassifyOptions,
    ClassifyRequest,
    ClassScore,
    Image,
    ImageResult,
    ModelSelector,
    ServedBy,
    StreamClassifyRequest,
    StreamClassifyResponse,
    Tensor,
)
from heliograph.v1.contract_pb2 import DTYPE_UINT8
from heliograph.wire_errors import to_status
from heliograph.wire_format import delimited, varint

ENCODED = st.binary(max_size=300) | st.integers(0, 100_000).map(bytes)


@given(ENCODED, st.integers(1, 2**31 - 1), st.sampled_from([None, 1, 2**63 - 1]))
def test_a_request_for_one_image(encoded: bytes, top_k: int, version: int | None) -> None:
    asked = question("digits", version, None, top_k, 0.5)
    selector = ModelSelector(name="digits")
    if version is not None:
        selector.version = version

    assert ClassifyRequest.FromString(
        classify_request(asked, load_image(encoded))
    ) == ClassifyRequest(
        model=selector,
        image=Image(encoded=encoded),
        options=ClassifyOptions(top_k=top_k, min_score=0.5),
    )


@given(st.lists(ENCODED, max_size=5))
def test_a_request_for_several_images(encoded: list[bytes]) -> None:
    asked = question(None, None, "canary", 5, 0.0)

    request = batch_request(asked, [load_image(image) for image in encoded])

    assert BatchClassifyRequest.FromString(request) == BatchClassifyRequest(
        model=ModelSelector(version_label="canary"),
        images=[Image(encoded=image) for image in encoded],
        options=ClassifyOptions(top_k=5),
    )


def test_a_request_for_a_prepared_image() -> None:
    asked = question(None, None, None, 5, 0.0)
    image = PreparedImage("uint8", (1, 1, 3), b"abc")

    request = ClassifyRequest.FromString(classify_request(asked, load_image(image)))

    assert request.image == Image(prepared=Tensor(dtype=DTYPE_UINT8, shape=[1, 1, 3], data=b"abc"))


@given(st.integers(0, 2**63 - 1))
def test_a_varint_is_protobufs(value: int) -> None:
    assert varint(value) == ModelSelector(version=value).SerializeToString()[1:]


@given(st.integers(1, 2**20), st.integers(0, 2**31))
def test_what_precedes_a_field_is_its_tag_and_its_size(number: int, size: int) -> None:
    assert delimited(number, size) == varint(number * 8 + 2) + varint(size)


def test_a_health_check_names_the_model_as_a_service() -> None:
    from grpc_health.v1.health_pb2 import HealthCheckRequest

    assert HealthCheckRequest.FromString(check_request("digits")).service == "model/digits"
    assert HealthCheckRequest.FromString(check_request(None)).service == ""


@given(st.lists(ENCODED, min_size=1, max_size=5), st.integers(0, 2**64 - 1))
def test_a_message_of_a_stream(encoded: list[bytes], number: int) -> None:
    asked = stream_question("digits", 3, None, 2, 0.25)
    images = [Image(encoded=image) for image in encoded]

    request = stream_request(asked, number, [load_image(image) for image in encoded])

    assert StreamClassifyRequest.FromString(request) == StreamClassifyRequest(
        correlation_id=number,
        model=ModelSelector(name="digits", version=3),
        image=images[0],
        more_images=images[1:],
        options=ClassifyOptions(top_k=2, min_score=0.25),
    )


def test_a_stream_asks_what_a_single_request_asks() -> None:
    asked = (None, None, "canary", 5, 0.0)

    single = ClassifyRequest.FromString(question(*asked))
    stream = StreamClassifyRequest.FromString(stream_question(*asked))

    assert (stream.model, stream.options) == (single.model, single.options)


def test_an_answer_of_a_stream_has_a_result_for_each_image() -> None:
    response = StreamClassifyResponse(
        served_by=ServedBy(name="digits", version=3, routing_revision=7),
        result=ImageResult(classification=Classification(classes=[ClassScore(class_name="one")])),
        more_results=[ImageResult(error=to_status(CorruptImageError("truncated")))],
    )

    first, second = stream_results(response, 2)

    assert isinstance(first, Result)
    assert (first.class_name, first.model, first.version) == ("one", "digits", 3)
    assert isinstance(second, Failure)
    assert isinstance(second.error, CorruptImageError)
    with pytest.raises(InternalError, match="the server sent 2 results for 3 images"):
        stream_results(response, 3)
