"""The workers of a supervisor, with nothing behind their control channels but a note of what came.

Versions are let go only when every worker has acknowledged a table without them and has finished
what it had begun; a worker that does not keep up is replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from heliograph.errors import UnavailableError
from heliograph.routing import RoutingTable
from heliograph_gateway import control, fleet
from heliograph_gateway.control import ControlChannel, Message
from heliograph_gateway.fleet import WorkerFleet
from heliograph_gateway.routing import Router, ServedModel
from heliograph_gateway.settings import load_settings
from heliograph_gateway.shared_metrics import SharedMetrics

if TYPE_CHECKING:
    from tests.unit.gateway.conftest import MakeVersion

    from heliograph_gateway.servables import ServableVersion

PATIENCE = 20.0


class FakeWorker:
    """Stands in for a process: it notes what it is told, and does it unless it is held."""

    def __init__(self, index: int, pid: int, channel: ControlChannel) -> None:
        self.index = index
        self.pid = pid
        self.returncode: int | None = None
        self.signals: list[int] = []
        self.told: list[str] = []
        """Kinds of the requests, with what a routing table among them names as stable."""
        self.held: dict[str, asyncio.Event] = {}
        """Kinds of requests that are not done before their event."""
        self.broken: set[str] = set()
        """Kinds of requests that fail."""
        self._ended = asyncio.Event()
        self._channel = channel
        kinds = ("ping", "put", "remove", "let_go", "listen")
        self._running = asyncio.create_task(channel.run(dict.fromkeys(kinds, self._do)))

    async def wait(self) -> int | None:
        """As asyncio's Process has it."""
        await self._ended.wait()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """As asyncio's Process has it."""
        self.signals.append(number)
        self.end(0 if number == signal.SIGTERM else -number)

    def end(self, code: int) -> None:
        """End, as the supervisor sees it."""
        if self.returncode is None:
            self.returncode = code
            self._ended.set()
            self._running.cancel()

    async def close(self) -> None:
        """Leave nothing behind."""
        self.end(0)
        await asyncio.gather(self._running, return_exceptions=True)
        await self._channel.close()

    async def _do(self, message: Message) -> None:
        kind = message["request"]
        table = message.get("table")
        self.told.append(f"{kind} {table['stable']}" if table else kind)
        if kind in self.held:
            await self.held[kind].wait()
        if kind in self.broken:
            raise ValueError("it cannot be done")


class Machine:
    """Starts fake workers where processes would be started."""

    def __init__(self) -> None:
        self.workers: list[FakeWorker] = []
        self.ends_at_once: int | None = None
        """Exit code of workers that do not live."""
        self.full = False
        """Whether there is no room for a process."""

    async def execute(self, *command: str, pass_fds: list[int], **_: Any) -> FakeWorker:
        """As asyncio's create_subprocess_exec has it."""
        if self.full:
            raise BlockingIOError("no more processes")
        index = int(next(each for each in command if "--index=" in each).partition("=")[2])
        channel = await ControlChannel.over(socket.socket(fileno=socket.dup(pass_fds[0])))
        worker = FakeWorker(index, 1000 + len(self.workers), channel)
        self.workers.append(worker)
        if self.ends_at_once is not None:
            worker.end(self.ends_at_once)
        return worker


@pytest.fixture
async def machine(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Machine]:
    """Workers without processes, and no pause before one is started again."""
    machine = Machine()
    monkeypatch.setattr(asyncio, "create_subprocess_exec", machine.execute)
    monkeypatch.setattr(fleet, "SHORTEST_PAUSE", 0.001)
    monkeypatch.setattr(control, "_SECOND_LOOK", 0.1)
    yield machine
    for worker in machine.workers:
        await worker.close()


@pytest.fixture
def metrics() -> Iterator[SharedMetrics]:
    """Where the workers would count."""
    with contextlib.closing(SharedMetrics(lambda: 0)) as shared:
        yield shared


@pytest.fixture
def router(make_version: MakeVersion) -> Router:
    """What is served: version 1 of the model `brightness`."""
    router = Router()
    serve(router, 1, make_version(1))
    return router


def serve(router: Router, revision: int, version: ServableVersion) -> None:
    """Serve one version of its model, and no other."""
    name, number = version.servable
    router.put(ServedModel(name, RoutingTable(revision, number), {number: version}))


Start = Callable[..., Awaitable[WorkerFleet]]


@pytest.fixture
async def start(machine: Machine, router: Router, metrics: SharedMetrics) -> AsyncIterator[Start]:
    """Start a fleet of two workers."""
    fleets: list[WorkerFleet] = []
    settings = load_settings(None, {"repository": "models", "workers": 2})

    async def start(*, acknowledge_timeout: float = PATIENCE) -> WorkerFleet:
        fleets.append(WorkerFleet(router, acknowledge_timeout=acknowledge_timeout))
        await asyncio.wait_for(fleets[-1].start(settings, metrics), PATIENCE)
        return fleets[-1]

    with capture_logs():
        yield start
        for each in fleets:
            await each.stop(drain_timeout=PATIENCE)


