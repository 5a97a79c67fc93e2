"""Two runs against each other: ratios, and how sure they are.

Latencies of one second depend on those of the second before, so calls cannot be drawn one by one.
The intervals of each run are put together to at most 30 blocks of neighbours, and blocks are drawn
with replacement (a block bootstrap: Künsch, 1989), which gives an interval for each ratio. It knows
the noise within both runs; what differs from run to run only more runs can show.
"""

from __future__ import annotations

import bisect
import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from heliograph.errors import InvalidArgumentError
from heliograph_loadtest.histogram import LatencyHistogram
from heliograph_loadtest.results import Interval, Report, SearchResult, StepResult

BLOCKS: Final = 30
"""Blocks that a run is divided into, at most."""

FEWEST_BLOCKS: Final = 5
"""Blocks below which a run is too short to say how sure a ratio is."""

DRAWS: Final = 1000
CONFIDENCE: Final = 0.95

COMPARED: Final = (50.0, 90.0, 99.0)
"""Percentiles that are compared."""


@dataclass(frozen=True)
class Ratio:
    """One measure of both runs."""

    name: str
    unit: str
    before: float
    after: float
    low: float
    """Lower end of the interval of the ratio, with 95 % confidence; 0 when nothing is known."""
    high: float
    """Upper end; infinite when nothing is known."""
    more_is_worse: bool

    @property
    def ratio(self) -> float:
        """After over before; infinite when there was nothing before."""
        return self.after / self.before if self.before else math.inf

    @property
    def significant(self) -> bool:
        """Whether the noise within the runs does not explain the difference."""
        return self.low > 1 or self.high < 1

    @property
    def verdict(self) -> str:
        """`better`, `worse`, or `no difference shown`."""
        if not self.significant:
            return "no difference shown"
        return "worse" if (self.low > 1) == self.more_is_worse else "better"

    def is_worse_by(self, share: float) -> bool:
        """Return whether it got worse, surely, by more than a share of what it was."""
        return self.low > 1 + share if self.more_is_worse else self.high < 1 - share


@dataclass(frozen=True)
class StepComparison:
    """A load that both runs had."""

    title: str
    ratios: tuple[Ratio, ...]


@dataclass(frozen=True)
class Comparison:
    """Two runs."""

    steps: tuple[StepComparison, ...]
    remarks: tuple[str, ...]
    """What a reader has to know before believing a ratio."""

    def slower(self, share: float) -> list[str]:
        """Return what got worse by more than a share, in words; empty when nothing did."""
        return [
            f"{step.title}: {ratio.name} is {ratio.ratio:.2f} times what it was"
            for step in self.steps
            for ratio in step.ratios
            if ratio.is_worse_by(share)
        ]


def compare(before: Report, after: Report, seed: int = 0) -> Comparison:
    """Compare two runs, step by step where they had the same load; searches by their result.

    Raises:
        InvalidArgumentError: They had no load in common.
    """
    chance = random.Random(seed)  # noqa: S311
    if before.search is not None and after.search is not None:
        found = _compare_searches(before.search, after.search)
        steps: tuple[StepComparison, ...] = (StepComparison("search", (found,)),)
    else:
        theirs = {step.load: step for step in after.steps}
        steps = tuple(
            _compare_steps(step, theirs[step.load], chance)
            for step in before.steps
            if step.load in theirs
        )
    if not steps:
        raise InvalidArgumentError("these runs have no load in common: nothing can be compared")
    return Comparison(steps, tuple(_remarks(before, after)))


def _compare_steps(before: StepResult, after: StepResult, chance: random.Random) -> StepComparison:
    measures: list[tuple[str, str, bool, Callable[[_Blocks, Sequence[int]], float]]] = [
        ("answered", "/s", False, _Blocks.answered_rate),
        *((f"p{percentile:g}", "ms", True, _percentile(percentile)) for percentile in COMPARED),
    ]
    runs = _Blocks(before.intervals), _Blocks(after.intervals)
    draws = [(runs[0].draw(chance), runs[1].draw(chance)) for _ in range(DRAWS)]
    ratios = []
    for name, unit, more_is_worse, measure in measures:
        wholes = [measure(run, range(len(run))) for run in runs]
        low, high = 0.0, math.inf
        if min(map(len, runs)) >= FEWEST_BLOCKS:
            low, high = _confidence(
                [
                    _quotient(measure(runs[0], ours), measure(runs[1], theirs))
                    for ours, theirs in draws
                ]
            )
        ratios.append(Ratio(name, unit, wholes[0], wholes[1], low, high, more_is_worse))
    return StepComparison(before.title, tuple(ratios))


