"""Both loops send what they should, when they should, and end when they should."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from heliograph_loadtest.generator import PAUSE_AFTER_FAILURE
from heliograph_loadtest.load import ClosedLoop, OpenLoop
from heliograph_loadtest.recording import Outcome

if TYPE_CHECKING:
    from tests.unit.loadtest.conftest import Bench


def test_an_open_loop_sends_by_the_clock(bench: Bench) -> None:
    target = bench.target(bench.after(0.2))

    bench.run(bench.step(OpenLoop(10), duration=1.0), target)

    assert target.arrived == pytest.approx([number / 10 for number in range(10)], abs=1e-6)


def test_two_processes_send_at_one_rate_together(bench: Bench) -> None:
    target = bench.target(bench.after(0.2))

    result = bench.run(bench.step(OpenLoop(10), duration=1.0), target, processes=2)

    assert sorted(target.arrived) == pytest.approx([number / 10 for number in range(10)], abs=1e-6)
    assert result.due == 10
    assert result.due_rate == pytest.approx(10.0)


@pytest.mark.parametrize("clock", [0.0, 0.1, 1234.567, 98_765.4321, 3_000_000.7])
@pytest.mark.parametrize("rate", [10, 30, 70, 333])
def test_the_number_of_calls_is_exact_whatever_the_clock_says(
    bench: Bench, clock: float, rate: int
) -> None:
    bench.clock = clock

    result = bench.run(
        bench.step(OpenLoop(rate), warmup=0.2, duration=3.0), bench.target(bench.after(0.001))
    )

    assert result.due == result.ok == 3 * rate
    assert sum(interval.due for interval in result.intervals) == result.due


def test_a_closed_loop_keeps_every_caller_busy(bench: Bench) -> None:
    target = bench.target(bench.after(0.01))

    result = bench.run(bench.step(ClosedLoop(5), duration=1.0), target, processes=2)

    assert target.most_in_flight == 5
    assert result.ok == pytest.approx(500, abs=5)
    assert result.answered_rate == pytest.approx(500, rel=0.02)


def test_the_warm_up_is_sent_and_not_counted(bench: Bench) -> None:
    slow_at_first = bench.target(lambda now: now + (0.5 if now < 1.0 else 0.01))

    result = bench.run(bench.step(OpenLoop(100), warmup=1.0, duration=2.0), slow_at_first)

    assert len(slow_at_first.arrived) == 300
    assert result.due == 200
    assert result.latency.longest == pytest.approx(0.01, rel=0.01)
    assert result.seconds == pytest.approx(2.0)


def test_answers_count_in_the_interval_in_which_they_come(bench: Bench) -> None:
    target = bench.target(bench.after(0.5))

    result = bench.run(bench.step(OpenLoop(100), warmup=1.0, duration=2.0), target)

    # Also those of calls from the warm-up; those of the last half second come after the end.
    assert [interval.answered for interval in result.intervals] == pytest.approx([10] * 20, abs=1)
    assert result.answered_rate == pytest.approx(100, rel=0.02)


def test_a_call_at_the_end_is_waited_for(bench: Bench) -> None:
    target = bench.target(bench.after(4.0))

    result = bench.run(bench.step(OpenLoop(10), duration=1.0), target)

    assert (result.ok, result.failed) == (10, 0)
    assert result.seconds == pytest.approx(1.0)


def test_a_call_without_an_answer_ends_with_its_timeout(bench: Bench) -> None:
    target = bench.target(bench.after(60.0))

    result = bench.run(bench.step(OpenLoop(10), duration=1.0), target, timeout=2.0)

    assert (result.ok, result.failed) == (0, 10)
    assert result.latencies["DEADLINE_EXCEEDED"].longest == pytest.approx(2.0, rel=0.01)


@pytest.mark.parametrize("load", [OpenLoop(100), ClosedLoop(2)])
def test_the_number_of_calls_has_a_limit(bench: Bench, load: OpenLoop | ClosedLoop) -> None:
    target = bench.target(bench.after(0.02))

    result = bench.run(bench.step(load, max_calls=50, duration=60.0), target, processes=2)

    assert len(target.arrived) == result.due == 50
    assert result.seconds == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("load", [OpenLoop(100), ClosedLoop(2)])
def test_a_stop_ends_a_step_early_with_what_it_has(
    bench: Bench, load: OpenLoop | ClosedLoop
) -> None:
    target = bench.target(bench.after(0.02))
    bench.stop_at = 1.0

    result = bench.run(bench.step(load, duration=60.0), target)

    assert result.seconds == pytest.approx(1.0, abs=0.03)
    assert result.ok == pytest.approx(100, abs=3)
    assert result.failed == 0


def test_calls_that_a_stop_gives_up_are_not_counted(bench: Bench) -> None:
    target = bench.target(lambda now: now + (0.01 if now < 0.5 else 30.0))
    bench.stop_at = 1.0

    result = bench.run(bench.step(OpenLoop(100), duration=60.0), target, timeout=60.0)

    assert (result.due, result.ok) == (50, 50)


def test_a_caller_does_not_hammer_a_target_that_refuses(bench: Bench) -> None:
    refusing = bench.target(bench.after(0.0), outcome=Outcome("UNAVAILABLE", "UNAVAILABLE"))

    result = bench.run(bench.step(ClosedLoop(1), duration=1.0), refusing)

    assert result.failed == pytest.approx(1 / PAUSE_AFTER_FAILURE, abs=2)


def test_a_generator_that_cannot_keep_up_says_so(bench: Bench) -> None:
    costly = bench.target(bench.after(0.001), busy=0.002)

    result = bench.run(bench.step(OpenLoop(1000)), costly)

    assert result.generator.late_share > 0.9
    assert result.generator.held == 0
    assert any("ms late" in reason for reason in result.generator_limits)
    # What it could not send in time counts as late or not sent, and is not left out.
    assert result.due == 3000
    assert result.latency.longest == pytest.approx(1.0, abs=0.05)
    assert result.not_sent > 400


def test_a_generator_that_keeps_up_says_nothing(bench: Bench) -> None:
    target = bench.target(bench.after(0.05), busy=0.0001)

    result = bench.run(bench.step(OpenLoop(1000)), target)

    assert result.generator_limits == ()


def test_a_busy_event_loop_is_noticed_in_a_closed_loop_too(bench: Bench) -> None:
    costly = bench.target(bench.after(0.001), busy=0.03)

    result = bench.run(bench.step(ClosedLoop(4)), costly)

    assert result.generator.lateness.percentile(50) > 0.01
    assert "busy" in result.generator_limits[0]


def test_answers_that_a_busy_generator_does_not_notice_are_its_own_limit(bench: Bench) -> None:
    # It has time for 500 calls per second, so that as many as allowed are always in flight.
    costly = bench.target(bench.after(0.001), busy=0.002)

    result = bench.run(bench.step(OpenLoop(5000), max_in_flight=4), costly)

    assert result.generator.held > 0
    assert result.generator.busy[0] == pytest.approx(1.0, abs=0.01)
    assert "busy" in result.generator_limits[0]
    # Calls that were given up cost nothing, and are not counted among those that were sent.
    assert bench.efforts[0].calls == pytest.approx(3 / 0.002, abs=2)


def test_a_loop_that_waits_is_not_busy(bench: Bench) -> None:
    target = bench.target(bench.after(0.05), busy=0.001)

    result = bench.run(bench.step(OpenLoop(100), warmup=0.5), target)

    assert result.generator.busy == pytest.approx((0.1,), abs=0.01)


def test_an_error_of_the_generator_itself_is_not_swallowed(bench: Bench) -> None:
    def broken(now: float) -> float:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        bench.run(bench.step(OpenLoop(10), duration=0.5), bench.target(broken))
