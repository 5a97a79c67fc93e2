"""Records of all generator processes, folded into the result of a step."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

from heliograph_loadtest.generator import SHIPPING_INTERVAL, Effort
from heliograph_loadtest.histogram import LatencyHistogram
from heliograph_loadtest.load import ClosedLoop, Step
from heliograph_loadtest.recording import NOT_SENT, OK, Records
from heliograph_loadtest.results import (
    ErrorCount,
    GeneratorUse,
    Interval,
    StepResult,
    VersionCount,
)

MAX_INTERVALS = 600
"""A step of more seconds than this is divided into so many intervals, not into seconds."""


def interval_of(duration: float) -> float:
    """Return how long the intervals of a step are: a second, unless it is very short or long."""
    if duration < 10:
        return 0.1
    return float(max(math.ceil(duration / MAX_INTERVALS), 1))


class Aggregation:
    """Takes records as they come, in any order, and keeps counts only."""

    def __init__(self, step: Step, images_per_call: int) -> None:
        """Start with nothing."""
        self._step = step
        self._images_per_call = images_per_call
        self._interval = interval_of(step.duration)
        self._latencies: defaultdict[tuple[int, str], LatencyHistogram] = defaultdict(
            LatencyHistogram
        )
        self._answered: Counter[int] = Counter()
        self._lateness = LatencyHistogram()
        self._held = 0
        self._failed_calls: Counter[tuple[str, str]] = Counter()
        self._failed_images: Counter[tuple[str, str]] = Counter()
        self._messages: dict[tuple[str, str], str] = {}
        self._versions: Counter[tuple[str, int]] = Counter()

    def add(self, records: Records) -> None:
        """Fold in records; those of the warm-up only count where they were answered after it."""
        width = round(self._interval * 1e6)
        latencies: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        lateness = []
        oks = {index for index, item in enumerate(records.outcomes) if item.status == OK}
        for due, latency, late, held, outcome in zip(
            records.due,
            records.latency,
            records.lateness,
            records.held,
            records.outcome,
            strict=True,
        ):
            if outcome in oks and due + latency >= 0:
                self._answered[(due + latency) // width] += 1
            if due < 0:
                continue
            latencies[due // width, outcome].append(latency)
            if held:
                self._held += 1
            else:
                lateness.append(late)
        for (index, number), values in latencies.items():
            outcome_ = records.outcomes[number]
            self._latencies[index, outcome_.status].record(values)
            if outcome_.status == OK:
                self._versions[outcome_.model, outcome_.version] += len(values)
            else:
                self._failed_calls[outcome_.status, outcome_.reason] += len(values)
            for error in outcome_.image_errors:
                self._failed_images[error.status, error.reason] += error.images * len(values)
        for key, message in records.messages.items():
            self._messages.setdefault(key, message)
        closed = isinstance(self._step.load, ClosedLoop)
        self._lateness.record(records.probes if closed else lateness)

    def intervals(self, seconds: float) -> tuple[Interval, ...]:
        """Return the intervals of the first seconds."""
        count = math.ceil(round(seconds / self._interval, 6))
        return tuple(self._interval_at(index, seconds) for index in range(count))

    def last_interval(self, elapsed: float) -> Interval | None:
        """Return the last interval that is over; None before there is one.

        Args:
            elapsed: Seconds since the warm-up.
        """
        # Records are on their way for a while.
        index = math.floor((elapsed - SHIPPING_INTERVAL) / self._interval) - 1
        return self._interval_at(index, math.inf) if index >= 0 else None

    def result(self, efforts: Sequence[Effort]) -> StepResult:
        """Return what there is, once every process has said what it did."""
        seconds = max((effort.seconds for effort in efforts), default=0.0)
        calls = sum(effort.calls for effort in efforts)
        cpu = sum(effort.cpu_seconds for effort in efforts)
        by_status: defaultdict[str, LatencyHistogram] = defaultdict(LatencyHistogram)
        for (_, status), histogram in sorted(self._latencies.items()):
            by_status[status].add(histogram)
        return StepResult(
            load=self._step.load,
            warmup=self._step.warmup,
            planned=self._step.duration,
            seconds=seconds,
            images_per_call=self._images_per_call,
            intervals=self.intervals(seconds),
            latencies=dict(by_status),
            errors=self._errors(),
            versions=tuple(
                VersionCount(model, version, count)
                for (model, version), count in self._versions.most_common()
            ),
            generator=GeneratorUse(
                cores=tuple(
                    effort.cpu_seconds / effort.seconds if effort.seconds else 0.0
                    for effort in efforts
                ),
                busy=tuple(
                    effort.busy_seconds / effort.seconds if effort.seconds else 0.0
                    for effort in efforts
                ),
                cpu_per_call=cpu / calls if calls else 0.0,
                lateness=self._lateness,
                held=self._held,
            ),
        )

    def _interval_at(self, index: int, seconds: float) -> Interval:
        start = index * self._interval
        counts = {
            status: histogram.count
            for (at, status), histogram in self._latencies.items()
            if at == index
        }
        return Interval(
            start=round(start, 6),
            seconds=round(min(self._interval, seconds - start), 6),
            due=sum(counts.values()),
            ok=counts.get(OK, 0),
            not_sent=counts.get(NOT_SENT, 0),
            answered=self._answered[index],
            latency=self._latencies.get((index, OK), LatencyHistogram()),
        )

    def _errors(self) -> tuple[ErrorCount, ...]:
        keys = {**self._failed_calls, **self._failed_images}
        errors = [
            ErrorCount(
                *key,
                self._messages.get(key, ""),
                self._failed_calls[key],
                self._failed_images[key],
            )
            for key in keys
        ]
        return tuple(sorted(errors, key=lambda item: (-item.calls, -item.images, item.status)))
