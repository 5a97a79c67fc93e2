"""What `classify_many` has under way: a bounded window, results in order, what to send again.

The ledger is pure bookkeeping: it opens no connection, starts no thread and reads no clock. The
clients hand it images, ask what to send next, and report what came back.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from typing import Final

from heliograph.errors import (
    DeadlineExceededError,
    FailedPreconditionError,
    HeliographError,
    InvalidArgumentError,
    InvalidModelNameError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnimplementedError,
    VersionNotFoundError,
)
from heliograph.options import RetryOptions
from heliograph.pace import Pace
from heliograph.results import Failure, Result
from heliograph.retry_budget import RetryBudget
from heliograph.under_way import Group, Item, Lane

DEFAULT_WINDOW: Final = 128
WINDOW_BYTES: Final = 32 * 1024 * 1024
"""Images under way together stay below this size; one alone may be larger."""

GROUP_IMAGES: Final = 64
GROUP_BYTES: Final = 64 * 1024
"""A message takes so many images, or so many bytes of them; a larger image goes alone. Together
images of 1 kB cost a seventh of the processor time (benchmarks/stream_throughput.py)."""
HOLD_SECONDS: Final = 0.005
"""Time for which a group is held back to become a full one."""
BATCH_BYTES: Final = 3 * 1024 * 1024
"""Likewise for a BatchClassify: below the 4 MiB that gRPC servers take by default."""

_OF_EVERY_IMAGE: Final = (
    FailedPreconditionError,
    InvalidModelNameError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnimplementedError,
)
"""Errors that every other image would meet too: the model does not exist, the token is wrong."""


class Ledger:
    """Every image that was read and whose result was not given out yet.

    Times are in seconds of one monotonic clock; every method that needs the time is told it.
    """

    def __init__(
        self,
        retry: RetryOptions,
        timeout: float,
        *,
        window: int,
        lanes: int = 1,
        target: str = "the server",
    ) -> None:
        """Start with no images.

        Args:
            retry: Which errors are worth another attempt, how many, and when.
            timeout: Seconds that an image may take, retries included.
            window: Most images that are read and not given out.
            lanes: Connections that share the work.
            target: Address of the gateway, for messages.

        Raises:
            InvalidArgumentError: The window is below 1.
        """
        if window < 1:
            raise InvalidArgumentError(f"window is {window}; use 1 or more")
        self._budget = RetryBudget(retry)
        self._pace = Pace(timeout, window)
        self._timeout = timeout
        self._window = window
        self._target = target
        self._share = -(-window // lanes)
        self._group_images = GROUP_IMAGES
        self._next_place = 0
        self._next_given = 0
        self._unsettled = 0
        self._bytes = 0
        self._outcomes: dict[int, Result | Failure | HeliographError] = {}
        self._to_send: deque[Item] = deque()
        self._to_send_bytes = 0
        self._ended = False
        self._resting: list[tuple[float, int, Item]] = []
        self._outdated: list[Item] = []
        self._by_deadline: deque[Item] = deque()

    # What comes in.

    @property
    def room(self) -> bool:
        """Whether another image may be read."""
        return (
            not self._ended
            and self._next_place - self._next_given < self._window
            and self._unsettled < self._pace.limit
            and self._bytes < WINDOW_BYTES
        )

    def add(self, item: Item | Failure, now: float) -> bool:
        """Take the next image, or why it could not be read.

        Returns:
            Whether a lane may have something to send because of it.
        """
        place = self._next_place
        self._next_place += 1
        if isinstance(item, Failure):
            self._outcomes[place] = item
            return not self.room
        item.place = place
        item.added = now
        item.deadline = now + self._timeout
        self._unsettled += 1
        self._bytes += item.size
        self._queue(item)
        while self._by_deadline and self._by_deadline[0].settled:
            self._by_deadline.popleft()
        self._by_deadline.append(item)
        return len(self._to_send) == 1 or not self._may_fill

    def end(self) -> None:
        """Note that there are no more images."""
        self._ended = True

    # What goes out.

    @property
    def drained(self) -> bool:
        """Whether all images were read and sent; what fails may still have to be sent again."""
        return self._ended and not (self._to_send or self._resting or self._outdated)

    def take(self, lane: Lane, now: float) -> tuple[int, Group] | None:
        """Return what a lane is to send now, and the number to send it under; None for nothing.

        As with Nagle's algorithm a group that is not full waits for a moment while the lane has
        answers to come and images are still being read.
        """
        self._wake(now)
        room = self._share - lane.unanswered
        if room <= 0 or now < lane.rests_until or (lane.groups and now < self._held_until):
            return None
        items = self._pick(now, min(room, self._group_images), GROUP_BYTES)
        if not items:
            return None
        number = lane.next_number
        lane.next_number += 1
        group = lane.groups[number] = Group(items)
        return number, group

    def take_batch(self, now: float, *, busy: bool) -> Group | None:
        """Return what the next BatchClassify is to ask; None for nothing.

        Args:
            now: The time.
            busy: Whether other ones are under way, so that a full one is worth waiting for.
        """
        self._wake(now)
        if busy and now < self._held_until:
            return None
        items = self._pick(now, self._group_images, BATCH_BYTES)
        return Group(items) if items else None

    @property
    def _may_fill(self) -> bool:
        """Whether what is to be sent is no full group yet, and may become one."""
        few = len(self._to_send) < self._group_images
        return few and self._to_send_bytes < GROUP_BYTES and self.room

    @property
    def _held_until(self) -> float:
        """When what is to be sent is no longer worth holding back."""
        held = bool(self._to_send) and self._may_fill
        return self._to_send[0].added + HOLD_SECONDS if held else float("-inf")

    def _wake(self, now: float) -> None:
        """Queue what has rested; it is older than what was never sent."""
        while self._resting and self._resting[0][0] <= now:
            self._queue(heapq.heappop(self._resting)[2], first=True)

    def _pick(self, now: float, max_images: int, max_bytes: int) -> list[Item]:
        items: list[Item] = []
        size = 0
        while self._to_send and len(items) < max_images:
            item = self._to_send[0]
            if not item.settled:
                size += item.size
                if items and (size > max_bytes or item.asked != items[0].asked):
                    break
                item.attempts += 1
                item.sent = now
                items.append(item)
            self._to_send.popleft()
            self._to_send_bytes -= item.size
        return items

    def _queue(self, item: Item, *, first: bool = False) -> None:
        if first:
            self._to_send.appendleft(item)
        else:
            self._to_send.append(item)
        self._to_send_bytes += item.size

    def wakes(self, now: float, lane: Lane | None = None) -> float | None:
        """Return when there may be something to send by the clock alone; None for never.

        Args:
            now: The time.
            lane: What would send it; None for a batch.
        """
        if not self._to_send and not self._resting:
            return None
        time = self._held_until if self._to_send else self._resting[0][0]
        if lane:
            time = max(time, lane.rests_until)
        return time if time > now else None

    # What comes back.

    def answered(
        self, lane: Lane, number: int, results: Sequence[Result | Failure], now: float
    ) -> None:
        """Note the answer to what was sent under a number; one that nobody waits for is ignored."""
        group = lane.groups.pop(number, None)
        lane.breaks = 0
        if group:
            self.batch_answered(group, results, now)

    def batch_answered(self, group: Group, results: Sequence[Result | Failure], now: float) -> None:
        """Note the results of the images of a group, in order."""
        errors = [result.error for result in results if isinstance(result, Failure)]
        if len(errors) == len(results) and self._split(group, errors[0]):
            return
        passing = next((error for error in errors if self._budget.covers(error)), None)
        again = None
        if passing is None:
            self._budget.answered()
        elif self._budget.failed():
            again = now + self._budget.delay(passing, group.items[0].attempts)
        for item, result in zip(group.items, results, strict=True):
            if item.settled:
                continue
            self._pace.answered(item.sent, now)
            if isinstance(result, Failure):
                self._fail(item, result.error, again)
            else:
                self._settle(item, result)

    def batch_failed(self, group: Group, error: HeliographError) -> None:
        """Note that a BatchClassify failed as a whole; gRPC has tried it again already."""
        if self._split(group, error):
            return
        for item in group.items:
            if not item.settled:
                self._settle(item, _final(error))

    def _split(self, group: Group, error: HeliographError) -> bool:
        """Send a group again in halves where the group may be what is wrong; return whether it is.

        A gateway may be set to take fewer images together. It says so by an error that has no
        reason of its own, as where the question is what is wrong; then a single image shows it.
        """
        if len(group.items) == 1 or type(error) is not InvalidArgumentError:
            return False
        self._group_images = min(self._group_images, len(group.items) // 2)
        self.put_back(group.items)
        return True

    def broken(self, lane: Lane, error: HeliographError, now: float) -> None:
        """Note that a lane ended with an error; what it did not answer is sent again, or fails."""
        lane.breaks += 1
        lane.rests_until = now + self._budget.pause(error, lane.breaks)
        items = [item for group in lane.groups.values() for item in group.items]
        lane.groups.clear()
        again = None
        if self._budget.covers(error) and self._budget.failed():
            again = lane.rests_until
        for item in items:
            if not item.settled:
                self._fail(item, error, again)

    def take_outdated(self) -> list[Item]:
        """Return the images that were prepared for a version that is not served any more."""
        outdated = [item for item in self._outdated if not item.settled]
        self._outdated.clear()
        return outdated

    def renew(self, item: Item, other: Item) -> None:
        """Send another item in the place of one that was outdated."""
        if item.settled:
            return
        item.asked, item.image = other.asked, other.image
        item.source, item.origin = other.source, other.origin
        self._bytes += other.size - item.size
        item.size = other.size
        self.put_back([item])

    def fail(self, item: Item, error: HeliographError) -> None:
        """Note that an image cannot be sent again."""
        if not item.settled:
            self._settle(item, _final(error))

    def give_back(self, lane: Lane) -> None:
        """Take back what a lane did not answer, as if it had never been sent."""
        items = [item for group in lane.groups.values() for item in group.items]
        lane.groups.clear()
        self.put_back(items)

    def put_back(self, items: Sequence[Item]) -> None:
        """Send items again at once, without counting the attempt."""
        for item in reversed(items):
            if not item.settled:
                item.attempts -= 1
                self._queue(item, first=True)

    def expire(self, now: float) -> None:
        """Fail what is not answered by its deadline."""
        while self._by_deadline and (
            self._by_deadline[0].settled or self._by_deadline[0].deadline <= now
        ):
            item = self._by_deadline.popleft()
            if not item.settled:
                self._pace.missed(item.sent, now)
                message = f"no answer from {self._target} within {self._timeout:g} s"
                self._settle(item, Failure(DeadlineExceededError(message)))

    def expires(self) -> float | None:
        """Return when the next image fails for want of an answer; None for never."""
        while self._by_deadline and self._by_deadline[0].settled:
            self._by_deadline.popleft()
        return self._by_deadline[0].deadline if self._by_deadline else None

    # What is given out.

    @property
    def empty(self) -> bool:
        """Whether every image that was read has been given out."""
        return self._next_given == self._next_place

    @property
    def finished(self) -> bool:
        """Whether there are no more images, and every result was given out."""
        return self._ended and self.empty

    def give(self) -> list[Result | Failure]:
        """Give out the results that are ready, in the order of the images.

        Raises:
            HeliographError: The next one is an error that every other image would meet.
        """
        given: list[Result | Failure] = []
        while (outcome := self._outcomes.get(self._next_given)) is not None:
            if isinstance(outcome, HeliographError):
                if given:
                    break
                raise outcome
            given.append(outcome)
            del self._outcomes[self._next_given]
            self._next_given += 1
        return given

    def _fail(self, item: Item, error: HeliographError, again: float | None) -> None:
        """Send an item again at a time, or settle it with an error."""
        if item.source is not None and isinstance(error, VersionNotFoundError):
            self._outdated.append(item)
        elif (
            again is not None
            and again < item.deadline
            and self._budget.allows(error, item.attempts)
        ):
            # Of those that rest equally long the last comes out first, and is put back first.
            heapq.heappush(self._resting, (again, -item.place, item))
        else:
            self._settle(item, _final(error))

    def _settle(self, item: Item, outcome: Result | Failure | HeliographError) -> None:
        item.settled = True
        self._outcomes[item.place] = outcome
        self._unsettled -= 1
        self._bytes -= item.size
        item.image, item.source = (b"", b""), None


def failure(error: HeliographError) -> Failure:
    """Return the failure of one image.

    Raises:
        HeliographError: The error itself, where every other image would meet it too.
    """
    if isinstance(error, _OF_EVERY_IMAGE):
        raise error
    return Failure(error)


def _final(error: HeliographError) -> Failure | HeliographError:
    return error if isinstance(error, _OF_EVERY_IMAGE) else Failure(error)
