"""Continuous batching: work goes out at once to an idle backend, and together to a busy one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from heliograph.errors import (
    BackendUnavailableError,
    DeadlineExceededError,
    InvalidArgumentError,
    ModelOutputError,
    OverloadedError,
)
from heliograph.repository import Repository
from heliograph_gateway.backends.fake import FakeBackend
from heliograph_gateway.batching import TURN, BatchLimits, ContinuousBatcher, Outcome
from heliograph_gateway.metrics import GatewayMetrics
from heliograph_gateway.ranking import RowOutput
from heliograph_gateway.servables import ServableVersion

if TYPE_CHECKING:
    from tests.conftest import Brightness


def rows(*levels: int) -> np.ndarray:
    """One row of the input per grey level."""
    column = np.array(levels, np.uint8).reshape(-1, 1, 1, 1)
    return np.broadcast_to(column, (len(levels), 4, 4, 1))


def levels(outcomes: Sequence[Outcome]) -> list[int]:
    """The grey levels that the scores of `bright` say."""
    found = []
    for outcome in outcomes:
        assert isinstance(outcome, RowOutput)
        assert outcome.scores().shape == (2,)
        found.append(round(float(outcome.scores()[1]) * 255))
    return found


def sizes(backend: FakeBackend) -> list[int]:
    return [len(batch) for _, batch in backend.batches]


@pytest.fixture
def backend(repository: Path, brightness: Brightness) -> FakeBackend:
    brightness.publish(repository)
    return FakeBackend(Repository(repository), brightness.compute)


MakeBatcher = Callable[..., ContinuousBatcher]


@pytest.fixture
def make_batcher(backend: FakeBackend, metrics: GatewayMetrics) -> MakeBatcher:
    def make(
        max_batch_size: int = 4,
        max_in_flight: int = 1,
        max_queued: int = 1000,
        allowed_sizes: tuple[int, ...] = (),
        max_timeout: float = 5.0,
    ) -> ContinuousBatcher:
        limits = BatchLimits(max_batch_size, max_in_flight, max_queued, allowed_sizes)
        return ContinuousBatcher(backend, metrics, limits, max_timeout=max_timeout)

    return make


class Callers:
    """Tasks that wait for the outcomes of their rows."""

    def __init__(self, batcher: ContinuousBatcher, version: ServableVersion) -> None:
        self._batcher = batcher
        self._version = version

    async def submit(
        self, *grey: int, seconds: float = 5.0, caller: str = "somebody"
    ) -> asyncio.Task[list[Outcome]]:
        """Submit rows and return as soon as they are in the queue."""
        deadline = time.monotonic() + seconds

        async def outcomes() -> list[Outcome]:
            answered = await self._batcher.submit(
                self._version, rows(*grey), deadline, caller=caller
            )
            return answered.outcomes

        task = asyncio.create_task(outcomes())
        await settle()
        return task


async def settle() -> None:
    """Let everything happen that does not wait for the backend."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
def callers(make_batcher: MakeBatcher, version: ServableVersion) -> Callers:
    """Callers of a batcher with batches of up to four rows, one of them at a time."""
    return Callers(make_batcher(), version)


async def test_an_idle_backend_gets_one_image_at_once(
    callers: Callers, backend: FakeBackend
) -> None:
    assert levels(await (await callers.submit(7))) == [7]
    assert sizes(backend) == [1]


async def test_while_the_backend_is_busy_a_batch_forms(
    callers: Callers, backend: FakeBackend
) -> None:
    backend.pause()
    tasks = [await callers.submit(level) for level in (1, 2, 3, 4)]
    assert sizes(backend) == [1]

    backend.resume()

    assert [levels(await task) for task in tasks] == [[1], [2], [3], [4]]
    assert sizes(backend) == [1, 3]


async def test_a_batch_is_never_larger_than_the_largest(
    callers: Callers, backend: FakeBackend
) -> None:
    backend.pause()
    tasks = [await callers.submit(level) for level in range(10)]
    backend.resume()

    assert [levels(await task) for task in tasks] == [[level] for level in range(10)]
    assert sizes(backend) == [1, 4, 4, 1]


async def test_more_rows_than_the_largest_batch_are_split_and_keep_their_order(
    callers: Callers, backend: FakeBackend
) -> None:
    outcomes = await (await callers.submit(*range(10)))

    assert levels(outcomes) == list(range(10))
    assert sizes(backend) == [4, 4, 2]


async def test_rows_of_several_callers_share_a_batch(
    callers: Callers, backend: FakeBackend
) -> None:
    backend.pause()
    first, second, third = [await callers.submit(*grey) for grey in ((1,), (2, 3, 4), (5, 6))]
    backend.resume()

    assert [levels(await task) for task in (first, second, third)] == [[1], [2, 3, 4], [5, 6]]
    assert sizes(backend) == [1, 4, 1]


