"""The control channel: requests, replies, and what happens when the other side has gone."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from heliograph.errors import DeadlineExceededError, InternalError, UnavailableError
from heliograph_gateway.control import ControlChannel, Message

PATIENCE = 10.0


@dataclass
class Pair:
    """Both ends of a channel, and what the worker's end was asked for."""

    supervisor: ControlChannel
    worker: ControlChannel
    asked: list[Message] = field(default_factory=list)
    free: asyncio.Event = field(default_factory=asyncio.Event)

    async def note(self, message: Message) -> None:
        self.asked.append(message)

    async def wait(self, message: Message) -> None:
        await self.free.wait()

    async def fail(self, message: Message) -> None:
        raise ValueError("no such thing")


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    """A channel with two ends that are read."""
    ours, theirs = socket.socketpair()
    pair = Pair(await ControlChannel.over(ours), await ControlChannel.over(theirs))
    handlers = {"note": pair.note, "wait": pair.wait, "fail": pair.fail}
    reading = [
        asyncio.create_task(pair.supervisor.run()),
        asyncio.create_task(pair.worker.run(handlers)),
    ]
    yield pair
    await pair.supervisor.close()
    await pair.worker.close()
    await asyncio.wait(reading, timeout=PATIENCE)
    assert all(task.done() for task in reading)


async def test_a_request_is_answered_when_it_has_been_done(pair: Pair) -> None:
    await pair.supervisor.request("note", PATIENCE, model="digits", versions=[1, 2])

    [message] = pair.asked
    assert (message["model"], message["versions"]) == ("digits", [1, 2])


async def test_a_message_may_have_megabytes(pair: Pair) -> None:
    contract = "x" * 5_000_000

    await pair.supervisor.request("note", PATIENCE, contract=contract)

    assert pair.asked[0]["contract"] == contract


async def test_requests_begin_in_their_order(pair: Pair) -> None:
    await asyncio.gather(
        *(pair.supervisor.request("note", PATIENCE, number=number) for number in range(100))
    )

    assert [message["number"] for message in pair.asked] == list(range(100))


async def test_a_request_that_waits_holds_up_no_other(pair: Pair) -> None:
    waiting = asyncio.create_task(pair.supervisor.request("wait", PATIENCE))
    await pair.supervisor.request("note", PATIENCE)

    assert not waiting.done()
    pair.free.set()
    await waiting


async def test_a_request_that_fails_says_why_and_the_channel_goes_on(pair: Pair) -> None:
    with capture_logs() as logs, pytest.raises(InternalError, match="ValueError: no such thing"):
        await pair.supervisor.request("fail", PATIENCE)

    assert [entry["request"] for entry in logs] == ["fail"]
    await pair.supervisor.request("note", PATIENCE)


async def test_a_request_that_takes_too_long_is_given_up_and_the_channel_goes_on(
    pair: Pair,
) -> None:
    with pytest.raises(DeadlineExceededError, match=r"no reply to 'wait' within 0\.01 s"):
        await pair.supervisor.request("wait", 0.01)

    pair.free.set()  # Its reply comes now, to nobody.
    await pair.supervisor.request("note", PATIENCE)


async def test_what_waits_for_a_side_that_goes_hears_of_it(pair: Pair) -> None:
    waiting = asyncio.create_task(pair.supervisor.request("wait", PATIENCE))
    await pair.supervisor.request("note", PATIENCE)

    await pair.worker.close()

    with pytest.raises(UnavailableError):
        await waiting
    with pytest.raises(UnavailableError):
        await pair.supervisor.request("note", PATIENCE)


async def test_a_message_that_breaks_off_is_the_end() -> None:
    ours, theirs = socket.socketpair()
    channel = await ControlChannel.over(ours)
    body = json.dumps({"id": 1}).encode()
    theirs.sendall(struct.pack(">I", len(body) + 1) + body)
    theirs.close()

    await asyncio.wait_for(channel.run(), PATIENCE)

    await channel.close()
