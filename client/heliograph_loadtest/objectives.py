"""Service level objectives: how many of the calls have to be answered how soon."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass

from heliograph_loadtest.units import duration, parse_seconds

_OBJECTIVE = re.compile(r"p(\d{1,2}(?:\.\d+)?)\s*(?:=|<=|<)\s*(\S+)")


@dataclass(frozen=True, order=True)
class Objective:
    """A share of the calls that were due has to be answered within a time.

    A call that fails, or that could not be sent, counts as one that took forever: a target that
    refuses two percent of its calls keeps no p99, however fast it is with the others.
    """

    percentile: float
    """Share of the calls in percent, above 0 and below 100."""
    limit: float
    """Longest latency in seconds."""

    def __str__(self) -> str:
        return f"p{self.percentile:g} ≤ {duration(self.limit)}"


def parse_objectives(text: str) -> tuple[Objective, ...]:
    """Return objectives from `p99=50ms`, or from several with commas between them.

    Raises:
        argparse.ArgumentTypeError: It is something else.
    """
    return tuple(sorted(_parse(part) for part in text.split(",")))


def _parse(text: str) -> Objective:
    match = _OBJECTIVE.fullmatch(text.strip())
    if match is None or not 0 < float(match[1]) < 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no objective; write p99=50ms")
    limit = parse_seconds(match[2])
    if limit <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} leaves no time; write p99=50ms")
    return Objective(float(match[1]), limit)
