"""Virtual time for the generator, and reports to show.

An event loop whose clock jumps to the next timer runs seconds of load in milliseconds, to the
microsecond as planned: no test of latencies depends on the machine.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from heliograph_loadtest.aggregation import Aggregation
from heliograph_loadtest.generator import Effort, Generator
from heliograph_loadtest.histogram import LatencyHistogram
from heliograph_loadtest.load import Load, OpenLoop, Share, Step
from heliograph_loadtest.objectives import Objective
from heliograph_loadtest.recording import OK, Outcome, Recorder, Records
from heliograph_loadtest.results import (
    Configuration,
    ErrorCount,
    GeneratorUse,
    Interval,
    Report,
    StepResult,
    VersionCount,
)

ANSWERED = Outcome(OK, "", "digits", 3)
LATE = Outcome("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")
FOUR_PER_SECOND = OpenLoop(4.0)


class _Selector(selectors.SelectSelector):
    """Finds nothing ready, and lets the time pass that it was to wait."""

    now = 0.0
    waited = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everything waits for something that never comes"
            self.now += max(timeout, 0.0)
            self.waited += max(timeout, 0.0)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that never waits."""

    def __init__(self) -> None:
        self.selector = _Selector()
        super().__init__(self.selector)

    def time(self) -> float:
        return self.selector.now

    def idle_seconds(self) -> float:
        return self.selector.waited

    def spend(self, seconds: float) -> None:
        """Keep the processor busy: time passes, and no other callback runs."""
        self.selector.now += seconds


@dataclass
class Target:
    """Answers like a server: by its own behaviour, unless a call's timeout passes first."""

    behave: Callable[[float], float]
    """Takes when a call arrives, returns when it is answered."""
    busy: float = 0.0
    """Processor time that sending a call takes from the generator."""
    outcome: Outcome = ANSWERED
    arrived: list[float] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0

    async def __call__(self, number: int, timeout: float) -> Outcome:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.spend(self.busy)
        now = loop.time()
        self.arrived.append(now)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        wait = self.behave(now) - now
        try:
            await asyncio.sleep(min(wait, timeout))
        finally:
            self.in_flight -= 1
        return self.outcome if wait <= timeout else LATE

    async def close(self) -> None:
        """Nothing to close."""


class Bench:
    """Runs steps against targets in virtual time."""

    stop_at: float | None = None
    """Virtual second of the step at which the generators are told to stop."""

    clock = 0.0
    """What the event loop's clock says when a step starts."""

    def __init__(self) -> None:
        self.efforts: list[Effort] = []

    def target(self, behave: Callable[[float], float], **options: Any) -> Target:
        return Target(behave, **options)

    def after(self, seconds: float) -> Callable[[float], float]:
        """Behave so that each call takes so long, however many there are."""
        return lambda now: now + seconds

    def stalled(self, start: float, end: float, seconds: float) -> Callable[[float], float]:
        """Behave so that nothing is answered from one moment to another."""
        return lambda now: (end if start <= now < end else now) + seconds

    def queue(self, rate: float) -> Callable[[float], float]:
        """Behave as a server that works on one call after the other, at most so many a second."""
        free = 0.0

        def behave(now: float) -> float:
            nonlocal free
            free = max(free, now) + 1 / rate
            return free

        return behave

    def step(self, load: Load, **options: Any) -> Step:
        given = {"warmup": 0.0, "duration": 3.0, "max_calls": 10**6, "max_in_flight": 10**4}
        return Step(load, **{**given, **options})

    def run(
        self,
        step: Step,
        target: Target,
        *,
        processes: int = 1,
        timeout: float = 10.0,
        seed: int = 0,
    ) -> StepResult:
        """Run a step on generators that share one event loop, and fold what they recorded."""
        aggregation = Aggregation(step, images_per_call=1)
        for records in self._record(step, target, processes, timeout, seed):
            aggregation.add(records)
        result = aggregation.result(self.efforts)
        # The processor time is the test's own, which no assertion should depend on.
        return replace(result, generator=replace(result.generator, cores=(0.0,) * processes))

    def record(self, step: Step, target: Target) -> Records:
        """Run a step on one generator; the effort is without the test's processor time."""
        (records,) = self._record(step, target, 1, 10.0, 0)
        self.efforts = [replace(effort, cpu_seconds=0.0) for effort in self.efforts]
        return records

    def _record(
        self, step: Step, target: Target, processes: int, timeout: float, seed: int
    ) -> list[Records]:
        recorders = [Recorder() for _ in range(processes)]

        async def run_all() -> list[Effort]:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualLoop)
            loop.spend(self.clock)
            generators = [
                Generator(target, Share(number, processes), timeout, seed, loop.idle_seconds)
                for number in range(processes)
            ]
            if self.stop_at is not None:
                for generator in generators:
                    loop.call_at(self.clock + self.stop_at, generator.stop)
            return await asyncio.gather(
                *(
                    generator.run(step, loop.time(), recorder)
                    for generator, recorder in zip(generators, recorders, strict=True)
                )
            )

        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            self.efforts = runner.run(run_all())
        return [recorder.take() for recorder in recorders]


