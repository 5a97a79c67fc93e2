"""`heliograph serve --workers 2` as processes: every kind of death, and what others see of it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from heliograph import AsyncClient
from heliograph.errors import AddressInUseError, ConfigurationError, HeliographError
from heliograph.v1.classifier_pb2 import ClassifyRequest, ClassifyResponse, Image
from heliograph_gateway.backends.fake_server import FakeTensorFlowServing

if TYPE_CHECKING:
    from tests.chaos.gateway.conftest import Call, Eventually, ServeProcess, StartServe
    from tests.conftest import Brightness

    from heliograph_gateway.backends.fake import FakeBackend

TWO = ("--workers", "2")
CONNECTIONS = 16
METHOD = "/heliograph.v1.Classifier/Classify"


@pytest.fixture
def request_bytes(brightness: Brightness) -> bytes:
    """A request with a good image."""
    return ClassifyRequest(image=Image(encoded=brightness.image())).SerializeToString()


@asynccontextmanager
async def connections(
    address: str, count: int = CONNECTIONS
) -> AsyncIterator[list[grpc.aio.Channel]]:
    """Channels that each have a connection of their own, and never retry."""
    options = [
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_http_proxy", 0),
        ("grpc.enable_retries", 0),
    ]
    channels = [grpc.aio.insecure_channel(address, options) for _ in range(count)]
    yield channels
    for channel in channels:
        await channel.close()


async def classify(channel: grpc.aio.Channel, request: bytes, timeout: float = 60) -> str:
    """The class of an image; instead the code when the call fails."""
    try:
        method: Call = channel.unary_unary(METHOD)
        answer = await method(request, timeout=timeout)
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return ClassifyResponse.FromString(answer).classification.classes[0].class_name


def replaced(process: ServeProcess, index: int, old: int) -> bool:
    """Whether another process listens in the place of a worker."""
    pid: int = process.workers()[index]
    return pid != old


def gone(worker: int) -> bool:
    """Whether a process has ended, also where nobody has asked for its exit code yet."""
    try:
        return psutil.Process(worker).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def connected(worker: int, address: str) -> int:
    """How many connections to the gateway's port a worker has."""
    port = int(address.rpartition(":")[2])
    return sum(
        each.status == psutil.CONN_ESTABLISHED and each.laddr.port == port
        for each in psutil.Process(worker).net_connections("tcp")
    )


class Load:
    """Callers with the SDK, each on a connection of its own, who do nothing but call."""

    def __init__(self, address: str, image: bytes, callers: int = 6) -> None:
        self.answers = 0
        self.errors: list[HeliographError] = []
        self._address = address
        self._image = image
        self._stopped = False
        self._tasks = [asyncio.create_task(self._call()) for _ in range(callers)]

    def answered_more_than(self, answers: int) -> bool:
        return self.answers > answers

    async def stop(self) -> None:
        self._stopped = True
        await asyncio.gather(*self._tasks)

    async def _call(self) -> None:
        async with AsyncClient(self._address, timeout=30.0) as client:
            while not self._stopped:
                try:
                    await client.classify(self._image)
                    self.answers += 1
                except HeliographError as error:
                    self.errors.append(error)


@asynccontextmanager
async def load(address: str, image: bytes) -> AsyncIterator[Load]:
    running = Load(address, image)
    yield running
    await running.stop()


def scrape(address: str) -> dict[str, float]:
    """Values of /metrics, by names with labels."""
    with urllib.request.urlopen(f"http://{address}/metrics") as response:
        text = response.read().decode()
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        # When a series began is not kept in the files that workers share.
        if not sample.name.endswith("_created")
    }


def answered(values: dict[str, float]) -> float:
    """Images that were classified, as /metrics has it."""
    return sum(value for name, value in values.items() if name.startswith("heliograph_class_total"))


@contextmanager
def temporary_folders(folder: Path) -> Iterator[dict[str, str]]:
    """An environment in which temporary files go to a folder, which must be empty in the end."""
    folder.mkdir()
    yield {"TMPDIR": str(folder)}
    assert list(folder.iterdir()) == []


async def test_both_workers_answer_and_the_supervisor_accepts_no_calls(
    serve: StartServe,
    tfs: tuple[FakeTensorFlowServing, FakeBackend],
    request_bytes: bytes,
) -> None:
    process = await serve("--backend", tfs[0].address, *TWO)
    ready = await process.logged("ready")
    address = ready["address"]

    async with connections(address) as channels:
        answers = await asyncio.gather(*(classify(each, request_bytes) for each in channels))
        workers = process.workers()
        counts = [connected(worker, address) for worker in workers.values()]

    assert set(answers) == {"bright"}
    assert (ready["workers"], ready["models"]) == (2, ["brightness"])
    assert set(workers) == {0, 1}
    assert all(counts)
    assert sum(counts) == CONNECTIONS
    listening = psutil.Process(process.pid).net_connections("tcp")
    assert psutil.CONN_LISTEN not in [each.status for each in listening]


