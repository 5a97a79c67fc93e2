"""A whole run: its steps one after the other, and what each one says about the next."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Protocol

from heliograph_loadtest.aggregation import Aggregation
from heliograph_loadtest.environment import environment
from heliograph_loadtest.fleet import Fleet
from heliograph_loadtest.interruption import Interruption
from heliograph_loadtest.load import OpenLoop, Step, Traffic
from heliograph_loadtest.objectives import Objective
from heliograph_loadtest.recording import Records
from heliograph_loadtest.requests import ImageSelection
from heliograph_loadtest.results import Configuration, Report, SearchResult, StepResult
from heliograph_loadtest.search import RateSearch

MAX_SEARCH_STEPS: Final = 30
"""Steps after which a search ends wherever it is."""

_HOPELESS: Final = 0.5
"""A rate whose calls are answered in time to a smaller share than this is not tried again."""


@dataclass(frozen=True)
class Plan:
    """What to run."""

    traffic: Traffic
    images: ImageSelection
    steps: tuple[Step, ...]
    """In order; a search starts with the rate of the only one."""
    processes: int = 1
    objectives: tuple[Objective, ...] = ()
    find_max: bool = False
    """Whether to search for the highest rate that keeps the objectives."""
    precision: float = 0.05
    """Of the search: see RateSearch."""


class Progress(Protocol):
    """Is told what happens while it does."""

    def step_started(self, step: Step) -> None:
        """Take note of a step."""

    def step_runs(self, step: Step, elapsed: float, aggregation: Aggregation) -> None:
        """Look at what there is; `elapsed` are the seconds of the step, warm-up included."""

    def step_ended(self, result: StepResult) -> None:
        """Take the result of a step."""


def run(plan: Plan, progress: Progress) -> Report:
    """Run a plan, and return what there is when it is done or interrupted.

    Raises:
        HeliographError: The target cannot be measured.
    """
    started = datetime.now(UTC).isoformat(timespec="seconds")
    surroundings = environment()
    with Fleet(plan.traffic, plan.processes) as fleet:
        fleet.open()
        with Interruption() as interruption:
            steps = _Steps(plan, fleet, interruption, progress)
            search = steps.search() if plan.find_max else None
            if not plan.find_max:
                steps.run_all()
    return Report(
        started=started,
        environment=surroundings,
        configuration=configuration(plan),
        steps=tuple(steps.results),
        search=search,
        interrupted=interruption.requested,
    )


def configuration(plan: Plan) -> Configuration:
    """Return what reports say about a plan."""
    traffic = plan.traffic
    return Configuration(
        target=traffic.endpoint.target,
        tls=traffic.endpoint.tls is not None,
        token=traffic.endpoint.token is not None,
        method=traffic.method,
        batch_size=traffic.batch_size,
        images=len(plan.images.paths),
        image_bytes=plan.images.total_bytes,
        model=traffic.model,
        version=traffic.version,
        version_label=traffic.version_label,
        top_k=traffic.top_k,
        timeout=traffic.endpoint.timeout,
        processes=plan.processes,
        connections=traffic.endpoint.channels,
        attempts=traffic.endpoint.retry.attempts,
        max_in_flight=plan.steps[0].max_in_flight,
        seed=traffic.seed,
        objectives=plan.objectives,
    )


class _Steps:
    """The steps of a run, made one after the other."""

    def __init__(
        self, plan: Plan, fleet: Fleet, interruption: Interruption, progress: Progress
    ) -> None:
        self.results: list[StepResult] = []
        self._plan = plan
        self._fleet = fleet
        self._interruption = interruption
        self._progress = progress

    def run_all(self) -> None:
        """Run the steps of the plan."""
        for step in self._plan.steps:
            if self._interruption.requested:
                break
            self._run(step)

    def search(self) -> SearchResult:
        """Run steps until the highest rate is known that keeps the objectives."""
        (first,) = self._plan.steps
        assert isinstance(first.load, OpenLoop)
        search = RateSearch(first.load.rate, self._plan.precision)
        limited: dict[float, bool] = {}
        while (rate := search.next_rate) is not None and len(self.results) < MAX_SEARCH_STEPS:
            step = replace(first, load=replace(first.load, rate=rate))
            result = self._try(step)
            if self._interruption.requested:
                break
            limited[rate] = bool(result.generator_limits)
            search = search.after(rate, result.keeps(self._plan.objectives))
        missed = None if search.missed == math.inf else search.missed
        return SearchResult(
            kept=search.kept,
            missed=missed,
            generator_limited=missed is not None and limited[missed],
        )

    def _try(self, step: Step) -> StepResult:
        """Run a step of a search; a second time when it missed by what may be bad luck."""
        result = self._run(step)
        attained = min(item.share for item in result.attainments(self._plan.objectives))
        if (
            self._interruption.requested
            or result.keeps(self._plan.objectives)
            or attained < _HOPELESS
        ):
            return result
        return self._run(step)

    def _run(self, step: Step) -> StepResult:
        aggregation = Aggregation(step, self._plan.traffic.batch_size)
        self._progress.step_started(step)
        started = time.monotonic()

        def take(records: Records) -> None:
            aggregation.add(records)
            self._progress.step_runs(step, time.monotonic() - started, aggregation)

        efforts = self._fleet.run(step, take, self._interruption.is_requested)
        result = aggregation.result(efforts)
        self.results.append(result)
        self._progress.step_ended(result)
        return result
