from __future__ import annotations

import httpx
import pytest

from heliograph import AsyncClient
from heliograph.errors import InternalError, UnavailableError
from heliograph.testing import FakeGateway
from heliograph_web.application import create_application


async def get(path: str, target: str, *, model: str | None = None) -> httpx.Response:
    async with AsyncClient(target, timeout=5.0) as client:
        application = create_application(client, model=model)
        transport = httpx.ASGITransport(app=application, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            return await http.get(path)


async def test_models_are_listed_with_what_the_page_must_know(web: httpx.AsyncClient) -> None:
    answer = await web.get("/models")

    assert answer.status_code == 200
    assert answer.json() == {
        "models": [
            {
                "name": "fake",
                "serving": True,
                "reason": "",
                "stable_version": 1,
                "versions": [1],
                "version_labels": {"stable": 1},
            }
        ],
        "default_model": None,
        "max_image_bytes": 100_000,
    }


async def test_a_model_that_is_not_served_says_why(
    web: httpx.AsyncClient, fake_gateway: FakeGateway
) -> None:
    fake_gateway.serving = False

    (model,) = (await web.get("/models")).json()["models"]

    assert not model["serving"]
    assert model["reason"]


async def test_the_default_model_is_named(fake_gateway: FakeGateway) -> None:
    answer = await get("/models", fake_gateway.target, model="fake")

    assert answer.json()["default_model"] == "fake"


async def test_a_model_is_described_by_its_contract(web: httpx.AsyncClient) -> None:
    document = (await web.get("/models/fake")).json()

    assert document["class_names"] == ["cat", "dog", "fish"]
    assert document["version"] == 1
    assert {"input_shape", "recipe", "metrics", "examples"} <= set(document)


@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("unknown", 404, "MODEL_NOT_FOUND"),
        ("%2e%2e", 400, "INVALID_MODEL_NAME"),
        ("a/b", 404, "NOT_FOUND"),
    ],
)
async def test_a_model_that_does_not_exist_is_not_described(
    web: httpx.AsyncClient, name: str, status: int, reason: str
) -> None:
    answer = await web.get(f"/models/{name}")

    assert (answer.status_code, answer.json()["reason"]) == (status, reason)


async def test_health_is_good_while_the_gateway_serves(web: httpx.AsyncClient) -> None:
    answer = await web.get("/health")

    assert (answer.status_code, answer.json()) == (200, {"status": "SERVING"})


async def test_health_is_that_of_the_default_model(fake_gateway: FakeGateway) -> None:
    assert (await get("/health", fake_gateway.target, model="fake")).status_code == 200

    fake_gateway.serving = False
    answer = await get("/health", fake_gateway.target, model="fake")

    assert (answer.status_code, answer.json()["reason"]) == (503, "MODEL_NOT_SERVING")


async def test_a_default_model_that_does_not_exist_is_no_good_health(
    fake_gateway: FakeGateway,
) -> None:
    answer = await get("/health", fake_gateway.target, model="unknown")

    assert (answer.status_code, answer.json()["reason"]) == (503, "NOT_FOUND")


async def test_a_gateway_that_cannot_be_reached_is_no_good_health() -> None:
    gateway = FakeGateway()
    gateway.start()
    target = gateway.target
    gateway.stop()

    answer = await get("/health", target)

    assert (answer.status_code, answer.json()["reason"]) == (503, "UNAVAILABLE")
    assert target in answer.json()["error"]


async def test_health_follows_a_gateway_that_comes_back(
    web: httpx.AsyncClient, fake_gateway: FakeGateway
) -> None:
    fake_gateway.fail_calls(UnavailableError("shutting down"), times=None)
    assert (await web.get("/health")).status_code == 503

    fake_gateway.fail_calls(InternalError("a fault"), times=1)
    assert (await web.get("/health")).status_code == 503


async def test_an_unknown_path_is_not_found(web: httpx.AsyncClient) -> None:
    answer = await web.get("/unknown")

    assert answer.status_code == 404
    assert answer.json() == {"error": "Not Found", "reason": "NOT_FOUND"}
