"""The search finds the highest rate that a target keeps, in few steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from heliograph.endpoint import Endpoint
from heliograph_loadtest.aggregation import Aggregation
from heliograph_loadtest.generator import Effort
from heliograph_loadtest.interruption import Interruption
from heliograph_loadtest.load import OpenLoop, Step, Traffic
from heliograph_loadtest.objectives import Objective
from heliograph_loadtest.recording import Records
from heliograph_loadtest.requests import ImageSelection
from heliograph_loadtest.results import StepResult
from heliograph_loadtest.search import RateSearch
from heliograph_loadtest.steps import Plan, Steps

if TYPE_CHECKING:
    from tests.unit.loadtest.conftest import Bench


def tried(search: RateSearch, keeps: Callable[[float], bool]) -> tuple[RateSearch, list[float]]:
    rates = []
    while (rate := search.next_rate) is not None:
        rates.append(rate)
        search = search.after(rate, keeps(rate))
        assert len(rates) < 100, "the search does not end"
    return search, rates


@pytest.mark.parametrize("capacity", [1.0, 49.0, 50.0, 51.0, 730.0, 12_345.0])
def test_it_ends_next_to_the_capacity(capacity: float) -> None:
    search, rates = tried(RateSearch(50.0, 0.05), lambda rate: rate <= capacity)

    assert search.kept <= capacity < search.missed
    assert search.missed <= search.kept * 1.05 * 1.001
    assert len(rates) <= 20


def test_it_doubles_and_then_bisects() -> None:
    _, rates = tried(RateSearch(100.0, 0.1), lambda rate: rate <= 500)

    assert rates[:4] == [100.0, 200.0, 400.0, 800.0]
    assert rates[4] == pytest.approx((400 * 800) ** 0.5, rel=0.001)
    assert all(400 < rate < 800 for rate in rates[4:])


def test_a_target_that_keeps_nothing_ends_it_too() -> None:
    search, rates = tried(RateSearch(50.0), lambda rate: False)

    assert search.kept == 0
    assert rates[-1] <= 0.1
    assert len(rates) < 12


def test_a_finer_precision_ends_as_well() -> None:
    search, _ = tried(RateSearch(50.0, 1e-9), lambda rate: rate <= 777)

    assert search.kept == pytest.approx(777, rel=0.001)


class Stage:
    """Generators in virtual time, for the steps of a plan."""

    def __init__(self, bench: Bench, behave: Callable[[], Callable[[float], float]]) -> None:
        self._bench = bench
        self._behave = behave

    def run(
        self, step: Step, take: Callable[[Records], None], is_interrupted: Callable[[], bool]
    ) -> list[Effort]:
        take(self._bench.record(step, self._bench.target(self._behave())))
        return self._bench.efforts


class Quiet:
    """Takes note of nothing."""

    def step_started(self, step: Step) -> None:
        """Nothing."""

    def step_runs(self, step: Step, elapsed: float, aggregation: Aggregation) -> None:
        """Nothing."""

    def step_ended(self, result: StepResult) -> None:
        """Nothing."""


def plan(rate: float, precision: float = 0.05) -> Plan:
    return Plan(
        traffic=Traffic(Endpoint("127.0.0.1:1", ("service",)), ("image.png",)),
        images=ImageSelection(("image.png",), 1, 100),
        steps=(Step(OpenLoop(rate), 1.0, 5.0, 10**6, 10**4),),
        objectives=(Objective(99.0, 0.1),),
        find_max=True,
        precision=precision,
    )


def test_a_target_of_known_capacity_is_found(bench: Bench) -> None:
    steps = Steps(plan(20.0), Stage(bench, lambda: bench.queue(rate=300)), Interruption(), Quiet())

    found = steps.search()

    # In six seconds at r per second (r − 300) × 6 calls queue up; 30 of them take 0.1 seconds.
    assert 285 <= found.kept <= 306
    assert found.missed is not None
    assert found.kept < found.missed <= found.kept * 1.051
    assert [step.load.amount for step in steps.results[:5]] == [
        *("20.0/s", "40.0/s", "80.0/s", "160/s", "320/s"),
    ]


def test_a_rate_that_missed_by_little_gets_a_second_chance(bench: Bench) -> None:
    tries = 0

    def once_unlucky() -> Callable[[float], float]:
        nonlocal tries
        tries += 1
        # Two percent of the calls are slow, the first time.
        unlucky = tries == 1
        return lambda now: now + (0.5 if unlucky and 2.0 <= now < 2.1 else 0.01)

    limited = plan(20.0)
    steps = Steps(limited, Stage(bench, once_unlucky), Interruption(), Quiet())
    result = steps.attempt(limited.steps[0])

    assert tries == 2
    assert result.keeps(limited.objectives)
    assert [step.keeps(limited.objectives) for step in steps.results] == [False, True]


def test_a_hopeless_rate_gets_no_second_chance(bench: Bench) -> None:
    hopeless = plan(50.0)
    steps = Steps(hopeless, Stage(bench, lambda: bench.after(3.0)), Interruption(), Quiet())

    result = steps.attempt(hopeless.steps[0])

    assert not result.keeps(hopeless.objectives)
    assert len(steps.results) == 1


def test_a_rate_that_the_generator_missed_gets_a_second_chance(bench: Bench) -> None:
    tries = 0

    class SlowAtFirst(Stage):
        def run(
            self, step: Step, take: Callable[[Records], None], is_interrupted: Callable[[], bool]
        ) -> list[Effort]:
            nonlocal tries
            tries += 1
            busy = 0.1 if tries == 1 else 0.0
            take(bench.record(step, bench.target(bench.after(0.01), busy=busy)))
            return bench.efforts

    limited = plan(20.0)
    stage = SlowAtFirst(bench, lambda: bench.after(0.01))
    result = Steps(limited, stage, Interruption(), Quiet()).attempt(limited.steps[0])

    assert tries == 2
    assert result.keeps(limited.objectives)


def test_a_limit_of_the_generator_is_not_blamed_on_the_target(bench: Bench) -> None:
    class Slow(Stage):
        def run(
            self, step: Step, take: Callable[[Records], None], is_interrupted: Callable[[], bool]
        ) -> list[Effort]:
            target = bench.target(bench.after(0.001), busy=0.01)
            take(bench.record(step, target))
            return bench.efforts

    found = Steps(plan(20.0), Slow(bench, lambda: bench.after(0)), Interruption(), Quiet()).search()

    assert 80 <= found.kept <= 105
    assert found.generator_limited


def test_an_interruption_ends_it_with_what_is_known(bench: Bench) -> None:
    interruption = Interruption()

    class Interrupted(Stage):
        def run(
            self, step: Step, take: Callable[[Records], None], is_interrupted: Callable[[], bool]
        ) -> list[Effort]:
            interruption.requested = step.load == OpenLoop(80.0)
            return super().run(step, take, is_interrupted)

    steps = Steps(plan(20.0), Interrupted(bench, lambda: bench.queue(300)), interruption, Quiet())
    found = steps.search()

    assert (found.kept, found.missed) == (40.0, None)
    assert len(steps.results) == 3
