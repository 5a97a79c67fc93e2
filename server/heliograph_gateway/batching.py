"""Continuous batching: an idle backend gets work at once, a busy one finds a batch waiting.

There is no fixed delay. While a backend works on a batch, requests queue up, and the next batch
is whatever has queued up by then: batches grow with the load by themselves.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from heliograph.errors import DeadlineExceededError, HeliographError, ModelOutputError
from heliograph_gateway.backends import Backend
from heliograph_gateway.metrics import GatewayMetrics
from heliograph_gateway.servables import Servable, ServableVersion


class Batcher(Protocol):
    """Turns rows of several requests into batches for a backend."""

    async def submit(
        self, version: ServableVersion, rows: np.ndarray, deadline: float
    ) -> np.ndarray:
        """Run rows through a version.

        Args:
            version: What computes.
            rows: [n, …] with the dtype and shape of the version's contract, n ≥ 1.
            deadline: Of the caller, in seconds of `time.monotonic()`.

        Returns:
            float32 [n, classes], in the order of the rows.

        Raises:
            DeadlineExceededError: The deadline passed.
            HeliographError: What the backend answered.
        """


@dataclass(eq=False)
class _Work:
    rows: np.ndarray
    deadline: float
    result: asyncio.Future[np.ndarray]

    def abandoned(self, now: float) -> bool:
        """Whether nobody waits for the result any more."""
        if self.result.done():  # Cancelled with its caller.
            return True
        if now < self.deadline:
            return False
        self.result.set_exception(
            DeadlineExceededError("the deadline passed while the request waited for the backend")
        )
        return True


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
        self, version: ServableVersion, rows: np.ndarray, deadline: float
    ) -> np.ndarray:
        """See Batcher. Rows beyond the largest batch are split."""
        size = self._max_batch_size
        if len(rows) <= size:
            return await self._enqueue(version, rows, deadline)
        parts = [rows[start : start + size] for start in range(0, len(rows), size)]
        results = await asyncio.gather(*(self._enqueue(version, part, deadline) for part in parts))
        return np.concatenate(results)

    async def _enqueue(
        self, version: ServableVersion, rows: np.ndarray, deadline: float
    ) -> np.ndarray:
        queue = self._queues.setdefault(version.servable, _Queue())
        work = _Work(rows, deadline, asyncio.get_running_loop().create_future())
        queue.waiting.append(work)
        self._dispatch(version, queue)
        return await work.result

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
        now = time.monotonic()
        batch: list[_Work] = []
        size = 0
        while queue.waiting:
            work = queue.waiting[0]
            if work.abandoned(now):
                queue.waiting.popleft()
                continue
            if batch and size + len(work.rows) > self._max_batch_size:
                break
            batch.append(queue.waiting.popleft())
            size += len(work.rows)
        return batch

    async def _run(self, version: ServableVersion, queue: _Queue, batch: list[_Work]) -> None:
        try:
            outputs = await self._predict(version, batch)
        except HeliographError as error:
            for work in batch:
                if not work.result.done():
                    work.result.set_exception(error)
        except BaseException as error:
            for work in batch:
                if not work.result.done():
                    work.result.set_exception(error)
            if not isinstance(error, Exception):
                raise
        else:
            start = 0
            for work in batch:
                end = start + len(work.rows)
                if not work.result.done():
                    work.result.set_result(outputs[start:end])
                start = end
        finally:
            queue.in_flight -= 1
            self._dispatch(version, queue)

    async def _predict(self, version: ServableVersion, batch: list[_Work]) -> np.ndarray:
        rows = batch[0].rows if len(batch) == 1 else np.concatenate([work.rows for work in batch])
        self._metrics.batch(len(rows))
        contract = version.contract
        # The caller with the most time left decides, so that a short deadline does not fail the
        # others; each caller's own deadline still ends its wait.
        remaining = max(work.deadline for work in batch) - time.monotonic()
        outputs = await self._backend.predict(
            version.servable,
            {contract.input.tensor: rows},
            signature=contract.input.signature,
            timeout=min(remaining, self._max_timeout),
        )
        output = outputs.get(contract.output.tensor)
        expected = (len(rows), len(version.class_names))
        if output is None or output.shape != expected:
            given = "nothing" if output is None else f"shape {list(output.shape)}"
            raise ModelOutputError(
                f"model {version.servable} gave {given} as {contract.output.tensor} instead of "
                f"shape {list(expected)}"
            )
        return output
