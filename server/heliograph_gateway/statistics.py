"""What is counted and timed of one version for as long as it is served.

Plain numbers beside the version, which end with it: labels of a metric for every version there
ever was would not.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Timing:
    """A sum of durations."""

    count: int = 0
    nanoseconds: int = 0

    def add(self, nanoseconds: int) -> None:
        """Add one duration."""
        self.count += 1
        self.nanoseconds += nanoseconds


@dataclass
class Stopwatch:
    """How long one stage of one request took."""

    nanoseconds: int = 0


@dataclass
class RequestTimes:
    """The stages of one request."""

    prepare: Stopwatch = field(default_factory=Stopwatch)
    predict: Stopwatch = field(default_factory=Stopwatch)
    """The time in the queue is a part of it."""
    queue: Stopwatch = field(default_factory=Stopwatch)
    rank: Stopwatch = field(default_factory=Stopwatch)


@dataclass
class Statistics:
    """Requests, their stages, and batches.

    The stages are those of the requests that were answered, and are added together with them: all
    counts are equal, whenever somebody looks.
    """

    succeeded: Timing = field(default_factory=Timing)
    """Requests that were answered, from routing to ranking."""
    failed: Timing = field(default_factory=Timing)
    """Requests that failed after routing; cancelled ones are among them."""
    prepared: Timing = field(default_factory=Timing)
    """Decoding and the recipe."""
    queued: Timing = field(default_factory=Timing)
    """From the queue until the last row was sent to the backend."""
    predicted: Timing = field(default_factory=Timing)
    """From then until the last row had its scores."""
    ranked: Timing = field(default_factory=Timing)
    """Activation and ranking."""
    batches: defaultdict[int, Timing] = field(default_factory=lambda: defaultdict(Timing))
    """Batches that the backend computed, by their rows."""
    last_batch: float = 0.0
    """When the backend was last sent a batch, in seconds since 1970; 0 before the first."""

    @contextmanager
    def request(self) -> Iterator[RequestTimes]:
        """Count a request; who answers it fills in the times."""
        start = time.perf_counter_ns()
        times = RequestTimes()
        try:
            yield times
        except BaseException:
            self.failed.add(time.perf_counter_ns() - start)
            raise
        self.succeeded.add(time.perf_counter_ns() - start)
        self.prepared.add(times.prepare.nanoseconds)
        self.queued.add(times.queue.nanoseconds)
        self.predicted.add(times.predict.nanoseconds - times.queue.nanoseconds)
        self.ranked.add(times.rank.nanoseconds)