async def test_no_rows_need_no_backend(callers: Callers, backend: FakeBackend) -> None:
    assert await (await callers.submit()) == []
    assert sizes(backend) == []


async def test_a_busy_backend_gets_another_batch_only_when_it_is_full(
    make_batcher: MakeBatcher, version: ServableVersion, backend: FakeBackend
) -> None:
    callers = Callers(make_batcher(max_in_flight=2), version)
    backend.pause()
    tasks = [await callers.submit(level) for level in range(4)]
    assert sizes(backend) == [1]

    tasks.append(await callers.submit(4))
    assert sizes(backend) == [1, 4]

    tasks += [await callers.submit(level) for level in range(5, 11)]
    assert sizes(backend) == [1, 4]

    backend.resume()
    assert [levels(await task) for task in tasks] == [[level] for level in range(11)]
    assert sizes(backend) == [1, 4, 4, 2]


async def test_every_idle_replica_gets_work_at_once(
    make_batcher: MakeBatcher, version: ServableVersion, backend: FakeBackend
) -> None:
    backend.replicas = 3
    callers = Callers(make_batcher(), version)
    backend.pause()
    tasks = [await callers.submit(level) for level in range(6)]
    assert sizes(backend) == [1, 1, 1]

    backend.resume()

    assert [levels(await task) for task in tasks] == [[level] for level in range(6)]
    assert sizes(backend) == [1, 1, 1, 3]


async def test_versions_do_not_share_a_batch_or_wait_for_each_other(
    make_batcher: MakeBatcher,
    brightness: Brightness,
    repository: Path,
    backend: FakeBackend,
    version: ServableVersion,
) -> None:
    from heliograph_gateway.servables import Servable

    brightness.publish(repository)
    batcher = make_batcher()
    another = ServableVersion.of(Servable("brightness", 2), brightness.contract())
    backend.pause()
    tasks = [await Callers(batcher, each).submit(3) for each in (version, another)]

    assert [servable.version for servable, _ in backend.batches] == [1, 2]
    backend.resume()
    assert [levels(await task) for task in tasks] == [[3], [3]]


async def test_the_size_of_every_batch_is_measured(
    callers: Callers, metrics: GatewayMetrics
) -> None:
    await (await callers.submit(*range(6)))

    assert metrics.registry.get_sample_value("heliograph_batch_size_count") == 2
    assert metrics.registry.get_sample_value("heliograph_batch_size_sum") == 6


# Callers take turns.


async def test_a_caller_with_many_images_does_not_make_the_others_wait_for_all(
    make_batcher: MakeBatcher, version: ServableVersion, backend: FakeBackend
) -> None:
    callers = Callers(make_batcher(max_batch_size=2 * TURN), version)
    backend.pause()
    blocking = await callers.submit(0)
    greedy = await callers.submit(*range(100), caller="greedy")
    modest = [await callers.submit(200 + place, caller=f"modest {place}") for place in range(3)]
    backend.resume()
    await blocking
    await asyncio.gather(*modest)
    second = backend.batches[1][1][:, 0, 0, 0].tolist()

    assert second == [*range(TURN), 200, 201, 202, *range(TURN, 2 * TURN - 3)]
    assert levels(await greedy) == list(range(100))


async def test_many_requests_of_one_caller_are_one_caller(
    make_batcher: MakeBatcher, version: ServableVersion, backend: FakeBackend
) -> None:
    callers = Callers(make_batcher(max_batch_size=4), version)
    backend.pause()
    blocking = await callers.submit(0)
    greedy = [await callers.submit(level, caller="greedy") for level in range(1, 30)]
    modest = await callers.submit(200, caller="modest")
    backend.resume()
    await blocking

    assert levels(await modest) == [200]
    assert 200 in backend.batches[1][1][:, 0, 0, 0]
    assert [levels(await task) for task in greedy] == [[level] for level in range(1, 30)]


# A full queue.


async def test_when_the_queue_is_full_a_caller_is_told_when_to_come_back(
    make_batcher: MakeBatcher,
    version: ServableVersion,
    backend: FakeBackend,
    metrics: GatewayMetrics,
) -> None:
    callers = Callers(make_batcher(max_queued=4), version)
    backend.pause()
    tasks = [await callers.submit(1), await callers.submit(2, 3), await callers.submit(4, 5)]

    with pytest.raises(OverloadedError, match="4 images wait for model brightness:1") as caught:
        await (await callers.submit(6))

    assert caught.value.retry_after == pytest.approx(0.1)
    rejected = "heliograph_admission_rejected_total"
    assert metrics.registry.get_sample_value(rejected, {"reason": "queue"}) == 1
    backend.resume()
    assert [levels(await task) for task in tasks] == [[1], [2, 3], [4, 5]]
    assert levels(await (await callers.submit(7))) == [7]


