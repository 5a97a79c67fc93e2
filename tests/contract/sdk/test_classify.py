"""Classifying images, and asking about models: what goes out, and what comes back."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heliograph import ClassScore, PreparedImage
from heliograph.errors import (
    ImageTooLargeError,
    InvalidArgumentError,
    InvalidImageError,
    InvalidModelNameError,
    ModelNotFoundError,
    NotFoundError,
    VersionLabelNotFoundError,
    VersionNotFoundError,
)
from heliograph.images import MAX_IMAGE_BYTES
from heliograph.testing import FakeGateway

Connect = Callable[..., Any]


def test_the_best_classes_come_back_in_order(connect: Connect, fake_gateway: FakeGateway) -> None:
    fake_gateway.answer({"dog": 0.75, "cat": 0.25})

    result = connect(fake_gateway.target).classify(b"image", top_k=2)

    assert result.class_name == "dog"
    assert result.score == 0.75
    assert result.classes == (ClassScore(1, "dog", 0.75), ClassScore(0, "cat", 0.25))
    assert (result.model, result.version, result.routing_revision) == ("fake", 1, 1)


def test_no_class_at_all_is_a_result_without_a_name(
    connect: Connect, fake_gateway: FakeGateway
) -> None:
    fake_gateway.answer({"dog": 0.25})

    result = connect(fake_gateway.target).classify(b"image", min_score=0.5)

    assert (result.class_name, result.score, result.classes) == ("", 0.0, ())


def test_every_option_of_a_call_reaches_the_gateway(
    connect: Connect, fake_gateway: FakeGateway
) -> None:
    connect(fake_gateway.target).classify(
        b"image", model="fake", version=1, top_k=7, min_score=0.125
    )

    request: Any = fake_gateway.calls[0].request
    assert request.image.encoded == b"image"
    assert (request.model.name, request.model.version) == ("fake", 1)
    assert (request.options.top_k, request.options.min_score) == (7, 0.125)


def test_a_version_label_reaches_the_gateway(connect: Connect) -> None:
    with FakeGateway(versions=(1, 2), version_labels={"canary": 1}) as gateway:
        client = connect(gateway.target)

        assert client.classify(b"image", version_label="canary").version == 1
        assert client.classify(b"image").version == 2


def test_the_model_of_the_client_is_asked_where_a_call_names_none(
    connect: Connect, fake_gateway: FakeGateway
) -> None:
    client = connect(fake_gateway.target, model="fake")

    client.classify(b"image")
    client.classify_many([b"image"])
    client.model()

    requests: list[Any] = [call.request for call in fake_gateway.calls]
    assert [request.model.name for request in requests] == ["fake"] * 3


def test_an_image_may_be_bytes_a_path_or_a_file(
    connect: Connect, fake_gateway: FakeGateway, tmp_path: Path
) -> None:
    path = tmp_path / "image.jpg"
    path.write_bytes(b"content")
    client = connect(fake_gateway.target)

    for image in (
        b"content",
        bytearray(b"content"),
        memoryview(b"content"),
        path,
        str(path),
        io.BytesIO(b"content"),
    ):
        client.classify(image)

    requests: list[Any] = [call.request for call in fake_gateway.calls]
    assert [request.image.encoded for request in requests] == [b"content"] * 6


def test_a_prepared_image_keeps_its_shape_and_type(
    connect: Connect, fake_gateway: FakeGateway
) -> None:
    connect(fake_gateway.target).classify(PreparedImage("uint8", (1, 2, 3), b"abcdef"))

    tensor = fake_gateway.calls[0].request.image.prepared  # type: ignore[attr-defined]
    assert (list(tensor.shape), tensor.data) == ([1, 2, 3], b"abcdef")


def test_an_array_and_a_pillow_image_are_sent_as_png(
    connect: Connect, fake_gateway: FakeGateway
) -> None:
    numpy = pytest.importorskip("numpy")
    pillow = pytest.importorskip("PIL.Image")
    pixels = numpy.arange(4 * 5 * 3, dtype=numpy.uint8).reshape(4, 5, 3)
    client = connect(fake_gateway.target)

    client.classify(pixels)
    client.classify(pillow.fromarray(pixels))

    for call in fake_gateway.calls:
        request: Any = call.request
        decoded = pillow.open(io.BytesIO(request.image.encoded))
        assert decoded.format == "PNG"
        assert (numpy.asarray(decoded) == pixels).all()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("nowhere.jpg", "cannot read nowhere.jpg: No such file or directory"),
        (io.StringIO("text"), "binary mode"),
    ],
)
def test_an_image_that_cannot_be_read_is_refused_before_the_call(
    connect: Connect, fake_gateway: FakeGateway, image: object, message: str
) -> None:
    with pytest.raises(InvalidImageError, match=message):
        connect(fake_gateway.target).classify(image)

    assert fake_gateway.calls == ()


def test_an_image_larger_than_a_message_is_refused_before_the_call(
    connect: Connect, fake_gateway: FakeGateway
) -> None:
    with pytest.raises(ImageTooLargeError):
        connect(fake_gateway.target).classify(bytes(MAX_IMAGE_BYTES + 1))

    assert fake_gateway.calls == ()


def test_what_is_no_image_is_a_mistake_of_the_caller(
    connect: Connect, fake_gateway: FakeGateway
) -> None:
    with pytest.raises(TypeError, match="cannot classify an object of type int: pass a path"):
        connect(fake_gateway.target).classify(5)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"top_k": 0}, InvalidArgumentError),
        ({"min_score": 1.5}, InvalidArgumentError),
        ({"timeout": 0.0}, InvalidArgumentError),
        ({"timeout": float("nan")}, InvalidArgumentError),
        ({"model": "../secrets"}, InvalidModelNameError),
        ({"version": 0}, InvalidModelNameError),
        ({"version": 1, "version_label": "stable"}, InvalidModelNameError),
    ],
)
def test_an_option_out_of_range_is_refused_before_the_call(
    connect: Connect,
    fake_gateway: FakeGateway,
    options: dict[str, Any],
    error: type[InvalidArgumentError],
) -> None:
    with pytest.raises(error):
        connect(fake_gateway.target).classify(b"image", **options)

    assert fake_gateway.calls == ()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"model": "other"}, ModelNotFoundError),
        ({"version": 9}, VersionNotFoundError),
        ({"version_label": "nightly"}, VersionLabelNotFoundError),
    ],
)
def test_asking_for_what_is_not_served_has_an_error_of_its_own(
    connect: Connect,
    fake_gateway: FakeGateway,
    options: dict[str, Any],
    error: type[NotFoundError],
) -> None:
    with pytest.raises(error):
        connect(fake_gateway.target).classify(b"image", **options)


def test_many_calls_at_once_each_get_their_answer(
    connect: Connect, fake_gateway: FakeGateway
) -> None:
    results = connect(fake_gateway.target).classify_together(64)

    assert [result.class_name for result in results] == ["cat"] * 64
    assert len(fake_gateway.calls) == 64


def test_models_are_listed_with_their_versions(connect: Connect) -> None:
    with FakeGateway(versions=(3, 4), version_labels={"canary": 3}) as gateway:
        (model,) = connect(gateway.target).models()

    assert (model.name, model.serving, model.reason) == ("fake", True, "")
    assert (model.versions, model.stable_version) == ((3, 4), 4)
    assert model.version_labels == {"canary": 3, "stable": 4}
    assert model.routing_revision == 1


def test_a_model_comes_with_the_contract_of_a_version(connect: Connect) -> None:
    with FakeGateway(versions=(3, 4)) as gateway:
        details = connect(gateway.target).model("fake", version=3)

    assert (details.model.name, details.version) == ("fake", 3)
    assert details.class_names == ("cat", "dog", "fish")
    assert details.contract.model_name == "fake"


def test_a_model_that_is_not_served_says_why_and_is_not_healthy(
    connect: Connect, fake_gateway: FakeGateway
) -> None:
    client = connect(fake_gateway.target)
    assert client.health("fake")

    fake_gateway.serving = False

    assert not client.health("fake")
    assert client.health()
    assert client.models()[0].reason == "the test says so"


def test_the_health_of_a_model_that_nobody_knows_is_an_error(
    connect: Connect, fake_gateway: FakeGateway
) -> None:
    with pytest.raises(NotFoundError):
        connect(fake_gateway.target).health("other")