async def test_a_worker_that_is_killed_costs_sdk_callers_nothing_and_comes_back(
    serve: StartServe,
    tfs: tuple[FakeTensorFlowServing, FakeBackend],
    brightness: Brightness,
    eventually: Eventually,
) -> None:
    process = await serve("--backend", tfs[0].address, *TWO)
    address = await process.address()

    async with load(address, brightness.image()) as running:
        for index in (0, 1):
            victim = process.workers()[index]
            seen = running.answers
            os.kill(victim, signal.SIGKILL)
            await eventually(partial(replaced, process, index, victim))
            await eventually(partial(running.answered_more_than, seen + 50))

    assert running.errors == []
    assert [entry["code"] for entry in process.events("worker ended")] == [-signal.SIGKILL] * 2


async def test_a_worker_that_comes_back_serves_from_its_first_call_on(
    serve: StartServe,
    tfs: tuple[FakeTensorFlowServing, FakeBackend],
    request_bytes: bytes,
    eventually: Eventually,
) -> None:
    process = await serve("--backend", tfs[0].address, *TWO)
    address = await process.address()
    codes: Counter[str] = Counter()
    back = asyncio.Event()

    async def call_on_new_connections() -> None:
        while not back.is_set():
            async with connections(address, 1) as [channel]:
                codes[await classify(channel, request_bytes)] += 1

    calling = [asyncio.create_task(call_on_new_connections()) for _ in range(4)]
    victim = process.workers()[0]
    os.kill(victim, signal.SIGKILL)
    await eventually(lambda: replaced(process, 0, victim))
    await eventually(lambda: connected(process.workers()[0], address))
    back.set()
    await asyncio.gather(*calling)

    # A connection that broke, and no model that was not there.
    assert set(codes) <= {"bright", "UNAVAILABLE"}
    assert codes["bright"]


async def test_a_worker_that_gets_sigterm_finishes_its_calls_and_is_replaced(
    serve: StartServe,
    tfs: tuple[FakeTensorFlowServing, FakeBackend],
    request_bytes: bytes,
    eventually: Eventually,
) -> None:
    server, backend = tfs
    alone = ("--max-batch-size", "1", "--backend-batches-in-flight", str(CONNECTIONS))
    process = await serve("--backend", server.address, *TWO, *alone)
    address = await process.address()
    served = len(backend.batches)
    backend.pause()

    async with connections(address) as channels:
        calls = [asyncio.create_task(classify(each, request_bytes)) for each in channels]
        await eventually(lambda: len(backend.batches) == served + CONNECTIONS)
        old = process.workers()[1]
        os.kill(old, signal.SIGTERM)
        await process.logged("worker draining")
        backend.resume()

        assert set(await asyncio.gather(*calls)) == {"bright"}
        await eventually(lambda: replaced(process, 1, old))

    [ended] = process.events("worker ended")
    assert (ended["worker"], ended["code"]) == (1, 0)
    [draining] = process.events("worker draining")
    assert draining["worker"] == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_the_calls_of_all_workers_finish(
    number: signal.Signals,
    serve: StartServe,
    tfs: tuple[FakeTensorFlowServing, FakeBackend],
    request_bytes: bytes,
    eventually: Eventually,
    tmp_path: Path,
) -> None:
    server, backend = tfs
    alone = ("--max-batch-size", "1", "--backend-batches-in-flight", str(CONNECTIONS))
    with temporary_folders(tmp_path / "temporary") as environment:
        process = await serve("--backend", server.address, *TWO, *alone, environment=environment)
        address = await process.address()
        workers = process.workers().values()
        served = len(backend.batches)
        backend.pause()
        async with connections(address) as channels:
            calls = [asyncio.create_task(classify(each, request_bytes)) for each in channels]
            await eventually(lambda: len(backend.batches) == served + CONNECTIONS)

            process.send(number)
            await eventually(lambda: len(process.events("worker draining")) == len(workers))
            backend.resume()

            assert set(await asyncio.gather(*calls)) == {"bright"}
        assert await process.ended() == 0

    assert not any(psutil.pid_exists(worker) for worker in workers)
    assert process.log[-1]["event"] == "stopped"
    assert process.events("worker ended") == []
    assert process.other_lines == []


async def test_a_signal_while_workers_start_ends_with_0(
    serve: StartServe, tfs: tuple[FakeTensorFlowServing, FakeBackend], tmp_path: Path
) -> None:
    with temporary_folders(tmp_path / "temporary") as environment:
        process = await serve("--backend", tfs[0].address, *TWO, environment=environment)
        await process.logged("worker starting")

        process.send(signal.SIGTERM)

        assert await process.ended() == 0
    started = [entry["pid"] for entry in process.events("worker starting")]
    assert not any(psutil.pid_exists(pid) for pid in started)


