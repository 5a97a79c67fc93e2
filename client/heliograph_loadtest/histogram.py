"""Latencies in an HDR histogram: every value to three significant digits, in little memory.

The buckets are those of Gil Tene's HdrHistogram for values of 1 µs to 1 h, kept sparsely: a dict of
the buckets that are in use. The package `hdrhistogram` writes and reads the exchange format, which
other tools know; its own queries walk through 23,000 counters in Python, too slow for thousands of
histograms. The tests hold both to the same buckets and percentiles.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Self

from hdrh.histogram import HdrHistogram

LONGEST = 3_600_000_000
"""Microseconds of the longest latency that is told apart from longer ones: 1 h."""

_DIGITS = 3
_EXACT_BITS = 11
"""Three significant digits: 2 × 10³ fit into 2¹¹, and values below that have a bucket each."""


class LatencyHistogram:
    """How many latencies there were of which length. Seconds outside, microseconds inside."""

    def __init__(self, counts: Counter[int] | None = None) -> None:
        """Start with counts by the lowest value of their bucket, in µs; with nothing when None."""
        self._counts: Counter[int] = Counter() if counts is None else counts

    def record(self, microseconds: Iterable[int]) -> None:
        """Add latencies; negative ones count as 0, longer ones than an hour as an hour."""
        self._counts.update(
            [
                value
                if 0 <= value < 2048
                else (shifted := min(max(value, 0), LONGEST))
                >> (bits := max(shifted.bit_length() - _EXACT_BITS, 0))
                << bits
                for value in microseconds
            ]
        )

    def add(self, other: LatencyHistogram) -> None:
        """Add what another histogram holds."""
        self._counts.update(other._counts)

    @classmethod
    def merged(cls, histograms: Iterable[LatencyHistogram]) -> Self:
        """Return a new histogram with what several hold."""
        result = cls()
        for histogram in histograms:
            result.add(histogram)
        return result

    @property
    def count(self) -> int:
        """Number of latencies."""
        return self._counts.total()

    @property
    def mean(self) -> float:
        """Mean in seconds, each value taken as the middle of its bucket; 0 when empty."""
        if not self._counts:
            return 0.0
        total = sum((value + _highest(value)) / 2 * count for value, count in self._counts.items())
        return total / self.count / 1e6

    @property
    def longest(self) -> float:
        """Longest latency in seconds, to the top of its bucket; 0 when empty."""
        return _highest(max(self._counts)) / 1e6 if self._counts else 0.0

    def percentile(self, percentile: float) -> float:
        """Return the seconds that a share of the latencies does not pass; 0 when empty.

        Args:
            percentile: The share in percent, from 0 to 100.
        """
        (value,) = self.percentiles((percentile,))
        return value

    def percentiles(self, percentiles: Iterable[float]) -> list[float]:
        """Return `percentile` of several, in one pass."""
        wanted = list(percentiles)
        if not self._counts:
            return [0.0] * len(wanted)
        values = sorted(self._counts)
        passed = list(itertools.accumulate(self._counts[value] for value in values))
        found = []
        for percentile in wanted:
            # The smallest rank that covers the share; the tolerance is for 99.9 % of 1,000.
            rank = max(math.ceil(percentile / 100 * passed[-1] - 1e-9), 1)
            position = next(index for index, total in enumerate(passed) if total >= rank)
            found.append(_highest(values[position]) / 1e6)
        return found

    def count_within(self, limit: float) -> int:
        """Return how many latencies were of at most so many seconds, to the bucket's precision."""
        microseconds = round(limit * 1e6)
        return sum(count for value, count in self._counts.items() if value <= microseconds)

    def rows(self) -> Iterator[tuple[float, int]]:
        """Return the buckets in use: their top in seconds, and the latencies up to there."""
        total = 0
        for value in sorted(self._counts):
            total += self._counts[value]
            yield _highest(value) / 1e6, total

    def encode(self) -> str:
        """Return the compressed HDR format, version 2, in base64: what HDR tools exchange."""
        histogram = _empty()
        for value, count in self._counts.items():
            histogram.record_value(value, count)
        return str(histogram.encode().decode())

    @classmethod
    def decode(cls, text: str) -> Self:
        """Return the histogram that `encode`, or another HDR tool with the same range, has written.

        Raises:
            ValueError: It is no such text.
        """
        try:
            decoded = HdrHistogram.decode(text)
        except Exception as error:  # The package raises its own, and those of zlib and base64.
            raise ValueError(f"no HDR histogram: {error}") from error
        result = cls()
        for index, count in enumerate(decoded.counts):
            if count:
                result._counts[decoded.get_value_from_index(index)] += count
        return result

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LatencyHistogram) and self._counts == other._counts

    __hash__ = None  # type: ignore[assignment]  # It changes: not for dicts and sets.

    def __repr__(self) -> str:
        return f"<LatencyHistogram of {self.count}: p50 {self.percentile(50):.6f} s>"


def _highest(value: int) -> int:
    """Return the highest value in the bucket of a value."""
    bits = max(value.bit_length() - _EXACT_BITS, 0)
    return (value >> bits << bits) + (1 << bits) - 1


def _empty() -> Any:
    return HdrHistogram(1, LONGEST, _DIGITS)
