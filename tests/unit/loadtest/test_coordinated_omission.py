"""A target that stalls is seen as its callers see it: a latency starts when the call was due."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from heliograph_loadtest.load import ClosedLoop, OpenLoop

if TYPE_CHECKING:
    from tests.unit.loadtest.conftest import Bench

RATE = 100
STALL = (1.0, 2.0)
SERVICE = 0.001


def test_an_open_loop_shows_a_stall_as_a_ramp_of_latencies(bench: Bench) -> None:
    target = bench.target(bench.stalled(*STALL, SERVICE))

    result = bench.run(bench.step(OpenLoop(RATE)), target)

    assert result.due == result.ok == 3 * RATE
    seconds = [interval.latency for interval in result.intervals]
    assert seconds[0].longest == pytest.approx(SERVICE, rel=0.01)
    assert seconds[29].longest == pytest.approx(SERVICE, rel=0.01)
    # Of the calls due in each tenth of the stalled second, the first one waits to its end.
    waits = [latency.longest for latency in seconds[10:20]]
    assert waits == pytest.approx([1.0 - tenth / 10 + SERVICE for tenth in range(10)], rel=0.01)


def test_its_percentiles_are_those_that_the_stall_means(bench: Bench) -> None:
    target = bench.target(bench.stalled(*STALL, SERVICE))

    result = bench.run(bench.step(OpenLoop(RATE)), target)

    # A third of the calls waited, evenly from 0 to 1 second.
    assert result.latency.percentile(50) == pytest.approx(SERVICE, rel=0.01)
    assert result.latency.percentile(90) == pytest.approx(0.7, abs=0.02)
    assert result.latency.percentile(99) == pytest.approx(0.97, abs=0.02)
    assert result.latency.mean == pytest.approx(0.5 / 3, abs=0.01)


def test_a_closed_loop_hides_it_in_one_call_of_each_caller(bench: Bench) -> None:
    target = bench.target(bench.stalled(*STALL, SERVICE))

    result = bench.run(bench.step(ClosedLoop(4)), target)

    assert result.latency.longest == pytest.approx(1.0, rel=0.01)
    assert result.latency.count - result.latency.count_within(2 * SERVICE) == 4
    assert result.latency.percentile(99.9) == pytest.approx(SERVICE, rel=0.01)


def test_a_bound_on_the_calls_in_flight_does_not_hide_it(bench: Bench) -> None:
    target = bench.target(bench.stalled(*STALL, SERVICE))

    result = bench.run(bench.step(OpenLoop(RATE), max_in_flight=10), target)

    assert target.most_in_flight == 10
    assert result.due == result.ok == 3 * RATE
    assert result.latency.percentile(99) == pytest.approx(0.97, abs=0.02)
    # The others of the stalled second, which says nothing against the generator.
    assert result.generator.held == pytest.approx(RATE - 10, abs=2)
    assert result.generator.late_share == 0


def test_calls_that_could_not_be_sent_in_time_are_counted_as_such(bench: Bench) -> None:
    target = bench.target(bench.stalled(*STALL, SERVICE))

    result = bench.run(bench.step(OpenLoop(RATE), max_in_flight=10), target, timeout=0.3)

    # Ten wait in vain for 0.3 seconds, while those that are due meanwhile wait for a tenth of that.
    assert result.not_sent >= 2 * 17
    assert result.due == 3 * RATE == result.ok + result.failed + result.not_sent
    assert len(target.arrived) == 3 * RATE - result.not_sent
    assert result.latencies["NOT_SENT"].longest == pytest.approx(0.03, rel=0.01)
    assert result.latencies["DEADLINE_EXCEEDED"].longest == pytest.approx(0.3, rel=0.01)


def test_a_target_beyond_its_limits_gets_calls_that_it_can_answer(bench: Bench) -> None:
    target = bench.target(bench.queue(rate=50))

    result = bench.run(
        bench.step(OpenLoop(500), duration=10.0, max_in_flight=20), target, timeout=2.0
    )

    assert result.answered_rate == pytest.approx(50, rel=0.05)
    assert result.failed == 0
    assert result.not_sent == pytest.approx(5000 - 500, rel=0.05)


def test_a_target_slower_than_the_rate_shows_its_growing_queue(bench: Bench) -> None:
    target = bench.target(bench.queue(rate=80))

    result = bench.run(bench.step(OpenLoop(RATE), duration=10.0), target)

    # After ten seconds 200 calls wait, which takes 2.5 seconds at 80 per second.
    assert result.intervals[-1].latency.longest == pytest.approx(2.5, abs=0.05)
    assert result.answered_rate == pytest.approx(80, rel=0.02)
    assert result.due_rate == pytest.approx(RATE)
