"""One process's part of a step: calls sent when they are due, or when a caller is free."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from heliograph_loadtest.arrivals import arrivals
from heliograph_loadtest.calls import Calls
from heliograph_loadtest.load import ClosedLoop, OpenLoop, Share, Step
from heliograph_loadtest.recording import NOT_SENT, OK, Outcome, Recorder

PAUSE_AFTER_FAILURE: Final = 0.01
"""Seconds that a caller of a closed loop waits after a call that failed: otherwise a target that
refuses connections would be asked as often as the processor allows."""

PROBE_INTERVAL: Final = 0.02
"""Seconds between the timers that show how late the event loop of a closed loop is."""

BURST: Final = 8
"""Calls that an open loop behind its schedule sends before it looks for answers again."""

PATIENCE: Final = 0.1
"""Part of a call's timeout after which an open loop gives the call up unsent. Those that are sent
have most of their time left: otherwise a target beyond its limits would only get hopeless calls."""

SHIPPING_INTERVAL: Final = 0.5
"""Seconds between the records that a generator process hands over."""

GRACE: Final = 1.0
"""Seconds that calls get to end after an interruption, or after their own timeout."""

_UNSENT: Final = Outcome(NOT_SENT)


@dataclass(frozen=True)
class Effort:
    """What one process did in a step, and what that took."""

    seconds: float
    """Seconds measured: the step's duration, or less when it ended early."""
    calls: int
    """Calls sent in that time."""
    cpu_seconds: float
    """Processor time of the whole process in that time."""
    busy_seconds: float
    """How long the event loop had something to do in that time, if only to wait for a core."""


class Generator:
    """Sends one process's share of the steps of a run."""

    def __init__(
        self,
        calls: Calls,
        share: Share,
        timeout: float,
        seed: int,
        idle_seconds: Callable[[], float],
    ) -> None:
        """Prepare to send.

        Args:
            calls: How to ask.
            share: Which part of each load is this process's.
            timeout: Seconds that a call has from the moment it is due.
            seed: Of random arrivals.
            idle_seconds: Says how long the event loop has had nothing to do so far.
        """
        self.calls = calls
        self.share = share
        self.timeout = timeout
        self.seed = seed
        self.idle_seconds = idle_seconds
        self.stopping = asyncio.Event()

    def stop(self) -> None:
        """Send nothing more: a step under way ends early, and later ones at once."""
        self.stopping.set()

    async def run(self, step: Step, start: float, recorder: Recorder) -> Effort:
        """Run one step, until its last call has ended.

        Args:
            step: The whole step, of which this process makes its share.
            start: When its warm-up starts, by the event loop's clock, which is `time.monotonic`.
            recorder: Takes every call; its time 0 is the end of the warm-up.
        """
        return await _StepRun(self, step, start, recorder).run()


