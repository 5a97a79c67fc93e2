"""A generator in a process of its own, which takes commands from a pipe and answers into it."""

from __future__ import annotations

import asyncio
import signal
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TypeAlias

from heliograph.errors import (
    BY_STATUS,
    DeadlineExceededError,
    FailedPreconditionError,
    HeliographError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
)
from heliograph.transport import AioTransport
from heliograph_loadtest.calls import Calls, calls_of
from heliograph_loadtest.event_loop import PreciseEventLoop
from heliograph_loadtest.generator import SHIPPING_INTERVAL, Effort, Generator
from heliograph_loadtest.load import Share, Step, Traffic
from heliograph_loadtest.recording import Recorder, Records
from heliograph_loadtest.requests import serialize

_HOPELESS = (
    DeadlineExceededError,
    FailedPreconditionError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
)
"""Errors of a first call after which a run would measure nothing."""


@dataclass(frozen=True)
class RunStep:
    """The command to run a step."""

    step: Step
    start: float
    """By `time.monotonic`, which all processes of a machine share."""


@dataclass(frozen=True)
class Stop:
    """The command to send nothing more."""


Command: TypeAlias = RunStep | Stop


@dataclass(frozen=True)
class Ready:
    """The answer that every connection is open."""


@dataclass(frozen=True)
class Refused:
    """The answer that there is nothing to measure."""

    error: HeliographError


@dataclass(frozen=True)
class Gathered:
    """Records so far; with the effort at the end of a step."""

    records: Records
    effort: Effort | None = None


Answer: TypeAlias = Ready | Refused | Gathered


def run_generator(connection: Connection, traffic: Traffic, share: Share) -> None:
    """Run until the pipe is closed. Ctrl-C is for the process at its other end.

    Args:
        connection: Takes a Command, gives an Answer.
        traffic: What to ask.
        share: Which part of each load is this process's.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with asyncio.Runner(loop_factory=PreciseEventLoop) as runner:
        runner.run(_Session(connection, traffic, share).run())


class _Session:
    def __init__(self, connection: Connection, traffic: Traffic, share: Share) -> None:
        self._connection = connection
        self._traffic = traffic
        self._share = share
        self._commands: asyncio.Queue[Command | None] = asyncio.Queue()

    async def run(self) -> None:
        recorder = Recorder()
        transport = AioTransport(self._traffic.endpoint)
        try:
            requests = await asyncio.to_thread(serialize, self._traffic)
            calls = calls_of(self._traffic.method, transport, requests, recorder.explain)
            refusal = await self._first_calls(calls, recorder)
        except HeliographError as error:
            refusal = error
        if refusal is not None:
            await self._send(Refused(refusal))
        else:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, PreciseEventLoop)
            generator = Generator(
                calls,
                self._share,
                self._traffic.endpoint.timeout,
                self._traffic.seed,
                loop.idle_seconds,
            )
            threading.Thread(target=self._listen, args=(loop, generator), daemon=True).start()
            await self._send(Ready())
            while (command := await self._commands.get()) is not None:
                if isinstance(command, RunStep):
                    await self._run_step(generator, command, recorder)
            await calls.close()
        await transport.close()

    async def _first_calls(self, calls: Calls, recorder: Recorder) -> HeliographError | None:
        """Make a call on each connection, so that all are open; return why that is hopeless."""
        for number in range(self._traffic.endpoint.channels):
            outcome = await calls(number, self._traffic.endpoint.timeout)
            kind = BY_STATUS.get(outcome.status)
            if kind is not None and issubclass(kind, _HOPELESS):
                return kind(recorder.take().messages[outcome.status, outcome.reason])
        return None

    async def _run_step(self, generator: Generator, command: RunStep, recorder: Recorder) -> None:
        running = asyncio.create_task(generator.run(command.step, command.start, recorder))
        while not running.done():
            await asyncio.wait([running], timeout=SHIPPING_INTERVAL)
            if not running.done():
                await self._send(Gathered(recorder.take()))
        await self._send(Gathered(recorder.take(), running.result()))

    async def _send(self, answer: Answer) -> None:
        # In a thread, since a pipe that is full would stall every call.
        await asyncio.to_thread(self._connection.send, answer)

    def _listen(self, loop: asyncio.AbstractEventLoop, generator: Generator) -> None:
        """Take commands in a thread, so that Stop arrives during a step."""
        while True:
            try:
                command: Command | None = self._connection.recv()
            except (EOFError, OSError):
                command = None
            if isinstance(command, Stop) or command is None:
                loop.call_soon_threadsafe(generator.stop)
            loop.call_soon_threadsafe(self._commands.put_nowait, command)
            if command is None:
                return
