"""A supervisor in the test's own process, with real workers: swaps, and workers that misbehave."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from structlog.testing import capture_logs

from heliograph.errors import UnavailableError
from heliograph.repository import Repository
from heliograph.v1.classifier_pb2 import ClassifyRequest, ClassifyResponse, Image
from heliograph_gateway import fleet, worker_process
from heliograph_gateway.backends.fake import FakeBackend
from heliograph_gateway.backends.fake_server import FakeTensorFlowServing
from heliograph_gateway.servables import Servable
from heliograph_gateway.settings import Settings
from heliograph_gateway.supervisor import Supervisor

if TYPE_CHECKING:
    from tests.chaos.gateway.conftest import Call, Eventually
    from tests.conftest import Brightness

    from heliograph_gateway.backends import Arrays

Logs = list[Any]


class HoldingBackend(FakeBackend):
    """Computes versions that it holds, and notes every request for one that it does not."""

    def __init__(self, repository: Path, brightness: Brightness) -> None:
        super().__init__(Repository(repository), brightness.compute)
        self.held: set[Servable] = set()
        self.asked_in_vain: list[Servable] = []
        self.gates: dict[Servable, asyncio.Event] = {}
        """What the next request for a version waits for."""
        self.waiting = 0

    async def hold(self, wanted: Mapping[str, frozenset[int]]) -> Mapping[Servable, str]:
        """See Host."""
        self.held = {Servable(name, each) for name, numbers in wanted.items() for each in numbers}
        return {}

    async def predict(
        self, servable: Servable, inputs: Arrays, *, signature: str, timeout: float
    ) -> Arrays:
        """See Backend."""
        self._check(servable)
        # A moment in which others get their turn: a version must not be let go meanwhile.
        await asyncio.sleep(0.003)
        if gate := self.gates.pop(servable, None):
            self.waiting += 1
            await gate.wait()
        outputs = await super().predict(servable, inputs, signature=signature, timeout=timeout)
        self._check(servable)
        return outputs

    def holds_only(self, servable: Servable) -> bool:
        """Whether every other version has been let go."""
        return self.held == {servable}

    def _check(self, servable: Servable) -> None:
        if servable not in self.held:
            self.asked_in_vain.append(servable)


@pytest.fixture
async def backend(repository: Path, brightness: Brightness) -> AsyncIterator[HoldingBackend]:
    """What computes, with one version of the model `brightness` in the repository."""
    brightness.publish(repository)
    yield (backend := HoldingBackend(repository, brightness))
    backend.resume()


Start = Callable[..., Awaitable[Supervisor]]


@pytest.fixture
async def start(repository: Path, backend: HoldingBackend) -> AsyncIterator[Start]:
    """Start a supervisor of two workers that are given one second for everything."""
    server = FakeTensorFlowServing(backend)
    await server.start()
    supervisors: list[Supervisor] = []

    async def start(*, command: tuple[str, ...] = worker_process.COMMAND) -> Supervisor:
        options: dict[str, Any] = {
            "backend": (server.address,),
            "workers": 2,
            "listen": "127.0.0.1:0",
            "metrics_listen": "",
            "auto_promote": True,
            "poll_interval": 0.05,
            "drain_timeout": 0.5,
            "log_level": "error",
        }
        settings = Settings(repository=repository, **options)
        supervisors.append(
            Supervisor(settings, host=backend, command=command, acknowledge_timeout=1.0)
        )
        await supervisors[-1].start()
        return supervisors[-1]

    yield start
    for supervisor in supervisors:
        backend.resume()
        await supervisor.stop()
    await server.stop()


@pytest.fixture
def logs() -> Iterator[Logs]:
    """What is logged from now on in this process."""
    with capture_logs() as entries:
        yield entries


def pids(logs: Logs) -> dict[int, int]:
    """Process ids of the workers that began to listen last, by their numbers."""
    listening = [entry for entry in logs if entry["event"] == "worker listening"]
    return {entry["worker"]: entry["pid"] for entry in listening}


def events(logs: Logs, event: str) -> list[Any]:
    return [entry for entry in logs if entry["event"] == event]


class Load:
    """Callers, each on a connection of its own, without retries; counts what they get."""

    def __init__(
        self, address: str, image: bytes, *, callers: int = 8, timeout: float = 30.0
    ) -> None:
        self.versions: Counter[int] = Counter()
        self.failures: Counter[str] = Counter()
        self._address = address
        self._timeout = timeout
        self._request = ClassifyRequest(image=Image(encoded=image)).SerializeToString()
        self._stopped = False
        self._tasks = [asyncio.create_task(self._call()) for _ in range(callers)]

    def answered_by(self, version: int, *, times: int) -> bool:
        return self.versions[version] > times

    async def stop(self) -> None:
        self._stopped = True
        await asyncio.gather(*self._tasks)

    async def _call(self) -> None:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        async with grpc.aio.insecure_channel(self._address, options) as channel:
            method: Call = channel.unary_unary("/heliograph.v1.Classifier/Classify")
            while not self._stopped:
                try:
                    answer = await method(self._request, timeout=self._timeout)
                except grpc.aio.AioRpcError as error:
                    self.failures[error.code().name] += 1
                else:
                    served_by = ClassifyResponse.FromString(answer).served_by
                    self.versions[served_by.version] += 1


async def test_versions_are_swapped_under_load_in_all_workers(
    start: Start,
    backend: HoldingBackend,
    repository: Path,
    brightness: Brightness,
    eventually: Eventually,
) -> None:
    supervisor = await start()
    load = Load(supervisor.address, brightness.image())
    for _ in range(5):
        version = brightness.publish(repository)
        await eventually(partial(load.answered_by, version, times=50))
        await eventually(partial(backend.holds_only, Servable("brightness", version)))
    await load.stop()

    assert load.failures == {}
    assert set(load.versions) == {1, 2, 3, 4, 5, 6}
    assert backend.asked_in_vain == []


async def test_a_version_is_held_until_the_last_request_in_any_worker_has_ended(
    start: Start,
    backend: HoldingBackend,
    repository: Path,
    brightness: Brightness,
    eventually: Eventually,
) -> None:
    supervisor = await start()
    old, new = Servable("brightness", 1), Servable("brightness", 2)
    gate = backend.gates[old] = asyncio.Event()
    waiting = Load(supervisor.address, brightness.image(), callers=1)
    await eventually(lambda: backend.waiting == 1)
    stopping = asyncio.create_task(waiting.stop())  # It makes no further call.

    brightness.publish(repository)
    # Until the new version is there, some of them queue behind the one that waits.
    others = Load(supervisor.address, brightness.image(), timeout=0.5)
    await eventually(partial(others.answered_by, 2, times=100))
    await others.stop()
    assert backend.held == {old, new}
    gate.set()

    await stopping
    await eventually(partial(backend.holds_only, new))
    assert waiting.versions == {1: 1}
    assert waiting.failures == {}
    assert set(others.failures) <= {"DEADLINE_EXCEEDED"}
    assert backend.asked_in_vain == []


async def test_a_frozen_worker_does_not_hold_up_a_swap(
    start: Start,
    backend: HoldingBackend,
    repository: Path,
    brightness: Brightness,
    eventually: Eventually,
    logs: Logs,
) -> None:
    supervisor = await start()
    frozen = pids(logs)[0]
    os.kill(frozen, signal.SIGSTOP)

    brightness.publish(repository)

    await eventually(partial(backend.holds_only, Servable("brightness", 2)))
    await eventually(lambda: pids(logs)[0] != frozen)
    assert [entry["worker"] for entry in events(logs, "worker does not answer")] == [0]
    load = Load(supervisor.address, brightness.image())
    await eventually(lambda: load.versions[2] > 50)
    await load.stop()
    assert load.failures == {}
    assert set(load.versions) == {2}
    assert backend.asked_in_vain == []


async def test_a_frozen_worker_is_replaced_although_nothing_changes(
    start: Start, eventually: Eventually, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_process, "PING_INTERVAL", 0.1)
    await start()
    frozen = pids(logs)[1]

    os.kill(frozen, signal.SIGSTOP)

    await eventually(lambda: pids(logs)[1] != frozen)
    assert [entry["worker"] for entry in events(logs, "worker does not answer")] == [1]


async def test_a_worker_that_does_not_end_is_killed(
    start: Start, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "END_TIMEOUT", 0.5)
    supervisor = await start()
    frozen = pids(logs)[0]
    os.kill(frozen, signal.SIGSTOP)

    begun = time.monotonic()
    await supervisor.stop()

    assert time.monotonic() - begun < 10
    assert frozen in [entry["pid"] for entry in events(logs, "worker did not end by itself")]
    with pytest.raises(ProcessLookupError):
        os.kill(frozen, 0)


async def test_a_worker_that_cannot_start_ends_the_start(start: Start) -> None:
    with pytest.raises(UnavailableError, match=r"worker [01] ended with code 3 while it started"):
        await start(command=(sys.executable, "-c", "raise SystemExit(3)"))


async def test_a_worker_that_keeps_dying_is_started_less_and_less_often(
    start: Start,
    brightness: Brightness,
    eventually: Eventually,
    logs: Logs,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(fleet, "SHORTEST_PAUSE", 0.01)
    trouble = tmp_path / "trouble"
    script = f"""
import os, runpy, sys
if os.path.exists({str(trouble)!r}):
    sys.exit(3)
runpy.run_module("heliograph_gateway.worker", run_name="__main__")
"""
    supervisor = await start(command=(sys.executable, "-c", script))
    trouble.touch()
    victim = pids(logs)[0]

    os.kill(victim, signal.SIGKILL)
    await eventually(lambda: len(events(logs, "worker ended")) >= 4)
    load = Load(supervisor.address, brightness.image(), callers=4)
    await eventually(lambda: load.versions[1] > 50)
    await load.stop()
    trouble.unlink()
    await eventually(lambda: pids(logs)[0] != victim)

    ends = events(logs, "worker ended")
    assert {entry["worker"] for entry in ends} == {0}
    assert [entry["code"] for entry in ends[:4]] == [-signal.SIGKILL, 3, 3, 3]
    assert [entry["restart_in_seconds"] for entry in ends[:4]] == [0.01, 0.02, 0.04, 0.08]
    assert load.failures == {}