class _StepRun:
    """One step under way. Times are those of the event loop's clock."""

    def __init__(self, generator: Generator, step: Step, start: float, recorder: Recorder) -> None:
        self._generator = generator
        self._load = step.load
        self._recorder = recorder
        self._loop = asyncio.get_running_loop()
        self._start = start
        self._origin = start + step.warmup
        self._end = self._origin + step.duration
        # A nanosecond less, so that rounding lets no call in that is due at the very end.
        self._horizon = step.warmup + step.duration - 1e-9
        self._most = generator.share.of(step.max_calls)
        self._limit = max(generator.share.of(step.max_in_flight), 1)
        self._begun = 0
        self._in_flight: set[asyncio.Task[Any]] = set()
        self._one_ended = asyncio.Event()
        self._error: BaseException | None = None
        self._sent = 0
        self._before = self._clocks()
        self._effort: Effort | None = None

    async def run(self) -> Effort:
        """Send, wait for what is under way, and return what it took."""
        await self._sleep_until(self._start)
        timers = (
            self._loop.call_at(self._origin, self._start_measuring),
            self._loop.call_at(self._end, self._stop_measuring),
        )
        sending = asyncio.create_task(
            self._send_by_the_clock(self._load)
            if isinstance(self._load, OpenLoop)
            else self._send_when_answered(self._load)
        )
        stopped = asyncio.create_task(self._generator.stopping.wait())
        await asyncio.wait((sending, stopped), return_when=asyncio.FIRST_COMPLETED)
        effort = self._stop_measuring()
        for timer in timers:
            timer.cancel()
        await _cancel(sending, stopped)
        await self._drain()
        if not sending.cancelled():
            sending.result()
        if self._error is not None:
            raise self._error
        return effort

    def _start_measuring(self) -> None:
        self._before = self._clocks()

    def _stop_measuring(self) -> Effort:
        """Note the effort at the end of the measured time, or now when that has not come."""
        if self._effort is None:
            seconds = min(self._loop.time(), self._end) - self._origin
            if seconds <= 0:
                return Effort(0.0, 0, 0.0, 0.0)
            now = self._clocks()
            sent, cpu, idle, clock = (
                after - before for after, before in zip(now, self._before, strict=True)
            )
            self._effort = Effort(seconds, int(sent), cpu, max(clock - idle, 0.0))
        return self._effort

    def _clocks(self) -> tuple[float, float, float, float]:
        idle = self._generator.idle_seconds()
        return self._sent, time.process_time(), idle, self._loop.time()

    async def _send_by_the_clock(self, load: OpenLoop) -> None:
        held_until = -math.inf
        patience = PATIENCE * self._generator.timeout
        for offset in arrivals(load, self._generator.share, self._generator.seed):
            if offset >= self._horizon:
                await self._sleep_until(self._end)
                break
            due = self._start + offset
            if due > self._loop.time() or self._begun % BURST == 0:
                # Behind schedule this is one turn of the event loop, in which answers are noticed.
                await self._sleep_until(due)
            while len(self._in_flight) >= self._limit:
                self._one_ended.clear()
                await self._one_ended.wait()
                held_until = self._loop.time()
            number = self._next_number()
            if number is None:
                break
            held = due <= held_until
            if self._loop.time() <= due + patience:
                self._launch(self._call(number, due, held))
            else:
                self._record(due, due + patience, due + patience, _UNSENT, held)
        while self._in_flight:
            await asyncio.wait(self._in_flight)

    async def _send_when_answered(self, load: ClosedLoop) -> None:
        for _ in range(self._generator.share.of(load.concurrency)):
            self._launch(self._call_repeatedly())
        probing = asyncio.create_task(self._probe())
        try:
            while self._in_flight:
                await asyncio.wait(self._in_flight)
        finally:
            await _cancel(probing)

    async def _call_repeatedly(self) -> None:
        while (now := self._loop.time()) < self._end and not self._generator.stopping.is_set():
            number = self._next_number()
            if number is None:
                break
            if not await self._call(number, now, held=False):
                await asyncio.sleep(PAUSE_AFTER_FAILURE)

    async def _call(self, number: int, due: float, held: bool) -> bool:
        """Make a call, record it, and return whether it was answered."""
        self._sent += 1
        sent = self._loop.time()
        timeout = max(due + self._generator.timeout - sent, 0.001)
        outcome = await self._generator.calls(number, timeout)
        self._record(due, sent, self._loop.time(), outcome, held)
        return outcome.status == OK

    async def _probe(self) -> None:
        await self._sleep_until(self._origin)
        while True:
            due = self._loop.time() + PROBE_INTERVAL
            await self._sleep_until(due)
            self._recorder.probe(self._loop.time() - due)

    def _next_number(self) -> int | None:
        """Return which request's turn it is; None when there have been enough."""
        if self._begun >= self._most:
            return None
        share = self._generator.share
        number = share.process + self._begun * share.processes
        self._begun += 1
        return number

    def _record(self, due: float, sent: float, ended: float, outcome: Outcome, held: bool) -> None:
        origin = self._origin
        self._recorder.add(due - origin, sent - origin, ended - origin, outcome, held=held)

    def _launch(self, call: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(call)
        self._in_flight.add(task)
        task.add_done_callback(self._landed)

    def _landed(self, task: asyncio.Task[Any]) -> None:
        self._in_flight.discard(task)
        self._one_ended.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._error = error

    async def _drain(self) -> None:
        """Let the calls under way end, and give up those that do not. These are not recorded."""
        if self._in_flight:
            await asyncio.wait(self._in_flight, timeout=GRACE)
        await _cancel(*self._in_flight)

    async def _sleep_until(self, when: float) -> None:
        await asyncio.sleep(max(when - self._loop.time(), 0))


async def _cancel(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
