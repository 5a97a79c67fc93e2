"""Uploads that are too large, too slow or broken off: bounded memory, a clear answer."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest

from heliograph import AsyncClient
from heliograph.testing import FakeGateway
from heliograph_web.application import create_application
from heliograph_web.upload import UploadLimits

MEBIBYTE = 1024 * 1024
HEAD = b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'
TAIL = b"\r\n--b--\r\n"
FORM = {"Content-Type": "multipart/form-data; boundary=b"}


async def form(*, size: int, chunk: int = 64 * 1024) -> AsyncIterator[bytes]:
    yield HEAD
    for start in range(0, size, chunk):
        yield b"x" * min(chunk, size - start)
    yield TAIL


async def test_an_image_of_the_largest_size_is_accepted(
    web: httpx.AsyncClient, fake_gateway: FakeGateway
) -> None:
    answer = await web.post("/predict", headers=FORM, content=form(size=100_000))

    assert answer.status_code == 200
    assert len(fake_gateway.calls) == 1


@pytest.mark.parametrize("size", [100_001, 150_000, 3 * MEBIBYTE])
async def test_one_byte_more_is_refused(
    web: httpx.AsyncClient, fake_gateway: FakeGateway, size: int
) -> None:
    answer = await web.post("/predict", headers=FORM, content=form(size=size))

    assert (answer.status_code, answer.json()["reason"]) == (413, "IMAGE_TOO_LARGE")
    assert not fake_gateway.calls


async def test_what_exceeds_the_limit_is_read_and_not_kept(web: httpx.AsyncClient) -> None:
    tracemalloc.start()
    try:
        answer = await web.post("/predict", headers=FORM, content=form(size=24 * MEBIBYTE))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert answer.status_code == 413
    assert peak < 4 * MEBIBYTE


async def test_a_body_without_end_is_cut_off(web: httpx.AsyncClient) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield HEAD
        while True:
            sent += MEBIBYTE
            yield b"x" * MEBIBYTE
            await asyncio.sleep(0)

    answer = await web.post("/predict", headers=FORM, content=endless())

    assert answer.status_code == 413
    assert sent < 64 * MEBIBYTE


async def test_a_body_that_declares_far_too_much_is_refused_unread(web: httpx.AsyncClient) -> None:
    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    headers = FORM | {"Content-Length": str(10**12)}
    answer = await web.post("/predict", headers=headers, content=unread())

    assert (answer.status_code, answer.json()["reason"]) == (413, "IMAGE_TOO_LARGE")


async def test_a_part_header_without_end_is_refused(web: httpx.AsyncClient) -> None:
    body = b"--b\r\nContent-Disposition: " + b"x" * 5 * MEBIBYTE

    answer = await web.post("/predict", headers=FORM, content=body)

    assert answer.status_code in (400, 413)


async def respond(
    gateway: FakeGateway, messages: Sequence[dict[str, Any]], *, seconds: float
) -> list[Any]:
    """Send an application the body in these messages, then nothing more; return its answer."""
    async with AsyncClient(gateway.target) as client:
        application = create_application(client, limits=UploadLimits(seconds=seconds))
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": "/predict",
            "raw_path": b"/predict",
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"localhost"), (b"content-type", FORM["Content-Type"].encode())],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        due = list(messages)
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            if due:
                return due.pop(0)
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Any) -> None:
            sent.append(message)

        await application(scope, receive, send)
        return sent


async def test_a_body_that_stops_coming_times_out(fake_gateway: FakeGateway) -> None:
    first = {"type": "http.request", "body": HEAD, "more_body": True}

    start, body = await respond(fake_gateway, [first], seconds=0.05)

    assert start["status"] == 408
    assert b'"REQUEST_TIMEOUT"' in body["body"]


async def test_a_client_that_goes_away_is_no_fault(fake_gateway: FakeGateway) -> None:
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": HEAD, "more_body": True},
        {"type": "http.disconnect"},
    ]

    start, _ = await respond(fake_gateway, messages, seconds=5.0)

    assert start["status"] == 499
    assert not fake_gateway.calls