async def eventually(condition: Callable[[], Any]) -> None:
    """Wait for a condition to hold; fail the test when it does not come to hold."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "the condition did not come to hold"
        await asyncio.sleep(0.001)


def told(worker: FakeWorker, what: str) -> bool:
    """Whether a worker was told something."""
    return what in worker.told


async def test_a_worker_listens_when_it_knows_what_is_served(
    start: Start, machine: Machine
) -> None:
    running = await start()

    assert {worker.index for worker in machine.workers} == {0, 1}
    assert [worker.told for worker in machine.workers] == [["ping", "put 1", "listen"]] * 2
    assert running.listening == 2


async def test_every_worker_is_told_every_change(
    start: Start, machine: Machine, router: Router, make_version: MakeVersion
) -> None:
    await start()

    serve(router, 2, make_version(2))
    for worker in machine.workers:
        await eventually(partial(told, worker, "put 2"))
    router.remove("brightness")
    for worker in machine.workers:
        await eventually(partial(told, worker, "remove"))


async def test_a_version_is_let_go_when_all_workers_have_acknowledged_and_finished(
    start: Start, machine: Machine, router: Router, make_version: MakeVersion
) -> None:
    running = await start()
    first, second = machine.workers
    acknowledge = second.held["put"] = asyncio.Event()
    finish = second.held["let_go"] = asyncio.Event()
    old = make_version(1)

    serve(router, 2, make_version(2))
    letting_go = asyncio.create_task(running.let_go([old]))

    await eventually(partial(told, first, "let_go"))
    await eventually(partial(told, second, "put 2"))
    assert not told(second, "let_go")
    assert not letting_go.done()
    acknowledge.set()
    await eventually(partial(told, second, "let_go"))
    assert not letting_go.done()
    finish.set()
    await asyncio.wait_for(letting_go, PATIENCE)
    assert [worker.signals for worker in machine.workers] == [[], []]


async def test_a_worker_that_does_not_acknowledge_is_killed_and_holds_up_nothing(
    start: Start, machine: Machine, router: Router, make_version: MakeVersion
) -> None:
    running = await start(acknowledge_timeout=0.5)
    stuck = machine.workers[0]
    stuck.held["put"] = asyncio.Event()

    serve(router, 2, make_version(2))
    await asyncio.wait_for(running.let_go([make_version(1)]), PATIENCE)

    assert stuck.signals == [signal.SIGKILL]
    await eventually(lambda: running.listening == 2)
    assert machine.workers[2].index == stuck.index
    # The version that was let go is not heard of.
    assert machine.workers[2].told == ["ping", "put 2", "listen"]


async def test_a_worker_that_ends_while_a_version_is_let_go_holds_up_nothing(
    start: Start, machine: Machine, router: Router, make_version: MakeVersion
) -> None:
    running = await start()
    ending = machine.workers[1]
    ending.held["let_go"] = asyncio.Event()
    serve(router, 2, make_version(2))
    letting_go = asyncio.create_task(running.let_go([make_version(1)]))
    await eventually(partial(told, ending, "let_go"))

    ending.end(-signal.SIGKILL)

    # Its end of the channel is closed by the machine, as the fixture does at the end.
    await ending.close()
    await asyncio.wait_for(letting_go, PATIENCE)


async def test_a_worker_that_cannot_do_what_it_is_told_is_replaced(
    start: Start, machine: Machine, router: Router, make_version: MakeVersion
) -> None:
    running = await start()
    machine.workers[0].broken.add("put")

    serve(router, 2, make_version(2))

    await eventually(lambda: len(machine.workers) == 3 and running.listening == 2)
    assert machine.workers[0].signals == [signal.SIGKILL]
    assert machine.workers[1].signals == []


async def test_a_worker_that_ends_is_replaced_under_its_number(
    start: Start, machine: Machine
) -> None:
    running = await start()

    machine.workers[1].end(-signal.SIGSEGV)

    await eventually(lambda: len(machine.workers) == 3 and running.listening == 2)
    assert machine.workers[2].index == machine.workers[1].index


async def test_a_worker_that_ends_while_it_starts_ends_the_start(
    start: Start, machine: Machine
) -> None:
    machine.ends_at_once = 1

    with pytest.raises(UnavailableError, match=r"worker [01] ended with code 1 while it started"):
        await start()


async def test_a_machine_without_room_for_processes_ends_the_start(
    start: Start, machine: Machine
) -> None:
    machine.full = True

    with pytest.raises(UnavailableError, match=r"worker [01] "):
        await start()


async def test_stopping_asks_all_workers_to_end_and_starts_no_others(
    start: Start, machine: Machine
) -> None:
    running = await start()

    await running.stop(drain_timeout=PATIENCE)

    assert [worker.signals for worker in machine.workers] == [[signal.SIGTERM]] * 2
    assert running.listening == 0
