"""The channel between the supervisor and a worker: requests and their replies over one socket.

A message is JSON behind its length. Each request has an id, which its reply repeats, so that one
that takes long holds up no other. Either side learns at once when the other has gone.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from heliograph.errors import DeadlineExceededError, InternalError, UnavailableError

log = structlog.get_logger()

Message = dict[str, Any]
Handler = Callable[[Message], Awaitable[None]]
"""Does what a request says; its end is the reply."""

_LENGTH = struct.Struct(">I")
_SECOND_LOOK = 0.5
"""Seconds more for a reply that is late, in case it was this process that had been stopped."""


class ControlChannel:
    """One end of the channel."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._handling: set[asyncio.Task[None]] = set()
        self._open = True

    @classmethod
    async def over(cls, connected: socket.socket) -> ControlChannel:
        """Return the end of the channel that is at one socket of a pair, and owns it."""
        return cls(*await asyncio.open_unix_connection(sock=connected))

    async def run(self, handlers: Mapping[str, Handler] | None = None) -> None:
        """Read until the other side has gone.

        Args:
            handlers: What is done for each kind of request. They begin in the order in which the
                requests came; one that waits does not hold up the others.
        """
        try:
            while True:
                [length] = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
                self._receive(json.loads(await self._reader.readexactly(length)), handlers or {})
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            self._open = False
            for reply in self._waiting.values():
                if not reply.done():
                    reply.set_exception(UnavailableError("the other process has gone"))

    async def request(self, kind: str, timeout: float, **content: Any) -> None:
        """Ask the other side to do something, and wait until it is done.

        Args:
            kind: What to do.
            timeout: Seconds.
            **content: What its handler needs to know; values of JSON.

        Raises:
            UnavailableError: The other side has gone.
            DeadlineExceededError: There was no reply in time.
            InternalError: It could not be done.
        """
        if not self._open:
            raise UnavailableError("the other process has gone")
        number = next(self._ids)
        reply = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            self._send({"id": number, "request": kind, **content})
            for seconds in (timeout, _SECOND_LOOK):
                done, _ = await asyncio.wait([reply], timeout=seconds)
                if done:
                    break
            else:
                raise DeadlineExceededError(f"no reply to {kind!r} within {timeout:g} s")
            error = reply.result().get("error")
        finally:
            del self._waiting[number]
        if error is not None:
            raise InternalError(f"{kind!r} failed: {error}")

    async def close(self) -> None:
        """Close this end, and drop what is being done for the other."""
        self._open = False
        for task in self._handling:
            task.cancel()
        await asyncio.gather(*self._handling, return_exceptions=True)
        self._writer.transport.abort()

    def _send(self, message: Message) -> None:
        body = json.dumps(message).encode()
        # Into a buffer, without waiting: a peer that does not read must not hold up this side.
        self._writer.write(_LENGTH.pack(len(body)) + body)

    def _receive(self, message: Message, handlers: Mapping[str, Handler]) -> None:
        if "request" in message:
            task = asyncio.create_task(self._handle(message, handlers))
            self._handling.add(task)
            task.add_done_callback(self._handling.discard)
        elif (reply := self._waiting.get(message["id"])) and not reply.done():
            reply.set_result(message)

    async def _handle(self, message: Message, handlers: Mapping[str, Handler]) -> None:
        kind = message["request"]
        reply: Message = {"id": message["id"]}
        try:
            await handlers[kind](message)
        except Exception as error:
            log.exception("cannot do what was asked for", request=kind)
            reply["error"] = f"{type(error).__name__}: {error}"
        self._send(reply)
