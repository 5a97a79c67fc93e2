"""What a run has measured: frozen values, from which every report is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from heliograph_loadtest.histogram import LatencyHistogram
from heliograph_loadtest.load import ClosedLoop, Load
from heliograph_loadtest.objectives import Objective
from heliograph_loadtest.recording import NOT_SENT, OK
from heliograph_loadtest.units import milliseconds, percent

PERCENTILES: Final = (50.0, 75.0, 90.0, 95.0, 99.0, 99.9)
"""Those that reports show."""

LATE: Final = 0.010
"""Seconds after which a call counts as sent late."""

LATE_SHARE: Final = 0.01
"""Share of late calls from which the generator counts as the limit."""

BUSY: Final = 0.9
"""Part of its time, or of a core, from which a generator process counts as the limit."""


@dataclass(frozen=True)
class ErrorCount:
    """Calls, and images inside answered batches, that failed alike."""

    status: str
    """Name of the gRPC status, or NOT_SENT."""
    reason: str
    """Stable reason, where the target named one."""
    message: str
    """The first message of these."""
    calls: int
    images: int


@dataclass(frozen=True)
class VersionCount:
    """Calls that one version answered."""

    model: str
    version: int
    calls: int


@dataclass(frozen=True)
class Interval:
    """The calls that were due in a piece of the measured time, usually a second."""

    start: float
    """Seconds after the warm-up."""
    seconds: float
    """Length; the last interval may be shorter."""
    due: int
    ok: int
    not_sent: int
    answered: int
    """Calls that were answered in this interval, whenever they were due."""
    latency: LatencyHistogram
    """Of the calls that were answered without error."""

    @property
    def failed(self) -> int:
        """Calls that were sent and failed."""
        return self.due - self.ok - self.not_sent


@dataclass(frozen=True)
class GeneratorUse:
    """What the load cost the generator, and whether it kept up."""

    cores: tuple[float, ...]
    """Processor time over time, for each process."""
    busy: tuple[float, ...]
    """Share of the time in which the event loop of each process had something to do."""
    cpu_per_call: float
    """Processor seconds for a call."""
    lateness: LatencyHistogram
    """From when a call was due until it was sent, for calls that nothing held back but the
    generator. In a closed loop, where calls are due when they are sent: of timers."""
    held: int
    """Calls sent late, or never, because as many as allowed were in flight."""

    @property
    def late_share(self) -> float:
        """Share of the calls that were sent late for want of processor time."""
        count = self.lateness.count
        return 1 - self.lateness.count_within(LATE) / count if count else 0.0

    def limits(self, *, closed: bool) -> list[str]:
        """Return why the rate says more about the generator than about the target, if it does.

        Args:
            closed: Whether the loop was closed, in which no call is late.
        """
        reasons = []
        if max(self.busy, default=0.0) >= BUSY:
            reasons.append(f"a generator process was busy {percent(max(self.busy))} of the time")
        elif max(self.cores, default=0.0) >= BUSY:
            reasons.append(f"a generator process used {percent(max(self.cores))} of a core")
        if self.late_share > LATE_SHARE and not closed:
            reasons.append(
                f"{percent(self.late_share)} of the calls were sent more than "
                f"{milliseconds(LATE)} ms late"
            )
        return reasons

    def disturbs(self, latency: LatencyHistogram) -> bool:
        """Return whether the longest latencies are to a good part the generator's lateness."""
        late = self.lateness.percentile(99)
        return late > 0.001 and late > latency.percentile(99) / 2


@dataclass(frozen=True)
class Attainment:
    """How far an objective was kept."""

    objective: Objective
    share: float
    """Share of the calls due that were answered without error within the limit."""

    @property
    def kept(self) -> bool:
        """Whether that is enough."""
        return self.share >= self.objective.percentile / 100