async def test_a_request_of_more_images_than_the_queue_has_room_is_taken_while_nobody_waits(
    make_batcher: MakeBatcher, version: ServableVersion, backend: FakeBackend
) -> None:
    callers = Callers(make_batcher(max_queued=4), version)

    assert levels(await (await callers.submit(*range(10)))) == list(range(10))


async def test_whoever_leaves_the_queue_makes_room_in_it(
    make_batcher: MakeBatcher, version: ServableVersion, backend: FakeBackend
) -> None:
    callers = Callers(make_batcher(max_queued=4), version)
    backend.pause()
    first, leaving = await callers.submit(1), await callers.submit(2, 3, 4, 5)
    leaving.cancel()
    await settle()
    staying = await callers.submit(6, 7, 8, 9)
    backend.resume()

    assert [levels(await task) for task in (first, staying)] == [[1], [6, 7, 8, 9]]


# Allowed batch sizes.


@pytest.mark.parametrize(
    ("images", "sent"), [(1, [1]), (2, [4]), (4, [4]), (5, [8]), (8, [8]), (11, [8, 4])]
)
async def test_a_batch_is_padded_to_the_next_allowed_size(
    images: int,
    sent: list[int],
    make_batcher: MakeBatcher,
    version: ServableVersion,
    backend: FakeBackend,
    metrics: GatewayMetrics,
) -> None:
    callers = Callers(make_batcher(max_batch_size=8, allowed_sizes=(1, 4, 8)), version)
    grey = range(10, 10 + images)

    assert levels(await (await callers.submit(*grey))) == list(grey)
    assert sizes(backend) == sent
    assert set(np.concatenate([batch.ravel() for _, batch in backend.batches])) == set(grey)
    value = metrics.registry.get_sample_value
    assert value("heliograph_batch_size_sum") == images
    assert value("heliograph_batch_padding_total") == sum(sent) - images


# Work that nobody waits for.


async def test_cancelled_work_is_never_sent(callers: Callers, backend: FakeBackend) -> None:
    backend.pause()
    tasks = [await callers.submit(level) for level in (1, 2, 3)]
    tasks[1].cancel()
    await settle()
    backend.resume()

    assert levels(await tasks[2]) == [3]
    assert [int(batch[0, 0, 0, 0]) for _, batch in backend.batches] == [1, 3]


async def test_expired_work_is_never_sent_and_its_caller_hears_of_it_in_time(
    callers: Callers, backend: FakeBackend
) -> None:
    backend.pause()
    first = await callers.submit(1)
    late = await callers.submit(2, seconds=0.02)
    last = await callers.submit(3)
    with pytest.raises(DeadlineExceededError):
        await late
    backend.resume()

    assert levels(await first) == [1]
    assert levels(await last) == [3]
    assert sizes(backend) == [1, 1]


async def test_a_short_deadline_does_not_shorten_that_of_its_neighbours(
    callers: Callers, backend: FakeBackend
) -> None:
    backend.pause()
    first = await callers.submit(1)
    short = await callers.submit(2, seconds=0.05)
    long = await callers.submit(3)
    backend.resume()
    backend.pause()
    await first
    await settle()
    assert sizes(backend) == [1, 2]

    with pytest.raises(DeadlineExceededError):
        await short
    backend.resume()
    assert levels(await long) == [3]


async def test_a_caller_that_leaves_a_batch_under_way_does_not_disturb_it(
    callers: Callers, backend: FakeBackend
) -> None:
    backend.pause()
    first = await callers.submit(1)
    leaving, staying = await callers.submit(2), await callers.submit(3)
    backend.resume()
    await first
    leaving.cancel()

    assert levels(await staying) == [3]


async def test_the_backend_never_gets_more_time_than_one_batch_may_take(
    make_batcher: MakeBatcher, version: ServableVersion, backend: FakeBackend
) -> None:
    callers = Callers(make_batcher(max_timeout=0.02), version)
    backend.pause()

    with pytest.raises(DeadlineExceededError, match="took longer than"):
        await (await callers.submit(1))


# Failures.


def _away_for_level_one(batch: np.ndarray) -> np.ndarray:
    if (batch[:, 0, 0, 0] == 1).any():
        raise BackendUnavailableError("away", retry_after=1.0)
    return np.full((len(batch), 2), 0.5, np.float32)


