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
class Statistics:
    """Requests, the stages that they got through, and batches."""

    succeeded: Timing = field(default_factory=Timing)
    """Requests that were answered, from routing to ranking."""
    failed: Timing = field(default_factory=Timing)
    """Requests that failed after routing; cancelled ones are among them."""
    prepared: Timing = field(default_factory=Timing)
    """Requests: decoding and the recipe."""
    queued: Timing = field(default_factory=Timing)
    """Requests: from the queue until the last row was sent to the backend."""
    predicted: Timing = field(default_factory=Timing)
    """Requests: from then until the last row had its scores."""
    ranked: Timing = field(default_factory=Timing)
    """Requests: activation and ranking."""
    batches: defaultdict[int, Timing] = field(default_factory=lambda: defaultdict(Timing))
    """Batches that the backend computed, by their rows."""
    last_batch: float = 0.0
    """When the backend was last sent a batch, in seconds since 1970; 0 before the first."""

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count a request and time it."""
        start = time.perf_counter_ns()
        timing = self.failed
        try:
            yield
            timing = self.succeeded
        finally:
            timing.add(time.perf_counter_ns() - start)
