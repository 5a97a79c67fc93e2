"""Continuous batching: an idle backend gets work at once, a busy one finds a full batch waiting.

There is no fixed delay. While a backend works, rows queue up, and the next batch is whatever has
queued up by then: batches grow with the load by themselves. A second batch is sent to a busy
backend only when it is full. Callers take turns, so that one with many images does not make the
others wait for all of them.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from heliograph.errors import (
    DeadlineExceededError,
    InvalidArgumentError,
    ModelOutputError,
    OverloadedError,
)
from heliograph_gateway.backends import Backend
from heliograph_gateway.metrics import GatewayMetrics
from heliograph_gateway.ranking import BatchOutput, RowOutput
from heliograph_gateway.servables import Servable, ServableVersion

Outcome = RowOutput | InvalidArgumentError
"""What became of one row: what the model gave, or why it refuses this row."""

TURN = 8
"""Rows that a caller gets into a batch before it is the next caller's turn."""
_RETRY_AFTER = 0.1
"""Seconds after which a caller who found the queue full may come back: time for several batches."""


class Batcher(Protocol):
    """Turns rows of several requests into batches for a backend."""

    async def submit(
        self,
        version: ServableVersion,
        rows: np.ndarray,
        deadline: float,
        *,
        caller: str = "",
    ) -> Answered:
        """Run rows through a version.

        Args:
            version: What computes.
            rows: [N, …] with the dtype and shape of the version's contract.
            deadline: Of the caller, in seconds of `time.monotonic()`.
            caller: Whose turn it is: callers share the batches equally.

        Raises:
            OverloadedError: The queue of the version is full.
            DeadlineExceededError: The deadline passed.
            HeliographError: What the backend answered, where it is not the fault of a row.
        """


class Answered(NamedTuple):
    """What became of the rows of a submission."""

    outcomes: list[Outcome]
    """Of each row, in their order."""
    queued: int
    """Nanoseconds until the last row was sent to the backend."""


@dataclass(frozen=True)
class BatchLimits:
    """How large batches and queues may get."""

    max_batch_size: int
    """Largest batch, in rows."""
    max_in_flight: int
    """Batches of one version that one replica of the backend may have at once."""
    max_queued: int
    """Rows that may wait for one version; a submission is taken whole where none wait."""
    allowed_sizes: tuple[int, ...] = ()
    """Sizes that batches are padded to, ascending, the last one `max_batch_size`; empty: batches go
    as they are."""

    def padding(self, rows: int) -> int:
        """Return how many rows are to be added to a batch of `rows`."""
        return next((size - rows for size in self.allowed_sizes if size >= rows), 0)


@dataclass(eq=False, slots=True)
class _Submission:
    """Rows of one request. They may go out in several batches."""

    rows: np.ndarray
    deadline: float
    answered: asyncio.Future[list[Outcome]]
    outcomes: list[Outcome | None]
    missing: int
    taken: int = 0
    """Rows that have left the queue."""
    last_sent: int = 0
    """When the last of them did, in nanoseconds of `time.perf_counter_ns()`."""

    @property
    def left(self) -> int:
        """Rows that are still in the queue."""
        return len(self.rows) - self.taken

    def abandoned(self, now: float) -> bool:
        """Whether nobody waits for the outcome any more."""
        return self.answered.done() or now >= self.deadline

    def settle(self, start: int, outcomes: Sequence[Outcome]) -> None:
        """Note what became of some rows; the last ones answer the submission."""
        self.outcomes[start : start + len(outcomes)] = outcomes
        self.missing -= len(outcomes)
        if not self.missing and not self.answered.done():
            self.answered.set_result([outcome for outcome in self.outcomes if outcome is not None])

    def expire(self) -> None:
        """Answer the submission because its deadline has come."""
        self.fail(DeadlineExceededError("the deadline passed before the model had answered"))

    def fail(self, error: Exception) -> None:
        """Answer the submission with an error, whatever becomes of its other rows."""
        if not self.answered.done():
            self.answered.set_exception(error)


class _Slice(NamedTuple):
    """Rows of one submission in one batch."""

    submission: _Submission
    start: int
    stop: int

    @property
    def size(self) -> int:
        return self.stop - self.start

    @property
    def rows(self) -> np.ndarray:
        return self.submission.rows[self.start : self.stop]

    def settle(self, outcomes: Sequence[Outcome]) -> None:
        self.submission.settle(self.start, outcomes)


@dataclass(eq=False, slots=True)
class _Queue:
    """What waits for one version, by caller; the first caller is the next whose turn it is."""

    callers: OrderedDict[str, deque[_Submission]] = field(default_factory=OrderedDict)
    waiting: int = 0
    """Rows of all of them."""
    in_flight: int = 0
    """Batches at the backend."""

    def add(self, caller: str, submission: _Submission) -> None:
        """Put a submission behind what its caller has waiting."""
        self.callers.setdefault(caller, deque()).append(submission)
        self.waiting += len(submission.rows)

    def drop(self, caller: str, submission: _Submission) -> None:
        """Take out a submission for which nobody waits any more."""
        submissions = self.callers.get(caller)
        if submissions and submission in submissions:
            submissions.remove(submission)
            self.waiting -= submission.left
            if not submissions:
                del self.callers[caller]

    def take(self, room: int) -> list[_Slice]:
        """Take up to so many rows, in turns; what nobody waits for is dropped."""
        now, sent = time.monotonic(), time.perf_counter_ns()
        slices: list[_Slice] = []
        while room and self.callers:
            caller, submissions = self.callers.popitem(last=False)
            submission = submissions[0]
            if submission.abandoned(now):
                self.waiting -= submission.left
                submissions.popleft()
            else:
                start = submission.taken
                count = min(room, TURN, submission.left)
                submission.taken += count
                submission.last_sent = sent
                room -= count
                self.waiting -= count
                if slices and slices[-1].submission is submission:
                    start = slices.pop().start
                slices.append(_Slice(submission, start, submission.taken))
                if not submission.left:
                    submissions.popleft()
            if submissions:
                self.callers[caller] = submissions
        return slices


