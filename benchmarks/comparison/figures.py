"""Medians, spreads and choices: the arithmetic of the comparison."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """Several measurements of one thing."""

    median: float
    lowest: float
    highest: float


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of the sorted values do not exceed.

    NaN where there are no values.
    """
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def spread(values: Sequence[float]) -> Spread:
    """Return median, lowest and highest."""
    return Spread(statistics.median(values), min(values), max(values))


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Compare round by round, since the machine differs more between rounds than within one."""
    return spread([mine / other for mine, other in zip(ours, theirs, strict=True)])


def best_setting(rates: Mapping[str, float | None]) -> str | None:
    """Choose the setting with the highest rate; None stands for one that failed.

    Returns:
        Its name; the first of equals; None when all failed.
    """
    working = {name: rate for name, rate in rates.items() if rate}
    return max(working, key=lambda name: working[name]) if working else None