def _compare_searches(before: SearchResult, after: SearchResult) -> Ratio:
    """Compare what two searches found: each limit is above what was kept, below what missed."""
    low = after.kept / before.missed if before.missed else 0.0
    high = after.missed / before.kept if after.missed and before.kept else math.inf
    return Ratio("highest rate", "/s", before.kept, after.kept, low, high, more_is_worse=False)


class _Blocks:
    """The intervals of a step, put together with their neighbours to few blocks."""

    def __init__(self, intervals: Sequence[Interval]) -> None:
        count = min(BLOCKS, len(intervals))
        edges = [index * len(intervals) // count for index in range(count + 1)] if count else [0]
        blocks = [intervals[start:end] for start, end in itertools.pairwise(edges)]
        self._answered = [sum(interval.answered for interval in block) for block in blocks]
        self._seconds = [sum(interval.seconds for interval in block) for block in blocks]
        rows = [
            dict(LatencyHistogram.merged(interval.latency for interval in block).rows())
            for block in blocks
        ]
        self._values = sorted({value for row in rows for value in row})
        self._passed = []
        for row in rows:
            passed, total = [], 0
            for value in self._values:
                total = row.get(value, total)
                passed.append(total)
            self._passed.append(passed)

    def __len__(self) -> int:
        return len(self._seconds)

    def draw(self, chance: random.Random) -> list[int]:
        """Return numbers of blocks, as many as there are, with replacement."""
        return chance.choices(range(len(self)), k=len(self)) if len(self) else []

    def answered_rate(self, blocks: Sequence[int]) -> float:
        """Return the calls answered per second in blocks."""
        seconds = sum(self._seconds[block] for block in blocks)
        return sum(self._answered[block] for block in blocks) / seconds if seconds else 0.0

    def percentile(self, blocks: Sequence[int], percentile: float) -> float:
        """Return a percentile of the latencies of blocks, in milliseconds."""
        chosen = [self._passed[block] for block in blocks]
        total = sum(passed[-1] for passed in chosen) if self._values else 0
        if not total:
            return 0.0
        rank = max(math.ceil(percentile / 100 * total - 1e-9), 1)
        index = bisect.bisect_left(
            range(len(self._values)), rank, key=lambda at: sum(passed[at] for passed in chosen)
        )
        return self._values[index] * 1e3


def _percentile(percentile: float) -> Callable[[_Blocks, Sequence[int]], float]:
    return lambda blocks, chosen: blocks.percentile(chosen, percentile)


def _quotient(before: float, after: float) -> float:
    return after / before if before else math.inf


def _confidence(ratios: list[float]) -> tuple[float, float]:
    ordered = sorted(ratios)
    tail = round((1 - CONFIDENCE) / 2 * len(ordered))
    return ordered[tail], ordered[-1 - tail]


def _remarks(before: Report, after: Report) -> list[str]:
    remarks = []
    ours, theirs = asdict(before.configuration), asdict(after.configuration)
    different = [
        f"{name} {ours[name]} and {theirs[name]}" for name in ours if ours[name] != theirs[name]
    ]
    if different:
        remarks.append(f"The runs were not alike: {', '.join(different)}.")
    machines = [
        name
        for name in ("processor", "cores", "system", "python", "grpcio")
        if before.environment.get(name) != after.environment.get(name)
    ]
    if machines:
        remarks.append(f"The generators were not alike: {', '.join(machines)}.")
    for name, report in (("first", before), ("second", after)):
        if any(step.generator_limits for step in report.steps):
            remarks.append(f"In the {name} run the generator was the limit.")
        elif any(step.disturbed for step in report.steps):
            remarks.append(f"In the {name} run the machine of the generator was disturbed.")
        due = sum(step.due for step in report.steps)
        missing = due - sum(step.ok for step in report.steps)
        if missing:
            remarks.append(f"In the {name} run {missing:,} of {due:,} calls were not answered.")
    loads = [{str(step.load) for step in report.steps} for report in (before, after)]
    if before.search is None and loads[0] != loads[1]:
        alone = ", ".join(sorted(loads[0] ^ loads[1]))
        remarks.append(f"Only one of the runs had these loads: {alone}.")
    return remarks