@dataclass(frozen=True)
class StepResult:
    """One load, measured."""

    load: Load
    warmup: float
    """Seconds that were left out at the start."""
    planned: float
    """Seconds that were to be measured."""
    seconds: float
    """Seconds that were."""
    images_per_call: int
    intervals: tuple[Interval, ...]
    latencies: Mapping[str, LatencyHistogram]
    """By status; for NOT_SENT the time after which calls are given up."""
    errors: tuple[ErrorCount, ...]
    """Most frequent first."""
    versions: tuple[VersionCount, ...]
    """Most frequent first."""
    generator: GeneratorUse

    @property
    def latency(self) -> LatencyHistogram:
        """Latencies of the calls that were answered without error."""
        return self.latencies.get(OK, LatencyHistogram())

    @cached_property
    def due(self) -> int:
        """Calls that were due in the measured time."""
        return sum(histogram.count for histogram in self.latencies.values())

    @property
    def ok(self) -> int:
        """Calls answered without error."""
        return self.latency.count

    @property
    def not_sent(self) -> int:
        """Calls given up before they were sent."""
        return self.latencies[NOT_SENT].count if NOT_SENT in self.latencies else 0

    @property
    def failed(self) -> int:
        """Calls that were sent and failed."""
        return self.due - self.ok - self.not_sent

    @property
    def failed_images(self) -> int:
        """Images that failed by themselves, in batches that were answered."""
        return sum(error.images for error in self.errors)

    @property
    def due_rate(self) -> float:
        """Calls due per second."""
        return self.due / self.seconds if self.seconds else 0.0

    @property
    def answered_rate(self) -> float:
        """Calls answered without error per second, counted when the answer came."""
        answered = sum(interval.answered for interval in self.intervals)
        return answered / self.seconds if self.seconds else 0.0

    @property
    def image_rate(self) -> float:
        """Images classified per second."""
        per_call = self.images_per_call - (self.failed_images / self.ok if self.ok else 0.0)
        return self.answered_rate * per_call

    def goodput(self, limit: float) -> float:
        """Return the calls per second that were answered without error within a time."""
        return self.latency.count_within(limit) / self.seconds if self.seconds else 0.0

    def attainments(self, objectives: Sequence[Objective]) -> tuple[Attainment, ...]:
        """Return how far each objective was kept. Nothing is, where no call was due."""
        return tuple(
            Attainment(
                objective,
                self.latency.count_within(objective.limit) / self.due if self.due else 0.0,
            )
            for objective in objectives
        )

    def keeps(self, objectives: Sequence[Objective]) -> bool:
        """Return whether every objective was kept."""
        return all(attainment.kept for attainment in self.attainments(objectives))

    @property
    def closed(self) -> bool:
        """Whether the loop was closed."""
        return isinstance(self.load, ClosedLoop)

    @cached_property
    def generator_limits(self) -> tuple[str, ...]:
        """Why the generator was the limit; empty when it was not."""
        return tuple(self.generator.limits(closed=self.closed))

    @cached_property
    def disturbed(self) -> bool:
        """Whether the longest latencies are to a good part the generator's own."""
        return self.generator.disturbs(self.latency)

    @property
    def title(self) -> str:
        """The load, in words."""
        kind = "closed loop" if self.closed else "open loop"
        return f"{kind}, {self.load}"


@dataclass(frozen=True)
class Configuration:
    """What a run was asked to do, without secrets."""

    target: str
    tls: bool
    token: bool
    method: str
    """`classify`, `batch` or `stream`."""
    batch_size: int
    images: int
    """Different images sent."""
    image_bytes: int
    """Bytes of all of them."""
    model: str | None
    version: int | None
    version_label: str | None
    top_k: int
    timeout: float
    processes: int
    connections: int
    """Of each process."""
    attempts: int
    """Attempts of a call, the first included; more than 1 hides failures."""
    max_in_flight: int
    seed: int
    objectives: tuple[Objective, ...]


@dataclass(frozen=True)
class SearchResult:
    """The highest rate that keeps the objectives, as far as it was found."""

    kept: float
    """Highest rate that kept them, in calls per second; 0 when none did."""
    missed: float | None
    """Lowest rate that missed them; None when none did."""
    generator_limited: bool
    """Whether it was missed at a rate where the generator was the limit."""


@dataclass(frozen=True)
class Report:
    """A whole run."""

    started: str
    """UTC, ISO 8601."""
    environment: Mapping[str, str | int | float]
    """The generator's machine and software."""
    configuration: Configuration
    steps: tuple[StepResult, ...]
    search: SearchResult | None
    interrupted: bool
    """Whether someone ended the run before it was done."""
