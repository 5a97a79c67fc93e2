from __future__ import annotations

import httpx
import pytest

from heliograph.errors import (
    BackendUnavailableError,
    CorruptImageError,
    DeadlineExceededError,
    HeliographError,
    InternalError,
    ModelNotServingError,
    OverloadedError,
    UnauthenticatedError,
    UnsupportedImageFormatError,
)
from heliograph.testing import FakeGateway
from heliograph.v1.classifier_pb2 import ClassifyRequest

IMAGE = b"the gateway looks at these bytes, the web server does not"
UPLOAD = {"image": ("cat.jpg", IMAGE, "image/jpeg")}


def asked(gateway: FakeGateway) -> ClassifyRequest:
    request = gateway.calls[-1].request
    assert isinstance(request, ClassifyRequest)
    return request


async def test_a_prediction_names_the_best_class_and_scores_by_class_name(
    web: httpx.AsyncClient, fake_gateway: FakeGateway
) -> None:
    fake_gateway.answer({"dog": 0.75, "fish": 0.25})

    answer = await web.post("/predict", files=UPLOAD)

    assert answer.status_code == 200
    assert answer.json() == {
        "prediction": 1,
        "class_name": "dog",
        "score": 0.75,
        "scores": {"dog": 0.75, "fish": 0.25, "cat": 0.0},
        "model": "fake",
        "version": 1,
    }
    assert list(answer.json()["scores"]) == ["dog", "fish", "cat"]


async def test_the_gateway_gets_the_image_as_it_was_uploaded(
    web: httpx.AsyncClient, fake_gateway: FakeGateway
) -> None:
    image = bytes(range(256)) * 300

    await web.post("/predict", files={"image": ("x.png", image, "image/png")})

    assert asked(fake_gateway).image.encoded == image


async def test_the_query_chooses_model_version_and_number_of_classes(
    web: httpx.AsyncClient, fake_gateway: FakeGateway
) -> None:
    answer = await web.post("/predict?model=fake&version=1&top_k=2", files=UPLOAD)

    assert len(answer.json()["scores"]) == 2
    request = asked(fake_gateway)
    assert (request.model.name, request.model.version, request.options.top_k) == ("fake", 1, 2)


async def test_a_version_label_may_stand_for_a_version(
    web: httpx.AsyncClient, fake_gateway: FakeGateway
) -> None:
    assert (await web.post("/predict?version_label=stable", files=UPLOAD)).status_code == 200
    assert asked(fake_gateway).model.version_label == "stable"


async def test_the_name_and_type_of_the_file_do_not_matter(web: httpx.AsyncClient) -> None:
    upload = {"image": ("../../cat.exe", IMAGE, "text/plain")}

    assert (await web.post("/predict", files=upload)).status_code == 200


async def test_an_answer_is_not_cached(web: httpx.AsyncClient) -> None:
    assert (await web.post("/predict", files=UPLOAD)).headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (CorruptImageError("the image is truncated"), 400),
        (UnsupportedImageFormatError("the bytes are no image"), 415),
        (ModelNotServingError("no version is fit"), 503),
        (BackendUnavailableError("the model server is away"), 503),
        (DeadlineExceededError("too late"), 504),
        (InternalError("a fault", request_id="r-7"), 500),
        (UnauthenticatedError("no valid token"), 502),
    ],
)
async def test_what_the_gateway_refuses_is_answered_with_its_reason(
    web: httpx.AsyncClient, fake_gateway: FakeGateway, error: HeliographError, status: int
) -> None:
    fake_gateway.fail(error, times=None)

    answer = await web.post("/predict", files=UPLOAD)

    assert answer.status_code == status
    assert answer.json()["error"] == error.message
    assert answer.json()["reason"] == error.reason
    assert answer.json().get("request_id") == error.request_id