class ContinuousBatcher:
    """One queue per servable; at most so many batches of each under way at once."""

    def __init__(
        self,
        backend: Backend,
        metrics: GatewayMetrics,
        limits: BatchLimits,
        *,
        max_timeout: float,
    ) -> None:
        """Make a batcher.

        Args:
            backend: Runs the batches.
            metrics: Where batch sizes are counted.
            limits: Of batches and queues.
            max_timeout: Longest time in seconds that one batch may take.
        """
        self._backend = backend
        self._metrics = metrics
        self._limits = limits
        self._max_timeout = max_timeout
        self._queues: dict[Servable, _Queue] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def submit(
        self,
        version: ServableVersion,
        rows: np.ndarray,
        deadline: float,
        *,
        caller: str = "",
    ) -> Answered:
        """See Batcher."""
        count = len(rows)
        if not count:
            return Answered([], 0)
        loop = asyncio.get_running_loop()
        queue = self._queues.get(version.servable)
        if queue is None:
            queue = self._queues[version.servable] = _Queue()
        if queue.waiting and queue.waiting + count > self._limits.max_queued:
            self._metrics.rejected("queue")
            raise OverloadedError(
                f"{queue.waiting} images wait for model {version.servable}; the limit is "
                f"{self._limits.max_queued}",
                retry_after=_RETRY_AFTER,
            )
        start = time.perf_counter_ns()
        submission = _Submission(rows, deadline, loop.create_future(), [None] * count, count)
        queue.add(caller, submission)
        self._dispatch(version, queue)
        # The event loop's clock is `time.monotonic()`.
        timer = loop.call_at(deadline, submission.expire)
        try:
            outcomes = await submission.answered
        finally:
            timer.cancel()
            # Whoever leaves early takes along what is still waiting.
            if submission.left:
                queue.drop(caller, submission)
        return Answered(outcomes, submission.last_sent - start)

    def _dispatch(self, version: ServableVersion, queue: _Queue) -> None:
        replicas = self._backend.replicas
        while queue.waiting:
            if queue.in_flight >= replicas and (
                queue.waiting < self._limits.max_batch_size
                or queue.in_flight >= replicas * self._limits.max_in_flight
            ):
                return
            slices = queue.take(self._limits.max_batch_size)
            if slices:
                queue.in_flight += 1
                task = asyncio.create_task(self._run(version, queue, slices))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
        if not queue.in_flight:
            self._queues.pop(version.servable, None)

    async def _run(self, version: ServableVersion, queue: _Queue, batch: list[_Slice]) -> None:
        try:
            await self._settle(version, batch)
        finally:
            queue.in_flight -= 1
            self._dispatch(version, queue)

    async def _settle(self, version: ServableVersion, batch: list[_Slice]) -> None:
        """Give every row of a batch its outcome."""
        try:
            output = await self._predict(version, batch)
        except InvalidArgumentError as error:
            if sum(part.size for part in batch) == 1:
                batch[0].settle([error])
                return
            # One bad row fails a batch as a whole, as where the graph decodes images. Halving
            # finds it in a few calls, and its neighbours get their answers.
            now = time.monotonic()
            for half in _halves(batch):
                if wanted := [part for part in half if not part.submission.abandoned(now)]:
                    await self._settle(version, wanted)
        except Exception as error:  # noqa: BLE001 - each caller raises it again
            for part in batch:
                part.submission.fail(error)
        else:
            position = 0
            for part in batch:
                end = position + part.size
                part.settle(output.rows(position, end))
                position = end

    async def _predict(self, version: ServableVersion, batch: list[_Slice]) -> BatchOutput:
        rows = self._rows(batch)
        contract = version.contract
        # The caller with the most time left decides, so that a short deadline does not fail the
        # others; each caller's own deadline still ends its wait.
        remaining = max(part.submission.deadline for part in batch) - time.monotonic()
        version.statistics.last_batch = time.time()
        sent = time.perf_counter()
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
        full = len(rows) >= self._limits.max_batch_size
        version.statistics.computed(len(rows), sent, time.perf_counter(), full=full)
        return BatchOutput(output, contract.output.activation)

    def _rows(self, batch: list[_Slice]) -> np.ndarray:
        """Join the rows of a batch, and pad them where only some sizes are allowed."""
        parts = [part.rows for part in batch]
        count = sum(map(len, parts))
        padding = self._limits.padding(count)
        if padding:
            # Rows of the batch itself: zeros may be what a model has no answer for.
            parts.append(np.repeat(parts[0][:1], padding, axis=0))
        self._metrics.batch(count, padding)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _halves(batch: list[_Slice]) -> tuple[list[_Slice], list[_Slice]]:
    """Split a batch in the middle of its rows."""
    room = sum(part.size for part in batch) // 2
    first: list[_Slice] = []
    second: list[_Slice] = []
    for part in batch:
        middle = min(part.start + room, part.stop)
        room -= middle - part.start
        if middle > part.start:
            first.append(part._replace(stop=middle))
        if part.stop > middle:
            second.append(part._replace(start=middle))
    return first, second