async def test_workers_end_when_the_supervisor_is_killed(
    serve: StartServe,
    tfs: tuple[FakeTensorFlowServing, FakeBackend],
    eventually: Eventually,
    tmp_path: Path,
) -> None:
    with temporary_folders(tmp_path / "temporary") as environment:
        process = await serve("--backend", tfs[0].address, *TWO, environment=environment)
        address = await process.address()
        workers = process.workers().values()

        process.send(signal.SIGKILL)

        await eventually(lambda: all(gone(worker) for worker in workers))
    again = await serve("--backend", tfs[0].address, *TWO, "--listen", address)
    assert await again.address() == address


async def test_metrics_add_up_the_workers_and_outlive_them(
    serve: StartServe,
    tfs: tuple[FakeTensorFlowServing, FakeBackend],
    request_bytes: bytes,
    eventually: Eventually,
) -> None:
    process = await serve("--backend", tfs[0].address, *TWO, "--metrics-listen", "127.0.0.1:0")
    ready = await process.logged("ready")
    address, metrics = ready["address"], ready["metrics"]

    async def call() -> float:
        async with connections(address) as channels:
            answers = await asyncio.gather(*(classify(each, request_bytes) for each in channels))
        return answers.count("bright")

    calls = await call()
    before = await asyncio.to_thread(scrape, metrics)
    victim = process.workers()[0]
    os.kill(victim, signal.SIGKILL)
    await eventually(lambda: process.events("worker ended"))
    without = await asyncio.to_thread(scrape, metrics)
    await eventually(lambda: replaced(process, 0, victim))
    calls += await call()
    after = await asyncio.to_thread(scrape, metrics)

    assert answered(before) == CONNECTIONS
    assert answered(without) == CONNECTIONS
    assert answered(after) == calls
    series = [values["heliograph_workers[]"] for values in (before, without, after)]
    assert series == [2, 1, 2]
    assert after["heliograph_inflight[]"] == 0
    assert not any("'pid'" in name for name in after)


async def test_metrics_have_the_same_names_and_labels_as_those_of_one_process(
    serve: StartServe,
    tfs: tuple[FakeTensorFlowServing, FakeBackend],
    request_bytes: bytes,
) -> None:
    async def names(*flags: str) -> set[str]:
        process = await serve(
            "--backend", tfs[0].address, "--metrics-listen", "127.0.0.1:0", *flags
        )
        ready = await process.logged("ready")
        async with connections(ready["address"], 1) as [channel]:
            assert await classify(channel, request_bytes) == "bright"
        return set(await asyncio.to_thread(scrape, ready["metrics"]))

    assert await names(*TWO) - await names() == {"heliograph_workers[]"}


@pytest.mark.parametrize(("first", "second"), [("1", "2"), ("2", "1"), ("2", "2")])
async def test_two_gateways_never_share_a_port_whoever_has_workers(
    first: str,
    second: str,
    serve: StartServe,
    tfs: tuple[FakeTensorFlowServing, FakeBackend],
) -> None:
    backend = ("--backend", tfs[0].address)
    address = await (await serve(*backend, "--workers", first)).address()

    other = await serve(*backend, "--workers", second, "--listen", address)

    assert await other.ended() == AddressInUseError.exit_code
    # gRPC has a line of its own, where it is gRPC that tries.
    assert other.other_lines[-1] == (
        f"heliograph serve: cannot listen on {address}: is something else listening there? "
        "Choose another address with --listen"
    )


@pytest.mark.parametrize("host", ["localhost", "[::1]", "[::]"])
async def test_names_and_ipv6_are_shared_too(
    host: str,
    serve: StartServe,
    tfs: tuple[FakeTensorFlowServing, FakeBackend],
    request_bytes: bytes,
) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    flags = (*TWO, "--listen", f"{host}:0", "--insecure")
    process = await serve("--backend", tfs[0].address, *flags)
    address = await process.address()
    port = address.rpartition(":")[2]

    reached = {"localhost": "localhost", "[::1]": "[::1]", "[::]": "127.0.0.1"}[host]
    async with connections(f"{reached}:{port}") as channels:
        answers = await asyncio.gather(*(classify(each, request_bytes) for each in channels))

    assert address == f"{host}:{port}"
    assert set(answers) == {"bright"}


async def test_a_file_that_workers_could_not_use_is_one_line(
    serve: StartServe, tfs: tuple[FakeTensorFlowServing, FakeBackend], tmp_path: Path
) -> None:
    gone = tmp_path / "tokens.txt"

    process = await serve("--backend", tfs[0].address, *TWO, "--token-file", gone)

    assert await process.ended() == ConfigurationError.exit_code
    [line] = process.other_lines
    assert str(gone) in line
    assert process.events("worker starting") == []


async def test_workers_hold_nothing_that_is_not_theirs(
    serve: StartServe, tfs: tuple[FakeTensorFlowServing, FakeBackend]
) -> None:
    process = await serve("--backend", tfs[0].address, *TWO)
    await process.logged("ready")

    for worker in process.workers().values():
        # Ctrl-C in a terminal reaches the supervisor alone.
        assert os.getsid(worker) == worker
        assert str(Path(f"/proc/{worker}/fd/0").readlink()) == os.devnull
