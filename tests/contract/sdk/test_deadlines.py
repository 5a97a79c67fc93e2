"""Deadlines, cancellation, and waiting for a gateway that is not there yet."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heliograph import AsyncClient
from heliograph.errors import (
    ConfigurationError,
    DeadlineExceededError,
    FailedPreconditionError,
    InvalidArgumentError,
)
from heliograph.testing import FakeGateway

Connect = Callable[..., Any]


def test_every_call_has_a_deadline(connect: Connect, fake_gateway: FakeGateway) -> None:
    client = connect(fake_gateway.target, timeout=20.0)

    client.classify(b"image")
    client.models()
    client.model()
    client.health()

    for call in fake_gateway.calls:
        assert call.time_remaining is not None
        assert 10.0 < call.time_remaining < 25.0, call.method


def test_a_call_may_have_a_deadline_of_its_own(connect: Connect, fake_gateway: FakeGateway) -> None:
    connect(fake_gateway.target, timeout=1.0).classify(b"image", timeout=60.0)

    remaining = fake_gateway.calls[0].time_remaining
    assert remaining is not None
    assert remaining > 30.0


def test_an_answer_that_comes_too_late_is_an_error(
    connect: Connect, fake_gateway: FakeGateway
) -> None:
    fake_gateway.delay(30.0)
    started = time.monotonic()

    with pytest.raises(
        DeadlineExceededError, match=rf"no answer from {fake_gateway.target} within 0\.2 s"
    ):
        connect(fake_gateway.target).classify(b"image", timeout=0.2)

    assert time.monotonic() - started < 10.0


def test_a_client_without_a_deadline_cannot_be_made(connect: Connect) -> None:
    with pytest.raises(InvalidArgumentError, match="use seconds above 0"):
        connect("localhost:9000", timeout=float("inf"))


def test_a_client_without_a_target_cannot_be_made(connect: Connect) -> None:
    with pytest.raises(ConfigurationError, match="the target is empty"):
        connect("")


def test_a_client_can_wait_for_a_gateway_that_is_not_there_yet(
    connect: Connect, tmp_path: Path
) -> None:
    client = connect(f"unix:{tmp_path}/gateway.sock", wait_for_ready=True)

    with pytest.raises(DeadlineExceededError):
        client.classify(b"image", timeout=0.2)
    with FakeGateway(address=f"unix:{tmp_path}/gateway.sock"):
        assert client.classify(b"image").class_name == "cat"


async def test_cancelling_a_task_cancels_its_call(
    fake_gateway: FakeGateway, wait_until: Callable[[Callable[[], bool]], None]
) -> None:
    fake_gateway.delay(30.0)

    async with AsyncClient(fake_gateway.target) as client:
        task = asyncio.create_task(client.classify(b"image", timeout=30.0))
        await asyncio.to_thread(wait_until, lambda: len(fake_gateway.calls) == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        await asyncio.to_thread(wait_until, lambda: not fake_gateway.calls[0].active)


async def test_a_timeout_of_asyncio_is_a_timeout_of_asyncio(fake_gateway: FakeGateway) -> None:
    fake_gateway.delay(30.0)

    async with AsyncClient(fake_gateway.target) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.classify(b"image")


def test_an_asyncio_client_is_made_without_an_event_loop() -> None:
    client = AsyncClient("localhost:9000")

    asyncio.run(client.close())


def test_an_asyncio_client_stays_with_its_event_loop(fake_gateway: FakeGateway) -> None:
    client = AsyncClient(fake_gateway.target)
    with asyncio.Runner() as runner, asyncio.Runner() as other:
        runner.run(client.classify(b"image"))

        with pytest.raises(FailedPreconditionError, match="another event loop"):
            other.run(client.classify(b"image"))

        runner.run(client.close())