async def test_an_overloaded_gateway_says_when_to_come_back(
    web: httpx.AsyncClient, fake_gateway: FakeGateway
) -> None:
    fake_gateway.fail(OverloadedError("too much to do", retry_after=0.02), times=None)

    answer = await web.post("/predict", files=UPLOAD)

    assert (answer.status_code, answer.json()["reason"]) == (429, "OVERLOADED")
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    ("query", "status", "reason"),
    [
        ("model=unknown", 404, "MODEL_NOT_FOUND"),
        ("version=9", 404, "VERSION_NOT_FOUND"),
        ("version_label=unknown", 404, "VERSION_LABEL_NOT_FOUND"),
        ("model=../x", 400, "INVALID_MODEL_NAME"),
        ("model=%00", 400, "INVALID_MODEL_NAME"),
        ("version=0", 400, "INVALID_MODEL_NAME"),
        ("version=1&version_label=stable", 400, "INVALID_MODEL_NAME"),
        ("version=9223372036854775808", 400, "INVALID_MODEL_NAME"),
        ("version=-1", 400, "INVALID_ARGUMENT"),
        ("version=" + "9" * 10_000, 400, "INVALID_ARGUMENT"),
        ("version=%C2%B2", 400, "INVALID_ARGUMENT"),
        ("version=one", 400, "INVALID_ARGUMENT"),
        ("top_k=0", 400, "INVALID_ARGUMENT"),
        ("top_k=2.5", 400, "INVALID_ARGUMENT"),
        ("top_k=2147483648", 400, "INVALID_ARGUMENT"),
    ],
)
async def test_a_query_that_cannot_be_answered_is_refused(
    web: httpx.AsyncClient, query: str, status: int, reason: str
) -> None:
    answer = await web.post(f"/predict?{query}", files=UPLOAD)

    assert (answer.status_code, answer.json()["reason"]) == (status, reason)
    assert answer.json()["error"]


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b""),
        ({"Content-Type": "image/jpeg"}, IMAGE),
        ({"Content-Type": "application/json"}, b"{}"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"image=x"),
        ({"Content-Type": "multipart/form-data"}, b"no boundary"),
        ({"Content-Type": "multipart/form-data; boundary=b"}, b"not a form"),
        ({"Content-Type": "multipart/form-data; boundary=b"}, b""),
        (
            {"Content-Type": "multipart/form-data; boundary=b"},
            b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\ntext, no file\r\n--b--',
        ),
        (
            {"Content-Type": "multipart/form-data; boundary=b"},
            b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\ncut off',
        ),
    ],
)
async def test_a_body_that_is_no_form_with_an_image_is_refused(
    web: httpx.AsyncClient, fake_gateway: FakeGateway, headers: dict[str, str], body: bytes
) -> None:
    answer = await web.post("/predict", headers=headers, content=body)

    assert (answer.status_code, answer.json()["reason"]) == (400, "INVALID_ARGUMENT")
    assert "'image'" in answer.json()["error"]
    assert not fake_gateway.calls


@pytest.mark.parametrize(
    "files",
    [
        {"picture": ("x.jpg", IMAGE)},
        [("image", ("a.jpg", IMAGE)), ("image", ("b.jpg", IMAGE))],
        [("image", ("a.jpg", IMAGE))] + [(f"field{i}", (None, b"x")) for i in range(50)],
    ],
)
async def test_a_form_of_another_shape_is_refused(
    web: httpx.AsyncClient, files: dict[str, tuple[str, bytes]]
) -> None:
    answer = await web.post("/predict", files=files)

    assert (answer.status_code, answer.json()["reason"]) == (400, "INVALID_ARGUMENT")


async def test_an_empty_file_is_for_the_gateway_to_judge(
    web: httpx.AsyncClient, fake_gateway: FakeGateway
) -> None:
    fake_gateway.fail(UnsupportedImageFormatError("the image is empty"))

    answer = await web.post("/predict", files={"image": ("empty.png", b"")})

    assert (answer.status_code, answer.json()["error"]) == (415, "the image is empty")


async def test_another_method_is_not_allowed(web: httpx.AsyncClient) -> None:
    answer = await web.get("/predict")

    assert answer.status_code == 405
    assert answer.json() == {"error": "Method Not Allowed", "reason": "METHOD_NOT_ALLOWED"}
    assert answer.headers["allow"] == "POST"


async def test_another_sites_page_may_not_predict(
    web: httpx.AsyncClient, fake_gateway: FakeGateway
) -> None:
    answer = await web.post(
        "/predict", files=UPLOAD, headers={"Origin": "https://elsewhere.example"}
    )

    assert (answer.status_code, answer.json()["reason"]) == (403, "CROSS_SITE")
    assert not fake_gateway.calls
