"""Step after step: those of a plan, or those that a search asks for."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from heliograph_loadtest.aggregation import Aggregation
from heliograph_loadtest.generator import Effort
from heliograph_loadtest.interruption import Interruption
from heliograph_loadtest.load import OpenLoop, Step, Traffic
from heliograph_loadtest.objectives import Objective
from heliograph_loadtest.recording import Records
from heliograph_loadtest.requests import ImageSelection
from heliograph_loadtest.results import SearchResult, StepResult
from heliograph_loadtest.search import RateSearch

MAX_SEARCH_STEPS: Final = 30
"""Steps after which a search ends wherever it is."""

_HOPELESS: Final = 0.5
"""A rate whose calls are answered in time to a smaller share than this is not tried again, unless
it may have been the generator's fault."""


class Generators(Protocol):
    """What makes the calls of a step: see `heliograph_loadtest.fleet.Fleet.run`."""

    def run(
        self, step: Step, take: Callable[[Records], None], is_interrupted: Callable[[], bool]
    ) -> list[Effort]:
        """Run a step, hand over records as they come, and return what each process did."""


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


class Steps:
    """The steps of a run, made one after the other; an interruption ends the one under way."""

    def __init__(
        self, plan: Plan, generators: Generators, interruption: Interruption, progress: Progress
    ) -> None:
        """Start with no results."""
        self.results: list[StepResult] = []
        self._plan = plan
        self._generators = generators
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
            result = self.attempt(step)
            if self._interruption.requested:
                break
            limited[rate] = bool(result.generator_limits) or result.disturbed
            search = search.after(rate, result.keeps(self._plan.objectives))
        missed = None if search.missed == math.inf else search.missed
        return SearchResult(
            kept=search.kept,
            missed=missed,
            generator_limited=missed is not None and limited[missed],
        )

    def attempt(self, step: Step) -> StepResult:
        """Run a step of a search; a second time when it missed by what may be bad luck."""
        result = self._run(step)
        if self._interruption.requested or result.keeps(self._plan.objectives):
            return result
        attained = min(item.share for item in result.attainments(self._plan.objectives))
        blameless = bool(result.generator_limits) or result.disturbed
        return self._run(step) if attained >= _HOPELESS or blameless else result

    def _run(self, step: Step) -> StepResult:
        aggregation = Aggregation(step, self._plan.traffic.batch_size)
        self._progress.step_started(step)
        started = time.monotonic()

        def take(records: Records) -> None:
            aggregation.add(records)
            self._progress.step_runs(step, time.monotonic() - started, aggregation)

        efforts = self._generators.run(step, take, self._interruption.is_requested)
        result = aggregation.result(efforts)
        self.results.append(result)
        self._progress.step_ended(result)
        return result