async def test_an_error_of_the_backend_reaches_exactly_those_in_the_batch(
    callers: Callers, backend: FakeBackend, version: ServableVersion
) -> None:
    backend.computes[version.servable] = _away_for_level_one
    backend.pause()
    tasks = [await callers.submit(level) for level in range(7)]
    backend.resume()

    outcomes = await asyncio.gather(*tasks, return_exceptions=True)

    assert sizes(backend) == [1, 4, 2]
    failed = [isinstance(outcome, BackendUnavailableError) for outcome in outcomes]
    assert failed == [False] + [True] * 4 + [False] * 2


async def test_a_failing_batch_does_not_stop_the_queue(
    callers: Callers, backend: FakeBackend
) -> None:
    for failure in (BackendUnavailableError("away"), RuntimeError("a bug"), ModelOutputError("")):
        backend.failures.append(failure)
        with pytest.raises(type(failure)):
            await (await callers.submit(1))

    assert levels(await (await callers.submit(2))) == [2]


async def test_a_caller_with_one_failed_batch_does_not_wait_for_its_others(
    callers: Callers, backend: FakeBackend
) -> None:
    backend.failures.append(BackendUnavailableError("away"))

    with pytest.raises(BackendUnavailableError):
        await (await callers.submit(*range(40)))

    await settle()
    assert sizes(backend) == [4]


def _refuse_odd(batch: np.ndarray) -> np.ndarray:
    if (batch[:, 0, 0, 0] % 2).any():
        raise InvalidArgumentError("an odd level cannot be decoded")
    bright = batch.reshape(len(batch), -1).mean(axis=1) / 255
    return np.stack([1 - bright, bright], axis=1).astype(np.float32)


@pytest.mark.parametrize("bad", [(), (2,), (0, 3), (0, 1, 2, 3)])
async def test_a_row_that_the_model_refuses_fails_alone(
    bad: tuple[int, ...],
    callers: Callers,
    backend: FakeBackend,
    version: ServableVersion,
) -> None:
    backend.computes[version.servable] = _refuse_odd
    grey = [21 + 10 * place if place in bad else 20 + 10 * place for place in range(4)]
    backend.pause()
    blocking = await callers.submit(0)
    tasks = [await callers.submit(level) for level in grey]
    backend.resume()
    await blocking

    for place, task in enumerate(tasks):
        [outcome] = await task
        if place in bad:
            assert isinstance(outcome, InvalidArgumentError)
        else:
            assert levels([outcome]) == [grey[place]]


async def test_a_row_that_the_model_refuses_is_found_in_few_calls(
    make_batcher: MakeBatcher, version: ServableVersion, backend: FakeBackend
) -> None:
    backend.computes[version.servable] = _refuse_odd
    batcher = make_batcher(max_batch_size=64)
    grey = [2 * place for place in range(64)]
    grey[37] += 1

    outcomes = await (await Callers(batcher, version).submit(*grey))

    assert isinstance(outcomes[37], InvalidArgumentError)
    good = [outcome for place, outcome in enumerate(outcomes) if place != 37]
    assert levels(good) == [level for place, level in enumerate(grey) if place != 37]
    assert len(backend.batches) == 1 + 2 * 6


# What a model answers.


@pytest.mark.parametrize(
    ("output", "given"),
    [
        (np.zeros((1, 3), np.float32), r"float32 \[1, 3\]"),
        (np.zeros((2, 2), np.float32), r"float32 \[2, 2\]"),
        (np.zeros((2,), np.float32), r"float32 \[2\]"),
        (np.zeros((1, 2, 1), np.float32), r"float32 \[1, 2, 1\]"),
        (np.zeros((0, 2), np.float32), r"float32 \[0, 2\]"),
        (np.zeros((1, 2), np.float64), r"float64 \[1, 2\]"),
        (np.zeros((1, 2), np.int64), r"int64 \[1, 2\]"),
        (np.array([[b"a", b"b"]], object), r"object \[1, 2\]"),
    ],
)
async def test_an_output_of_another_shape_or_dtype_is_an_error_of_the_model(
    output: np.ndarray,
    given: str,
    callers: Callers,
    backend: FakeBackend,
    version: ServableVersion,
) -> None:
    backend.computes[version.servable] = lambda batch: output

    with pytest.raises(ModelOutputError, match=f"gave {given} as scores instead of float32"):
        await (await callers.submit(1))


async def test_an_output_that_is_missing_is_an_error_of_the_model(
    callers: Callers, version: ServableVersion
) -> None:
    version.contract.output.tensor = "another"

    with pytest.raises(ModelOutputError, match="gave nothing as another"):
        await (await callers.submit(1))
