"""TensorFlow Serving as a backend: replicas, what their errors become, and the time they get."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from structlog.testing import capture_logs

from heliograph.errors import (
    BackendUnavailableError,
    DeadlineExceededError,
    FailedPreconditionError,
    HeliographError,
    InternalError,
    InvalidArgumentError,
    ResourceExhaustedError,
    UnavailableError,
    UnknownError,
)
from heliograph.repository import Repository
from heliograph_gateway.backends.fake import FakeBackend
from heliograph_gateway.backends.fake_server import FakeTensorFlowServing
from heliograph_gateway.backends.tfs import TensorFlowServing, target_of
from heliograph_gateway.metrics import GatewayMetrics
from heliograph_gateway.servables import Servable

if TYPE_CHECKING:
    from tests.conftest import Brightness
    from tests.contract.gateway.conftest import Eventually

SERVABLE = Servable("brightness", 1)


class Replica:
    """One TensorFlow Serving that can be killed and started again on its address."""

    def __init__(self, backend: FakeBackend) -> None:
        self.backend = backend
        self.server = FakeTensorFlowServing(backend)

    async def start(self, listen: str = "127.0.0.1:0") -> None:
        await self.server.start(listen)

    async def restart(self) -> None:
        address = self.server.address.removeprefix("tfs://")
        self.server = FakeTensorFlowServing(self.backend)
        await self.server.start(address)


StartReplica = Callable[..., Awaitable[Replica]]


@pytest.fixture
async def start_replica(repository: Path, brightness: Brightness) -> AsyncIterator[StartReplica]:
    brightness.publish(repository)
    replicas: list[Replica] = []

    async def start(listen: str = "127.0.0.1:0") -> Replica:
        replicas.append(Replica(FakeBackend(Repository(repository), brightness.compute)))
        await replicas[-1].start(listen)
        return replicas[-1]

    yield start
    for replica in replicas:
        await replica.server.stop()


@pytest.fixture
def metrics() -> GatewayMetrics:
    return GatewayMetrics()


Connect = Callable[..., TensorFlowServing]


@pytest.fixture
async def connect(metrics: GatewayMetrics) -> AsyncIterator[Connect]:
    backends: list[TensorFlowServing] = []

    def connect(*replicas: Replica) -> TensorFlowServing:
        addresses = [replica.server.address for replica in replicas]
        backends.append(TensorFlowServing(addresses, metrics))
        return backends[-1]

    yield connect
    for backend in backends:
        await backend.close()


def up(metrics: GatewayMetrics, replica: Replica) -> float | None:
    labels = {"backend": replica.server.address}
    return metrics.registry.get_sample_value("heliograph_backend_up", labels)


async def predict(backend: TensorFlowServing, level: int = 51, timeout: float = 5.0) -> float:
    """The score of `bright` for one grey level."""
    rows = np.full((1, 4, 4, 1), level, np.uint8)
    outputs = await backend.predict(
        SERVABLE, {"image": rows}, signature="serving_default", timeout=timeout
    )
    assert outputs["scores"].dtype == np.float32
    return float(outputs["scores"][0, 1])


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("tfs://gpu-1:8500", "gpu-1:8500"),
        ("tfs://[::1]:8500", "[::1]:8500"),
        ("tfs:///run/tfs.sock", "unix:/run/tfs.sock"),
    ],
)
def test_an_address_names_a_host_or_a_socket(address: str, target: str) -> None:
    assert target_of(address) == target


async def test_arrays_pass_both_ways_and_the_version_is_explicit(
    start_replica: StartReplica, connect: Connect
) -> None:
    replica = await start_replica()

    assert await predict(connect(replica)) == pytest.approx(0.2)
    [(servable, rows)] = replica.backend.batches
    assert servable == SERVABLE
    assert (rows.dtype, rows.shape, rows.max()) == (np.dtype(np.uint8), (1, 4, 4, 1), 51)


async def test_a_unix_socket_is_reached(
    start_replica: StartReplica, connect: Connect, tmp_path: Path
) -> None:
    replica = await start_replica(f"unix:{tmp_path}/tfs.sock")

    assert await predict(connect(replica)) == pytest.approx(0.2)


async def test_signatures_are_those_of_the_version(
    start_replica: StartReplica, connect: Connect
) -> None:
    backend = connect(await start_replica())

    signatures = await backend.signatures(SERVABLE, timeout=5.0)

    assert list(signatures) == ["serving_default"]
    assert [dim.size for dim in signatures["serving_default"].inputs["image"].tensor_shape.dim] == [
        -1,
        4,
        4,
        1,
    ]


async def test_the_time_that_is_left_goes_to_the_backend(
    start_replica: StartReplica, connect: Connect
) -> None:
    replica = await start_replica()

    await predict(connect(replica), timeout=3.0)

    # gRPC rounds up what it writes into a header.
    assert 2.0 < replica.server.time_given[0] < 3.1


async def test_a_backend_that_does_not_answer_in_time_is_a_deadline(
    start_replica: StartReplica, connect: Connect
) -> None:
    replica = await start_replica()
    replica.backend.pause()

    with pytest.raises(DeadlineExceededError):
        await predict(connect(replica), timeout=0.05)


# Replicas.


async def test_the_replica_with_the_least_work_is_asked(
    start_replica: StartReplica, connect: Connect, eventually: Eventually
) -> None:
    first, second = await start_replica(), await start_replica()
    backend = connect(first, second)
    first.backend.pause()
    second.backend.pause()

    calls = [asyncio.ensure_future(predict(backend)) for _ in range(6)]
    await eventually(lambda: len(first.backend.batches) + len(second.backend.batches) == 6)

    assert [len(first.backend.batches), len(second.backend.batches)] == [3, 3]
    first.backend.resume()
    second.backend.resume()
    await asyncio.gather(*calls)


async def test_when_a_replica_is_away_another_answers_and_nobody_notices(
    start_replica: StartReplica, connect: Connect, metrics: GatewayMetrics
) -> None:
    first, second = await start_replica(), await start_replica()
    backend = connect(first, second)
    await first.server.stop()

    for _ in range(10):
        assert await predict(backend) == pytest.approx(0.2)

    assert (up(metrics, first), up(metrics, second)) == (0, 1)
    assert len(second.backend.batches) == 10


async def test_a_replica_that_dies_in_the_middle_costs_one_more_attempt(
    start_replica: StartReplica, connect: Connect, eventually: Eventually
) -> None:
    first, second = await start_replica(), await start_replica()
    backend = connect(first, second)
    first.backend.pause()
    call = asyncio.ensure_future(predict(backend))
    await eventually(lambda: first.backend.batches)

    await first.server.stop()

    assert await call == pytest.approx(0.2)
    assert len(second.backend.batches) == 1


async def test_when_none_can_be_reached_the_caller_is_told_when_to_come_back(
    start_replica: StartReplica, connect: Connect, metrics: GatewayMetrics
) -> None:
    replica = await start_replica()
    await replica.server.stop()

    with pytest.raises(BackendUnavailableError, match="cannot be reached") as caught:
        await predict(connect(replica))

    assert caught.value.retry_after == 1.0
    assert "127.0.0.1" not in caught.value.message
    assert up(metrics, replica) == 0


@pytest.mark.parametrize("others", [0, 1])
async def test_a_replica_that_comes_back_is_used_again(
    others: int, start_replica: StartReplica, connect: Connect, metrics: GatewayMetrics
) -> None:
    replica = await start_replica()
    backend = connect(replica, *[await start_replica() for _ in range(others)])
    await predict(backend)
    await replica.server.stop()
    while up(metrics, replica) == 1:
        with suppress(BackendUnavailableError):
            await predict(backend)
    replica.backend.batches.clear()

    await replica.restart()

    end = time.monotonic() + 10
    while not replica.backend.batches:
        assert time.monotonic() < end, "the replica was not used again"
        with suppress(BackendUnavailableError):
            await predict(backend)
        await asyncio.sleep(0.01)
    assert up(metrics, replica) == 1


async def test_without_load_the_replicas_take_turns(
    start_replica: StartReplica, connect: Connect
) -> None:
    replicas = [await start_replica() for _ in range(3)]
    backend = connect(*replicas)

    for _ in range(6):
        await predict(backend)

    assert [len(replica.backend.batches) for replica in replicas] == [2, 2, 2]


async def test_a_version_that_is_not_loaded_is_asked_for_once_more_elsewhere(
    start_replica: StartReplica, connect: Connect
) -> None:
    first, second = await start_replica(), await start_replica()
    backend = connect(first, second)

    with pytest.raises(BackendUnavailableError, match="has not loaded brightness:7"):
        await backend.predict(
            Servable("brightness", 7),
            {"image": np.zeros((1, 4, 4, 1), np.uint8)},
            signature="serving_default",
            timeout=5.0,
        )

    assert [len(first.backend.batches), len(second.backend.batches)] == [1, 1]


# Errors.


@pytest.mark.parametrize(
    ("answer", "becomes"),
    [
        (InvalidArgumentError("an image cannot be decoded"), InvalidArgumentError),
        (ResourceExhaustedError("the queue is full"), ResourceExhaustedError),
        (UnavailableError("closing"), BackendUnavailableError),
        (FailedPreconditionError("of /models/secret"), InternalError),
        (InternalError("of /models/secret"), InternalError),
        (UnknownError("of /models/secret"), InternalError),
    ],
)
async def test_every_answer_of_a_backend_becomes_an_error_that_means_the_same_to_callers(
    answer: HeliographError,
    becomes: type[HeliographError],
    start_replica: StartReplica,
    connect: Connect,
) -> None:
    replica = await start_replica()
    replica.backend.failures.extend([answer, answer])

    with pytest.raises(becomes) as caught, capture_logs() as logs:
        await predict(connect(replica))

    assert type(caught.value) is becomes
    assert "secret" not in caught.value.message
    if becomes is InternalError:
        assert caught.value.message == f"model brightness:1 failed with {answer.status}"
        [entry] = [entry for entry in logs if entry["event"] == "backend failed"]
        assert "of /models/secret" in entry["error"]


async def test_after_an_error_no_work_is_counted(
    start_replica: StartReplica, connect: Connect
) -> None:
    first, second = await start_replica(), await start_replica()
    backend = connect(first, second)
    for replica in (first, second):
        replica.backend.failures.extend([InternalError("a fault")] * 3)
    for _ in range(6):
        with pytest.raises(InternalError):
            await predict(backend)

    first.backend.batches.clear()
    second.backend.batches.clear()
    await asyncio.gather(*(predict(backend) for _ in range(8)))

    assert [len(first.backend.batches), len(second.backend.batches)] == [4, 4]