@pytest.fixture
def bench() -> Bench:
    return Bench()


class Reports:
    """Makes results out of latencies, without a run."""

    def step(
        self,
        latencies: Sequence[Sequence[float]] = ((0.001, 0.002, 0.003, 0.004),) * 12,
        *,
        load: Load = FOUR_PER_SECOND,
        errors: Mapping[str, int] | None = None,
        **changes: Any,
    ) -> StepResult:
        """Return a step with the latencies, in seconds, of each of its seconds."""
        intervals = tuple(
            Interval(float(start), 1.0, len(values), len(values), 0, len(values), histogram(values))
            for start, values in enumerate(latencies)
        )
        by_status = {OK: LatencyHistogram.merged(item.latency for item in intervals)}
        for status, count in (errors or {}).items():
            by_status[status] = histogram([0.5] * count)
        made = StepResult(
            load=load,
            warmup=1.0,
            planned=float(len(latencies)),
            seconds=float(len(latencies)),
            images_per_call=1,
            intervals=intervals,
            latencies=by_status,
            errors=tuple(
                ErrorCount(status, status, "it went wrong", count, 0)
                for status, count in (errors or {}).items()
            ),
            versions=(VersionCount("digits", 3, by_status[OK].count),),
            generator=GeneratorUse((0.25,), (0.2,), 0.0001, histogram([0.0001] * 100), 0),
        )
        return replace(made, **changes)

    def use(self, cores: tuple[float, ...], lateness: Sequence[float]) -> GeneratorUse:
        """Return what a generator used, and how late it was."""
        return GeneratorUse(cores, cores, 0.0001, histogram(lateness), 0)

    def report(self, *steps: StepResult, **changes: Any) -> Report:
        configuration = Configuration(
            target="127.0.0.1:9000",
            tls=False,
            token=False,
            method="classify",
            batch_size=1,
            images=8,
            image_bytes=8000,
            model=None,
            version=None,
            version_label=None,
            top_k=5,
            timeout=10.0,
            processes=1,
            connections=1,
            attempts=1,
            max_in_flight=1000,
            seed=0,
            objectives=(Objective(99.0, 0.05),),
        )
        made = Report(
            started="2026-01-02T03:04:05+00:00",
            environment={"heliograph": "0.1.0", "cores": 2, "load_average": 0.5},
            configuration=configuration,
            steps=steps or (self.step(),),
            search=None,
            interrupted=False,
        )
        return replace(made, **changes)


def histogram(seconds: Sequence[float]) -> LatencyHistogram:
    made = LatencyHistogram()
    made.record(round(value * 1e6) for value in seconds)
    return made


@pytest.fixture
def reports() -> Reports:
    return Reports()
