"""What the figures mean: objectives, goodput, and when the generator was the limit."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from heliograph_loadtest.load import ClosedLoop, OpenLoop
from heliograph_loadtest.objectives import Objective

if TYPE_CHECKING:
    from tests.unit.loadtest.conftest import Reports


def test_an_objective_is_kept_by_the_share_that_was_in_time(reports: Reports) -> None:
    step = reports.step([[0.010] * 99 + [0.200]])

    kept, missed = step.attainments((Objective(99.0, 0.05), Objective(99.5, 0.05)))

    assert (kept.share, kept.kept) == (0.99, True)
    assert (missed.share, missed.kept) == (0.99, False)


def test_a_call_that_fails_counts_as_one_that_took_forever(reports: Reports) -> None:
    fast_or_refused = reports.step([[0.001] * 98], errors={"RESOURCE_EXHAUSTED": 2})

    (attainment,) = fast_or_refused.attainments((Objective(99.0, 0.05),))

    assert attainment.share == 0.98
    assert not attainment.kept
    assert fast_or_refused.latency.percentile(99) < 0.05


def test_a_call_that_was_not_sent_does_so_too(reports: Reports) -> None:
    step = reports.step([[0.001] * 50], errors={"NOT_SENT": 50})

    assert (step.ok, step.failed, step.not_sent, step.due) == (50, 0, 50, 100)
    assert not step.keeps((Objective(51.0, 0.05),))


def test_no_objective_is_kept_where_nothing_was_due(reports: Reports) -> None:
    assert not reports.step([]).keeps((Objective(50.0, 1.0),))


def test_goodput_is_the_rate_of_answers_in_time(reports: Reports) -> None:
    step = reports.step([[0.010] * 6 + [0.080] * 4] * 5)

    assert step.goodput(0.05) == pytest.approx(6.0)
    assert step.goodput(0.10) == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("cores", "lateness", "reason"),
    [
        ((0.3, 0.97), [0.0001] * 100, "busy 97.0% of the time"),
        ((0.3,), [0.0001] * 97 + [0.02] * 3, "3.0% of the calls were sent more than 10.0 ms late"),
    ],
)
def test_the_generator_was_the_limit(
    reports: Reports, cores: tuple[float, ...], lateness: list[float], reason: str
) -> None:
    (found,) = reports.use(cores, lateness).limits(closed=False)

    assert reason in found


@pytest.mark.parametrize(
    ("cores", "lateness"),
    [
        ((0.89, 0.89), [0.0001] * 100),
        ((0.3,), [0.0001] * 995 + [0.02] * 5),
        ((0.3,), [0.009] * 100),
        ((), []),
    ],
)
def test_the_generator_was_not_the_limit(
    reports: Reports, cores: tuple[float, ...], lateness: list[float]
) -> None:
    assert reports.use(cores, lateness).limits(closed=False) == []


def test_threads_beside_the_event_loop_count_too(reports: Reports) -> None:
    use = replace(reports.use((0.95,), [0.0001]), busy=(0.4,))

    (found,) = use.limits(closed=False)

    assert "95.0% of a core" in found


def test_a_closed_loop_has_no_late_calls(reports: Reports) -> None:
    use = reports.use((0.3,), [0.05] * 100)

    assert reports.step(load=ClosedLoop(1), generator=use).generator_limits == ()
    assert reports.step(load=OpenLoop(1), generator=use).generator_limits != ()


@pytest.mark.parametrize(
    ("lateness", "latency", "disturbed"),
    [(0.006, 0.010, True), (0.004, 0.010, False), (0.0009, 0.001, False), (0.0, 0.0, False)],
)
def test_latencies_that_are_mostly_lateness_are_disturbed(
    reports: Reports, lateness: float, latency: float, disturbed: bool
) -> None:
    step = reports.step([[latency] * 100], generator=reports.use((0.3,), [lateness] * 100))

    assert step.disturbed is disturbed
