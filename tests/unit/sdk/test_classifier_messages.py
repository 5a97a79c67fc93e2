"""Requests assembled as bytes are what the generated classes would have written."""

from __future__ import annotations

from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from heliograph import Failure, PreparedImage
from heliograph.batches import Batch, BatchBuilder
from heliograph.classifier_calls import batch_request, classify_request, question
from heliograph.errors import CorruptImageError
from heliograph.health import check_request
from heliograph.images import load_image
from heliograph.v1.classifier_pb2 import (
    BatchClassifyRequest,
    ClassifyOptions,
    ClassifyRequest,
    Image,
    ModelSelector,
    Tensor,
)
from heliograph.v1.contract_pb2 import DTYPE_UINT8
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


@given(st.lists(st.none() | st.integers(2, 700).map(bytes), max_size=40), st.integers(1, 8))
def test_batches_hold_every_image_once_in_order_and_within_bounds(
    contents: list[bytes | None], batch_size: int
) -> None:
    failure = Failure(CorruptImageError("unreadable"))
    images = [
        failure if content is None else number.to_bytes(2) + content[2:]
        for number, content in enumerate(contents)
    ]
    batches: list[Batch] = []
    with mock.patch("heliograph.batches.BATCH_BYTES", 1000):
        builder = BatchBuilder(b"", batch_size)
        for image in images:
            batches += builder.add(load_image(image) if isinstance(image, bytes) else image)
        batches += builder.finish()

    seen: list[bytes | Failure] = []
    for batch in batches:
        sent = [item.encoded for item in BatchClassifyRequest.FromString(batch.request).images]
        assert 1 <= len(batch.failures) <= batch_size
        assert len(sent) == 1 or sum(map(len, sent)) <= 1000
        left = iter(sent)
        seen += [next(left) if kept is None else kept for kept in batch.failures]
    assert seen == images
