"""The search for the highest rate that keeps the objectives: step up, then bisect."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class RateSearch:
    """What a search knows so far. Every answer makes a new value of it."""

    start: float
    """First rate to try, in calls per second."""
    precision: float = 0.05
    """How much higher than the best rate the lowest missed one may be, as a share of it."""
    kept: float = 0.0
    """Highest rate that kept the objectives; 0 before there is one."""
    missed: float = math.inf
    """Lowest rate that missed them; infinite before there is one."""

    @property
    def next_rate(self) -> float | None:
        """The rate to try next: to four digits, doubled until one misses; None at the end."""
        if self.missed == math.inf:
            return self.kept * 2 or self.start
        if self.kept == 0:
            # Below one call in ten seconds there is nothing left to find.
            return _rounded(self.missed / 2) if self.missed > 0.1 else None
        if self.missed <= self.kept * (1 + self.precision):
            return None
        middle = _rounded(math.sqrt(self.kept * self.missed))
        return middle if self.kept < middle < self.missed else None

    def after(self, rate: float, kept: bool) -> RateSearch:
        """Return what is known once a rate has been tried."""
        return RateSearch(
            self.start,
            self.precision,
            max(self.kept, rate) if kept else self.kept,
            self.missed if kept else min(self.missed, rate),
        )


def _rounded(rate: float) -> float:
    return float(f"{rate:.4g}")
