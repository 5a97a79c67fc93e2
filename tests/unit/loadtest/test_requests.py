"""Requests are on the wire what the generated classes make of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from heliograph.endpoint import Endpoint
from heliograph.errors import InvalidImageError
from heliograph.v1.classifier_pb2 import (
    BatchClassifyRequest,
    ClassifyOptions,
    ClassifyRequest,
    ModelSelector,
    StreamClassifyRequest,
)
from heliograph_loadtest import requests
from heliograph_loadtest.load import Method, Traffic
from heliograph_loadtest.requests import select_images, serialize, with_correlation_id

CONTENTS = [bytes([number]) * (100 + number) for number in range(5)]
MODEL = ModelSelector(name="digits", version=3)
OPTIONS = ClassifyOptions(top_k=2)


@pytest.fixture
def traffic(tmp_path: Path) -> Callable[..., Traffic]:
    paths = []
    for number, content in enumerate(CONTENTS):
        path = tmp_path / f"{number}.png"
        path.write_bytes(content)
        paths.append(str(path))

    def make(method: Method, batch_size: int = 1, seed: int = 0) -> Traffic:
        return Traffic(
            Endpoint("127.0.0.1:1", ("service",)),
            tuple(paths),
            method,
            batch_size,
            model="digits",
            version=3,
            top_k=2,
            seed=seed,
        )

    return make


def test_each_image_has_a_request(traffic: Callable[..., Traffic]) -> None:
    parsed = [ClassifyRequest.FromString(request) for request in serialize(traffic("classify"))]

    assert sorted(request.image.encoded for request in parsed) == CONTENTS
    assert all(request.model == MODEL and request.options == OPTIONS for request in parsed)


def test_batches_are_full_and_use_every_image(traffic: Callable[..., Traffic]) -> None:
    serialized = serialize(traffic("batch", 3))
    parsed = [BatchClassifyRequest.FromString(request) for request in serialized]

    assert [len(request.images) for request in parsed] == [3, 3]
    assert {image.encoded for request in parsed for image in request.images} == set(CONTENTS)
    assert all(request.model == MODEL and request.options == OPTIONS for request in parsed)


def test_a_batch_may_be_larger_than_the_folder(traffic: Callable[..., Traffic]) -> None:
    (request,) = serialize(traffic("batch", 12))

    assert len(BatchClassifyRequest.FromString(request).images) == 12


@pytest.mark.parametrize("correlation_id", [1, 127, 128, 2**32, 2**64 - 1])
def test_messages_of_a_stream_get_their_correlation_id(
    traffic: Callable[..., Traffic], correlation_id: int
) -> None:
    requests_ = serialize(traffic("stream"))
    parsed = [
        StreamClassifyRequest.FromString(with_correlation_id(request, correlation_id))
        for request in requests_
    ]

    assert {request.correlation_id for request in parsed} == {correlation_id}
    assert sorted(request.image.encoded for request in parsed) == CONTENTS
    assert all(request.model == MODEL and request.options == OPTIONS for request in parsed)


def test_messages_of_a_stream_may_carry_several_images(traffic: Callable[..., Traffic]) -> None:
    requests_ = serialize(traffic("stream", 3))
    parsed = [StreamClassifyRequest.FromString(request) for request in requests_]

    assert [len(request.more_images) for request in parsed] == [2, 2]
    images = {
        image.encoded for request in parsed for image in (request.image, *request.more_images)
    }
    assert images == set(CONTENTS)


def test_the_order_is_shuffled_by_the_seed(traffic: Callable[..., Traffic]) -> None:
    orders = {tuple(serialize(traffic("classify", seed=seed))) for seed in range(10)}

    assert len(orders) > 1
    assert serialize(traffic("classify", seed=4)) == serialize(traffic("classify", seed=4))


def test_images_that_do_not_fit_into_memory_are_left_out(
    traffic: Callable[..., Traffic], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "MAX_BYTES", 250)

    selection = select_images(traffic("classify").images, 1000)

    assert (len(selection.paths), selection.found, selection.total_bytes) == (2, 5, 201)


def test_an_image_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidImageError, match=r"gone\.png"):
        select_images([str(tmp_path / "gone.png")], 10)
