"""Continuous batching: an idle backend gets work at once, a busy one finds a batch waiting.

There is no fixed delay. While a backend works on a batch, requests queue up, and the next batch
is whatever has queued up by then: batches grow with the load by themselves.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from heliograph.errors import DeadlineExceededError, InvalidArgumentError, ModelOutputError
from heliograph_gateway.backends import Backend
from heliograph_gateway.metrics import GatewayMetrics
from heliograph_gateway.servables import Servable, ServableVersion
from heliograph_gateway.statistics import Stopwatch

Outcome = np.ndarray | InvalidArgumentError
"""What became of one row: float32 [1, classes], or why the model refuses this row."""


class Batcher(Protocol):
    """Turns rows of several requests into batches for a backend."""

    async def submit(
        self,
        version: ServableVersion,
        rows: Sequence[np.ndarray],
        deadline: float,
        queue_time: Stopwatch | None = None,
    ) -> list[Outcome]:
        """Run rows through a version.

        Args:
            version: What computes.
            rows: Each [1, …] with the dtype and shape of the version's contract.
            deadline: Of the caller, in seconds of `time.monotonic()`.
            queue_time: Shows afterwards how long it took until the last row was sent.

        Returns:
            The outcome of each row, in their order.

        Raises:
            DeadlineExceededError: The deadline passed.
            HeliographError: What the backend answered, where it is not the fault of a row.
        """


@dataclass(eq=False)
class _Work:
    row: np.ndarray
    deadline: float
    outcome: asyncio.Future[Outcome]
    sent: int = 0
    """When it left the queue, in nanoseconds of `time.perf_counter_ns()`."""

    def abandoned(self, now: float) -> bool:
        """Whether nobody waits for the outcome any more."""
        return self.outcome.done() or now >= self.deadline


@dataclass(eq=False)
class _Queue:
    waiting: deque[_Work] = field(default_factory=deque)
    in_flight: int = 0


class ContinuousBatcher:
    """One queue per servable; at most so many batches of each under way at once."""

    def __init__(
        self,
        backend: Backend,
        metrics: GatewayMetrics,
        *,
        max_batch_size: int,
        max_in_flight: int,
        max_timeout: float,
    ) -> None:
        """Make a batcher.

        Args:
            backend: Runs the batches.
            metrics: Where batch sizes are counted.
            max_batch_size: Largest batch, in rows.
            max_in_flight: Batches of one servable that the backend may have at once.
            max_timeout: Longest time in seconds that one batch may take.
        """
        self._backend = backend
        self._metrics = metrics
        self._max_batch_size = max_batch_size
        self._max_in_flight = max_in_flight
        self._max_timeout = max_timeout
        self._queues: dict[Servable, _Queue] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def submit(
        self,
        version: ServableVersion,
        rows: Sequence[np.ndarray],
        deadline: float,
        queue_time: Stopwatch | None = None,
    ) -> list[Outcome]:
        """See Batcher."""
        if not rows:
            return []
        loop = asyncio.get_running_loop()
        start = time.perf_counter_ns()
        works = [_Work(row, deadline, loop.create_future()) for row in rows]
        queue = self._queues.setdefault(version.servable, _Queue())
        queue.waiting.extend(works)
        self._dispatch(version, queue)
        try:
            # The event loop's clock is `time.monotonic()`.
            async with asyncio.timeout_at(deadline):
                outcomes = await asyncio.gather(*(work.outcome for work in works))
        except TimeoutError as error:
            raise DeadlineExceededError(
                "the deadline passed before the model had answered"
            ) from error
        finally:
            # Whoever leaves early takes along what is still waiting.
            for work in works:
                work.outcome.cancel()
        if queue_time:
            queue_time.nanoseconds = max(work.sent for work in works) - start
        return outcomes

    def _dispatch(self, version: ServableVersion, queue: _Queue) -> None:
        while queue.in_flight < self._max_in_flight:
            batch = self._take(queue)
            if not batch:
                break
            queue.in_flight += 1
            task = asyncio.create_task(self._run(version, queue, batch))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        if not queue.in_flight and not queue.waiting:
            self._queues.pop(version.servable, None)

    def _take(self, queue: _Queue) -> list[_Work]:
        now, sent = time.monotonic(), time.perf_counter_ns()
        batch: list[_Work] = []
        while queue.waiting and len(batch) < self._max_batch_size:
            work = queue.waiting.popleft()
            if not work.abandoned(now):
                work.sent = sent
                batch.append(work)
        return batch

    async def _run(self, version: ServableVersion, queue: _Queue, batch: list[_Work]) -> None:
        try:
            await self._settle(version, batch)
        finally:
            queue.in_flight -= 1
            self._dispatch(version, queue)

    async def _settle(self, version: ServableVersion, batch: list[_Work]) -> None:
        """Give every work of a batch its outcome."""
        try:
            outputs = await self._predict(version, batch)
        except InvalidArgumentError as error:
            if len(batch) == 1:
                _set_outcome(batch[0], error)
                return
            # One bad row fails a batch as a whole, as where the graph decodes images. Halving
            # finds it in a few calls, and its neighbours get their answers.
            now = time.monotonic()
            middle = len(batch) // 2
            for half in (batch[:middle], batch[middle:]):
                if wanted := [work for work in half if not work.abandoned(now)]:
                    await self._settle(version, wanted)
        except Exception as error:  # noqa: BLE001 - each caller raises it again
            for work in batch:
                if not work.outcome.done():
                    work.outcome.set_exception(error)
        else:
            for index, work in enumerate(batch):
                _set_outcome(work, outputs[index : index + 1])

    async def _predict(self, version: ServableVersion, batch: list[_Work]) -> np.ndarray:
        rows = batch[0].row if len(batch) == 1 else np.concatenate([work.row for work in batch])
        self._metrics.batch(len(rows))
        contract = version.contract
        # The caller with the most time left decides, so that a short deadline does not fail the
        # others; each caller's own deadline still ends its wait.
        remaining = max(work.deadline for work in batch) - time.monotonic()
        version.statistics.last_batch = time.time()
        start = time.perf_counter_ns()
        outputs = await self._backend.predict(
            version.servable,
            {contract.input.tensor: rows},
            signature=contract.input.signature,
            timeout=min(remaining, self._max_timeout),
        )
        output = outputs.get(contract.output.tensor)
        expected = (len(rows), len(version.class_names))
        if output is None or output.dtype != np.float32 or output.shape != expected:
            given = "nothing" if output is None else f"{output.dtype} {list(output.shape)}"
            raise ModelOutputError(
                f"model {version.servable} gave {given} as {contract.output.tensor} instead of "
                f"float32 {list(expected)}"
            )
        version.statistics.batches[len(rows)].add(time.perf_counter_ns() - start)
        return output


def _set_outcome(work: _Work, outcome: Outcome) -> None:
    if not work.outcome.done():
        work.outcome.set_result(outcome)
