"""What is counted and timed of one version for as long as it is served.

Plain numbers beside the version, which end with it: labels of a metric for every version there
ever was would not.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field

_SMOOTHING = 0.2
"""Weight of the last batch in the time that a row takes."""


@dataclass
class Timing:
    """A sum of durations."""

    count: int = 0
    nanoseconds: int = 0

    def add(self, nanoseconds: int) -> None:
        """Add one duration."""
        self.count += 1
        self.nanoseconds += nanoseconds


@dataclass(slots=True)
class RequestTimes:
    """How long the stages of one request took, in nanoseconds; 0 where it did not get so far."""

    prepare: int = 0
    queue: int = 0
    predict: int = 0
    rank: int = 0
    start: int = field(default_factory=time.perf_counter_ns)
    _last: int = 0

    def __post_init__(self) -> None:
        self._last = self.start

    def lap(self) -> int:
        """Return the nanoseconds since the last lap, or since the start."""
        now = time.perf_counter_ns()
        lap, self._last = now - self._last, now
        return lap

    def total(self) -> int:
        """Return the nanoseconds since the start."""
        return time.perf_counter_ns() - self.start


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
    """Until the last row was sent to the backend."""
    predicted: Timing = field(default_factory=Timing)
    """From then until the last row had its scores."""
    ranked: Timing = field(default_factory=Timing)
    """Activation and ranking."""
    batches: defaultdict[int, Timing] = field(default_factory=lambda: defaultdict(Timing))
    """Batches that the backend computed, by their rows."""
    last_batch: float = 0.0
    """When the backend was last sent a batch, in seconds since 1970; 0 before the first."""

    row_seconds: float = 0.0
    """Time that the backend takes for a row of a full batch, in seconds, smoothed over its last
    batches; 0 before the first full one."""
    _last_answer: float = 0.0

    def computed(self, rows: int, sent: float, answered: float, *, full: bool) -> None:
        """Record a batch.

        Args:
            rows: Its size.
            sent: When it was sent, in seconds of a clock.
            answered: When its answer came, by the same clock.
            full: Whether it was as large as a batch gets.
        """
        self.batches[rows].add(round((answered - sent) * 1e9))
        # Batches overlap: each accounts for the time since the one before it was answered.
        seconds = (answered - max(sent, self._last_answer)) / rows
        self._last_answer = answered
        if full and not self.row_seconds:
            self.row_seconds = seconds
        elif full or seconds < self.row_seconds:
            # A row of a small batch takes longer than one of a full batch, and many times as long
            # on a GPU: it can tell that the backend has become faster, and not that it is slower.
            self.row_seconds += _SMOOTHING * (seconds - self.row_seconds)

    def answered(self, nanoseconds: int, times: RequestTimes) -> None:
        """Count a request that was answered."""
        self.succeeded.add(nanoseconds)
        self.prepared.add(times.prepare)
        self.queued.add(times.queue)
        self.predicted.add(times.predict)
        self.ranked.add(times.rank)
