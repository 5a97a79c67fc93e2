"""`classify_many` for asyncio: a stream on every channel, or batches where there are no streams.

One task reads the images; for each channel one task opens the stream, reads the answers, and opens
it again when it breaks, with a second one that sends. All meet at the ledger.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress

from heliograph import classifier_calls as calls
from heliograph.errors import HeliographError, UnimplementedError
from heliograph.ledger import Ledger
from heliograph.results import Failure, Result
from heliograph.stream_calls import AioStreamCall, AioStreamMethod
from heliograph.streams import (
    BATCHES_IN_FLIGHT,
    END_SECONDS,
    LEAST_SECONDS,
    StreamSupport,
    answer,
    ended,
    message,
)
from heliograph.transport import AioUnaryCall
from heliograph.under_way import Group, Item, Lane
from heliograph.v1.classifier_pb2 import BatchClassifyResponse


class AioExchange:
    """One run of `classify_many`."""

    def __init__(
        self,
        ledger: Ledger,
        methods: Callable[[], Sequence[AioStreamMethod]],
        batch_classify: AioUnaryCall[BatchClassifyResponse],
        support: StreamSupport,
        target: str,
        renew: Callable[[Item], Awaitable[Item]],
    ) -> None:
        """Prepare a run; arguments as for `heliograph.streams.Exchange`.

        The methods come from a function, since channels are opened on a running event loop.
        """
        self._ledger = ledger
        self._methods = methods
        self._lanes: list[Lane] = []
        self._batch_classify = batch_classify
        self._support = support
        self._target = target
        self._renew = renew
        self._to_send = _Signal()
        self._news = _Signal()
        self._room = _Signal()
        self._closing = False
        self._batching = False
        self._batches = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def results(
        self, items: AsyncIterator[Item | Failure]
    ) -> AsyncIterator[Result | Failure]:
        """Send images while there is room for them, and yield their results in order.

        Raises:
            HeliographError: One that every other image would meet.
        """
        try:
            self._begin(items)
            while given := await self._await_news():
                for result in given:
                    yield result
        finally:
            await self._close()

    def _begin(self, items: AsyncIterator[Item | Failure]) -> None:
        self._spawn(self._read(items))
        if self._support.missing:
            self._start_batches()
        else:
            for method in self._methods():
                self._lanes.append(Lane())
                self._spawn(self._run_lane(method, self._lanes[-1]))

    async def _await_news(self) -> list[Result | Failure]:
        """Return results that are ready; none is the end."""
        while True:
            self._check()
            now = time.monotonic()
            self._ledger.expire(now)
            given = self._ledger.give()
            self._room.notify()
            outdated = self._ledger.take_outdated()
            for item in outdated:
                await self._send_again(item)
            if given or self._ledger.finished:
                return given
            if not outdated:
                await self._news.wait(now, self._ledger.expires())

    async def _send_again(self, item: Item) -> None:
        try:
            self._ledger.renew(item, await self._renew(item))
            self._to_send.notify()
        except HeliographError as error:
            self._ledger.fail(item, error)

    async def _read(self, items: AsyncIterator[Item | Failure]) -> None:
        async for item in items:
            if self._ledger.add(item, time.monotonic()):
                self._to_send.notify()
            self._news.notify()
            while not self._ledger.room:
                await self._room.wait()
        self._ledger.end()
        self._to_send.notify()
        self._news.notify()

    async def _close(self) -> None:
        self._closing = True
        self._to_send.notify()
        in_order = self._ledger.finished and not any(lane.groups for lane in self._lanes)
        if in_order and self._tasks:
            await asyncio.wait(self._tasks, timeout=END_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, run: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(run)
        task.add_done_callback(lambda _: self._news.notify())
        self._tasks.append(task)

    def _check(self) -> None:
        """Raise what a task has failed with."""
        for task in self._tasks:
            if task.done():
                task.result()

    # Streams.

    async def _run_lane(self, method: AioStreamMethod, lane: Lane) -> None:
        while (first := await self._next(lane)) is not None:
            error: HeliographError | None = None
            try:
                await self._converse(method.open(), lane, first)
            except HeliographError as broken:
                error = broken
            self._note_end(lane, error)
            self._to_send.notify()
            self._news.notify()

    async def _converse(self, call: AioStreamCall, lane: Lane, first: bytes) -> None:
        sending = asyncio.create_task(self._send(call, lane, first))
        try:
            async for data in call:
                number, results = answer(data, lane, self._target)
                self._ledger.answered(lane, number, results, time.monotonic())
                self._to_send.notify()
                self._news.notify()
                self._room.notify()
        finally:
            sending.cancel()
            call.cancel()
            with suppress(asyncio.CancelledError):
                await sending

    async def _send(self, call: AioStreamCall, lane: Lane, first: bytes) -> None:
        request: bytes | None = first
        while request is not None and await call.write(request):
            request = await self._next(lane, on_stream=True)
        await call.done_writing()

    async def _next(self, lane: Lane, *, on_stream: bool = False) -> bytes | None:
        """Wait for something to send; None when a stream, or everything, is at its end."""
        while not (self._closing or self._batching):
            now = time.monotonic()
            taken = self._ledger.take(lane, now)
            if taken:
                return message(*taken)
            if on_stream and self._ledger.drained:
                return None
            await self._to_send.wait(now, self._ledger.wakes(now, lane))
        return None

    def _note_end(self, lane: Lane, error: HeliographError | None) -> None:
        if self._closing:
            return
        if isinstance(error, UnimplementedError):
            self._support.missing = True
            self._ledger.give_back(lane)
            if not self._batching:
                self._start_batches()
        elif error or lane.groups:
            self._ledger.broken(lane, error or ended(self._target), time.monotonic())

    # Batches.

    def _start_batches(self) -> None:
        self._batching = True
        for _ in range(BATCHES_IN_FLIGHT):
            self._spawn(self._run_batches())

    async def _run_batches(self) -> None:
        while (group := await self._next_batch()) is not None:
            self._batches += 1
            question = calls.question(*group.asked)
            request = calls.batch_request(question, group.images)
            left = max(group.deadline - time.monotonic(), LEAST_SECONDS)
            try:
                response = await self._batch_classify(request, left)
                results = calls.results(response, len(group.items))
            except HeliographError as error:
                self._ledger.batch_failed(group, error)
            else:
                self._ledger.batch_answered(group, results, time.monotonic())
            self._batches -= 1
            self._to_send.notify()
            self._news.notify()
            self._room.notify()

    async def _next_batch(self) -> Group | None:
        while not self._closing:
            now = time.monotonic()
            group = self._ledger.take_batch(now, busy=self._batches > 0)
            if group:
                return group
            await self._to_send.wait(now, self._ledger.wakes(now))
        return None


class _Signal:
    """Wakes every task that waits for it now."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def notify(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, now: float = 0.0, until: float | None = None) -> None:
        """Wait for `notify`, at most until a time."""
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        timer = loop.call_later(until - now, _wake, waiter) if until is not None else None
        self._waiting.add(waiter)
        try:
            await waiter
        finally:
            self._waiting.discard(waiter)
            if timer:
                timer.cancel()


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
