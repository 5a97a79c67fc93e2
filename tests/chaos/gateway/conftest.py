"""`heliograph serve` as a process, in front of a fake TensorFlow Serving in the test's own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from heliograph.repository import Repository
from heliograph_gateway.backends.fake import FakeBackend
from heliograph_gateway.backends.fake_server import FakeTensorFlowServing

if TYPE_CHECKING:
    from tests.conftest import Brightness

PATIENCE = 60.0
"""Seconds that a process gets on a machine that does other things too."""


class ServeProcess:
    """A `heliograph serve` and what it logs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid
        self.log: list[dict[str, Any]] = []
        self.other_lines: list[str] = []
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stderr
        async for line in self._process.stderr:
            try:
                self.log.append(json.loads(line))
            except ValueError:
                self.other_lines.append(line.decode().rstrip("\n"))

    def events(self, event: str) -> list[dict[str, Any]]:
        """Log entries of one event."""
        return [entry for entry in self.log if entry["event"] == event]

    async def logged(self, event: str) -> dict[str, Any]:
        """Wait for an event and return it."""
        end = time.monotonic() + PATIENCE
        while not self.events(event):
            assert time.monotonic() < end, f"{event!r} is not in the log: {self.log}"
            assert self._process.returncode is None, (self.log, self.other_lines)
            await asyncio.sleep(0.005)
        return self.events(event)[0]

    async def address(self) -> str:
        """Wait until it serves and return where."""
        return str((await self.logged("ready"))["address"])

    def workers(self) -> dict[int, int]:
        """Process ids of the workers that began to listen last, by their numbers."""
        return {entry["worker"]: entry["pid"] for entry in self.events("worker listening")}

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    async def ended(self) -> int:
        """Wait for the end and return the exit code."""
        code = await asyncio.wait_for(self._process.wait(), PATIENCE)
        await self._reading
        return code

    async def kill(self) -> None:
        """End it for good."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._reading


StartServe = Callable[..., Awaitable[ServeProcess]]


@pytest.fixture
async def serve(repository: Path) -> AsyncIterator[StartServe]:
    """Start `heliograph serve` on free ports with more flags."""
    processes: list[ServeProcess] = []

    async def start(
        *flags: str | Path, environment: Mapping[str, str] | None = None
    ) -> ServeProcess:
        fixed = ["--repository", str(repository), "--log-format", "json"]
        free = ["--listen", "127.0.0.1:0", "--metrics-listen", "", "--poll-interval", "0.1"]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "heliograph.cli", "serve", *fixed, *free, *map(str, flags)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={**_environment(), **(environment or {})},
        )
        processes.append(ServeProcess(process))
        return processes[-1]

    yield start
    for process in processes:
        await process.kill()


def _environment() -> dict[str, str]:
    """The environment without settings of the gateway."""
    return {name: value for name, value in os.environ.items() if "HELIOGRAPH" not in name}


@pytest.fixture
async def tfs(
    repository: Path, brightness: Brightness
) -> AsyncIterator[tuple[FakeTensorFlowServing, FakeBackend]]:
    """A fake TensorFlow Serving that holds one version of the model `brightness`."""
    brightness.publish(repository)
    backend = FakeBackend(Repository(repository), brightness.compute)
    server = FakeTensorFlowServing(backend)
    await server.start()
    yield server, backend
    backend.resume()
    await server.stop()


Eventually = Callable[[Callable[[], Any]], Awaitable[None]]


@pytest.fixture
def eventually() -> Eventually:
    """Wait for a condition to hold; fail the test when it does not come to hold."""

    async def wait(condition: Callable[[], Any]) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, "the condition did not come to hold"
            await asyncio.sleep(0.005)

    return wait


Call = grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]


@pytest.fixture
async def classify_at() -> AsyncIterator[Callable[..., Call]]:
    """The method Classify of the gateway at an address."""
    channels: list[grpc.aio.Channel] = []

    def method(address: str, credentials: grpc.ChannelCredentials | None = None) -> Call:
        # The proxy of whoever runs the tests is not what is tested.
        options = [("grpc.enable_http_proxy", 0)]
        channels.append(
            grpc.aio.secure_channel(address, credentials, options)
            if credentials
            else grpc.aio.insecure_channel(address, options)
        )
        return channels[-1].unary_unary("/heliograph.v1.Classifier/Classify")

    yield method
    for channel in channels:
        await channel.close()
