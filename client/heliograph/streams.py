"""`classify_many` for threads: a stream on every channel, or batches where there are no streams.

For each channel one thread opens the stream, reads the answers, and opens it again when it breaks;
a thread of gRPC's takes what is to be sent. The caller's thread reads the images and gives out the
results. All meet at the ledger, under one lock.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError

from heliograph import classifier_calls as calls
from heliograph.errors import HeliographError, InternalError, UnavailableError, UnimplementedError
from heliograph.ledger import Ledger
from heliograph.results import Failure, Result
from heliograph.stream_calls import StreamCall, StreamMethod
from heliograph.transport import PendingCall, UnaryCall
from heliograph.under_way import Group, Item, Lane
from heliograph.v1.classifier_pb2 import BatchClassifyResponse, StreamClassifyResponse

BATCHES_IN_FLIGHT: Final = 4
"""Calls at a time where the gateway has no streams."""
LEAST_SECONDS: Final = 0.001
"""Shortest deadline of a call."""
END_SECONDS: Final = 1.0
"""Time for a stream to end in order, when all of its answers are there."""


@dataclass
class StreamSupport:
    """What a client has learned of its gateway."""

    missing: bool = False
    """Whether the gateway has said that it does not know StreamClassify."""


class _Connection:
    """A stream, for the thread that sends on it."""

    def __init__(self) -> None:
        self.over = False


class Exchange:
    """One run of `classify_many`."""

    def __init__(
        self,
        ledger: Ledger,
        methods: Sequence[StreamMethod],
        batch_classify: UnaryCall[BatchClassifyResponse],
        support: StreamSupport,
        target: str,
        renew: Callable[[Item], Item],
    ) -> None:
        """Prepare a run; nothing is sent before `results` is iterated over.

        Args:
            ledger: Without images so far, and with as many lanes as there are methods.
            methods: StreamClassify of every channel.
            batch_classify: What to do without StreamClassify.
            support: What is known of the gateway; noted here when it turns out otherwise.
            target: Address of the gateway, for messages.
            renew: Prepares an image again whose version is not served any more.
        """
        self._ledger = ledger
        self._methods = methods
        self._lanes = [Lane() for _ in methods]
        self._batch_classify = batch_classify
        self._support = support
        self._target = target
        self._renew = renew
        self._lock = threading.Lock()
        self._to_send = threading.Condition(self._lock)
        self._news = threading.Condition(self._lock)
        self._closing = False
        self._batching = False
        self._batches = 0
        self._crash: BaseException | None = None
        self._threads: list[threading.Thread] = []
        self._calls: set[StreamCall | PendingCall[BatchClassifyResponse]] = set()

    def results(self, items: Iterator[Item | Failure]) -> Iterator[Result | Failure]:
        """Send images while there is room for them, and yield their results in order.

        Raises:
            HeliographError: One that every other image would meet.
        """
        try:
            self._begin()
            while True:
                given, room, outdated = self._await_news()
                yield from given
                for item in outdated:
                    self._send_again(item)
                if room:
                    self._read(items)
                elif not given and not outdated:
                    return
        finally:
            self._close()

    def _begin(self) -> None:
        with self._lock:
            if self._support.missing:
                self._start_batches()
            else:
                for method, lane in zip(self._methods, self._lanes, strict=True):
                    self._spawn(self._run_lane, method, lane)

    def _await_news(self) -> tuple[list[Result | Failure], bool, list[Item]]:
        """Return results, whether there is room, and what is outdated; nothing is the end."""
        with self._lock:
            while True:
                if self._crash:
                    raise self._crash
                now = time.monotonic()
                self._ledger.expire(now)
                given, room = self._ledger.give(), self._ledger.room
                outdated = self._ledger.take_outdated()
                if given or room or outdated or self._ledger.empty:
                    return given, room, outdated
                expires = self._ledger.expires()
                self._news.wait(None if expires is None else expires - now)

    def _read(self, items: Iterator[Item | Failure]) -> None:
        item = next(items, None)
        with self._lock:
            if item is None:
                self._ledger.end()
                self._to_send.notify_all()
            elif self._ledger.add(item, time.monotonic()):
                self._to_send.notify_all()

    def _send_again(self, item: Item) -> None:
        try:
            other = self._renew(item)
        except HeliographError as error:
            with self._lock:
                self._ledger.fail(item, error)
        else:
            with self._lock:
                self._ledger.renew(item, other)
                self._to_send.notify_all()

    def _close(self) -> None:
        with self._lock:
            self._closing = True
            self._to_send.notify_all()
            in_order = self._ledger.finished and not any(lane.groups for lane in self._lanes)
        end = time.monotonic() + (END_SECONDS if in_order else 0.0)
        for thread in self._threads:
            thread.join(max(end - time.monotonic(), 0.0))
        for call in list(self._calls):
            call.cancel()
        for thread in self._threads:
            thread.join()

    def _spawn(self, run: Callable[..., None], *arguments: object) -> None:
        # The context has the headers of a trace. A thread needs a copy of its own.
        context = contextvars.copy_context()
        thread = threading.Thread(
            target=context.run, args=(self._guard, run, *arguments), daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def _guard(self, run: Callable[..., None], *arguments: object) -> None:
        try:
            run(*arguments)
        except BaseException as error:  # noqa: BLE001 - the caller's thread raises it
            with self._lock:
                self._crash = error
                self._news.notify_all()

    # Streams.

    def _run_lane(self, method: StreamMethod, lane: Lane) -> None:
        while (first := self._next(lane)) is not None:
            connection = _Connection()
            error: HeliographError | None = None
            try:
                self._converse(method.open(self._requests(lane, connection, first)), lane)
            except HeliographError as broken:
                error = broken
            with self._lock:
                connection.over = True
                self._note_end(lane, error)
                self._to_send.notify_all()
                self._news.notify_all()

    def _requests(self, lane: Lane, connection: _Connection, first: bytes) -> Iterator[bytes]:
        """Yield what goes out on a stream; called by a thread of gRPC's."""
        request: bytes | None = first
        while request is not None:
            yield request
            request = self._next(lane, connection)

    def _next(self, lane: Lane, connection: _Connection | None = None) -> bytes | None:
        """Wait for something to send; None when a stream, or everything, is at its end."""
        with self._lock:
            while True:
                if self._closing or self._batching or (connection and connection.over):
                    return None
                now = time.monotonic()
                taken = self._ledger.take(lane, now)
                if taken:
                    break
                if connection and self._ledger.drained:
                    return None
                wakes = self._ledger.wakes(now, lane)
                self._to_send.wait(None if wakes is None else wakes - now)
        return message(*taken)

    def _converse(self, call: StreamCall, lane: Lane) -> None:
        with self._open(call):
            for data in call:
                number, results = answer(data, lane, self._target)
                with self._lock:
                    self._ledger.answered(lane, number, results, time.monotonic())
                    self._to_send.notify_all()
                    self._news.notify_all()

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
            self._spawn(self._run_batches)

    def _run_batches(self) -> None:
        while (group := self._next_batch()) is not None:
            question = calls.question(*group.asked)
            request = calls.batch_request(question, group.images)
            left = max(group.deadline - time.monotonic(), LEAST_SECONDS)
            results: list[Result | Failure] = []
            error: HeliographError | None = None
            try:
                call = self._batch_classify.start(request, left)
                with self._open(call):
                    results = calls.results(call.result(), len(group.items))
            except HeliographError as failed:
                error = failed
            with self._lock:
                self._batches -= 1
                if error:
                    self._ledger.batch_failed(group, error)
                else:
                    self._ledger.batch_answered(group, results, time.monotonic())
                self._to_send.notify_all()
                self._news.notify_all()

    def _next_batch(self) -> Group | None:
        with self._lock:
            while not self._closing:
                now = time.monotonic()
                group = self._ledger.take_batch(now, busy=self._batches > 0)
                if group:
                    self._batches += 1
                    return group
                wakes = self._ledger.wakes(now)
                self._to_send.wait(None if wakes is None else wakes - now)
            return None

    @contextmanager
    def _open(self, call: StreamCall | PendingCall[BatchClassifyResponse]) -> Iterator[None]:
        """Let `_close` cancel a call while it is under way."""
        self._calls.add(call)
        if self._closing and not self._ledger.empty:
            call.cancel()
        try:
            yield
        finally:
            self._calls.discard(call)


def message(number: int, group: Group) -> bytes:
    """Return the StreamClassifyRequest that asks about a group."""
    return calls.stream_request(calls.stream_question(*group.asked), number, group.images)


def answer(data: bytes, lane: Lane, target: str) -> tuple[int, list[Result | Failure]]:
    """Return what a StreamClassifyResponse says: of which group, and a result for each image.

    Raises:
        InternalError: It cannot be read.
    """
    try:
        response = StreamClassifyResponse.FromString(data)
    except DecodeError as error:
        raise InternalError(f"the answer of {target} cannot be read: {error}") from error
    number = response.correlation_id
    group = lane.groups.get(number)
    if group is None:
        return number, []
    try:
        return number, calls.stream_results(response, len(group.items))
    except InternalError as error:
        return number, [Failure(error)] * len(group.items)


def ended(target: str) -> UnavailableError:
    """Return the error of a stream that its gateway ended before everything was answered."""
    return UnavailableError(f"{target} ended the stream before it had answered every image")
