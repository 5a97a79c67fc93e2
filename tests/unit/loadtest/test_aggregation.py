"""Records of several processes become one result, and every call is counted once."""

from __future__ import annotations

import pytest

from heliograph_loadtest.aggregation import Aggregation, interval_of
from heliograph_loadtest.generator import Effort
from heliograph_loadtest.load import ClosedLoop, Load, OpenLoop, Step
from heliograph_loadtest.recording import NOT_SENT, OK, ImageError, Outcome, Recorder

THREE = Outcome(OK, "", "digits", 3)
FOUR = Outcome(OK, "", "digits", 4)
OVERLOADED = Outcome("RESOURCE_EXHAUSTED", "OVERLOADED")
LATE = Outcome("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")


def step(load: Load | None = None, duration: float = 20.0) -> Step:
    return Step(load or OpenLoop(100.0), 5.0, duration, 10**6, 1000)


def effort(seconds: float = 20.0, calls: int = 100, cpu: float = 5.0) -> Effort:
    return Effort(seconds, calls, cpu, cpu * 1.5)


def test_recorders_hand_over_what_has_gathered_since_the_last_time() -> None:
    recorder = Recorder()
    recorder.add(0.0, 0.0, 0.1, THREE)
    first = recorder.take()
    recorder.add(1.0, 1.0, 1.1, FOUR)
    recorder.add(2.0, 2.0, 2.1, THREE)
    second = recorder.take()

    assert (len(first), len(second), len(recorder.take())) == (1, 2, 0)
    assert [second.outcomes[index].version for index in second.outcome] == [4, 3]


def test_processes_number_their_outcomes_differently_and_are_added_up_rightly() -> None:
    one, other = Recorder(), Recorder()
    one.add(0.5, 0.5, 0.6, THREE)
    one.add(0.6, 0.6, 0.7, OVERLOADED)
    other.add(0.5, 0.5, 0.9, OVERLOADED)
    other.add(0.6, 0.6, 0.8, THREE)
    other.add(0.7, 0.7, 0.8, FOUR)
    aggregation = Aggregation(step(), 1)
    for recorder in (one, other):
        aggregation.add(recorder.take())

    result = aggregation.result([effort(), effort()])

    assert (result.due, result.ok, result.failed, result.not_sent) == (5, 3, 2, 0)
    assert [(item.version, item.calls) for item in result.versions] == [(3, 2), (4, 1)]
    assert result.latencies["RESOURCE_EXHAUSTED"].longest == pytest.approx(0.4, rel=0.001)


def test_errors_are_counted_by_status_and_reason_with_a_message() -> None:
    recorder = Recorder()
    for number in range(7):
        recorder.explain("RESOURCE_EXHAUSTED", "OVERLOADED", f"message {number}")
        recorder.add(number, number, number + 0.1, OVERLOADED)
    recorder.explain("RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED", "too many streams")
    recorder.add(8.0, 8.0, 8.1, Outcome("RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED"))
    recorder.add(9.0, 9.0, 9.1, THREE)
    aggregation = Aggregation(step(), 1)
    aggregation.add(recorder.take())

    result = aggregation.result([effort()])

    assert [(item.reason, item.calls, item.message) for item in result.errors] == [
        ("OVERLOADED", 7, "message 0"),
        ("RESOURCE_EXHAUSTED", 1, "too many streams"),
    ]
    assert result.latencies["RESOURCE_EXHAUSTED"].count == 8
    assert (result.ok, result.failed) == (1, 8)


def test_images_that_fail_inside_a_batch_are_counted_beside_the_calls() -> None:
    recorder = Recorder()
    partly = THREE._replace(image_errors=(ImageError("INVALID_ARGUMENT", "CORRUPT_IMAGE", 3),))
    recorder.explain("INVALID_ARGUMENT", "CORRUPT_IMAGE", "truncated")
    recorder.add(1.0, 1.0, 1.2, partly)
    recorder.add(2.0, 2.0, 2.2, partly)
    recorder.add(3.0, 3.0, 3.2, THREE)
    aggregation = Aggregation(step(duration=10.0), 8)
    aggregation.add(recorder.take())

    result = aggregation.result([effort(10.0)])

    assert (result.ok, result.failed, result.failed_images) == (3, 0, 6)
    (error,) = result.errors
    assert (error.reason, error.calls, error.images, error.message) == (
        *("CORRUPT_IMAGE", 0, 6, "truncated"),
    )
    assert result.image_rate == pytest.approx((3 * 8 - 6) / 10)


def test_every_call_that_was_due_is_in_one_interval() -> None:
    recorder = Recorder()
    for number in range(100):
        outcome = (THREE, LATE, Outcome(NOT_SENT))[number % 3]
        recorder.add(number / 5, number / 5, number / 5 + 0.01, outcome)
    aggregation = Aggregation(step(), 1)
    aggregation.add(recorder.take())

    result = aggregation.result([effort()])

    assert [interval.start for interval in result.intervals] == list(range(20))
    assert [interval.due for interval in result.intervals] == [5] * 20
    assert sum(interval.ok for interval in result.intervals) == result.ok == 34
    assert sum(interval.failed for interval in result.intervals) == result.failed == 33
    assert sum(interval.not_sent for interval in result.intervals) == result.not_sent == 33


def test_calls_of_the_warm_up_count_only_where_they_are_answered_later() -> None:
    recorder = Recorder()
    recorder.add(-3.0, -3.0, -2.0, THREE)
    recorder.add(-0.5, -0.5, 0.5, THREE)
    recorder.add(-0.5, -0.5, 0.5, LATE)
    aggregation = Aggregation(step(), 1)
    aggregation.add(recorder.take())

    result = aggregation.result([effort()])

    assert (result.due, result.errors) == (0, ())
    assert [interval.answered for interval in result.intervals][:2] == [1, 0]


def test_a_step_that_ended_early_has_intervals_up_to_there() -> None:
    recorder = Recorder()
    recorder.add(1.0, 1.0, 1.1, THREE)
    aggregation = Aggregation(step(), 1)
    aggregation.add(recorder.take())

    result = aggregation.result([effort(2.4), effort(2.5)])

    assert [interval.seconds for interval in result.intervals] == [1.0, 1.0, 0.5]
    assert result.seconds == 2.5
    assert result.due_rate == pytest.approx(0.4)


def test_the_cost_of_the_generator_is_that_of_all_processes() -> None:
    result = Aggregation(step(), 1).result([effort(20.0, 3000, 4.0), effort(20.0, 1000, 2.0)])

    assert result.generator.cores == pytest.approx((0.2, 0.1))
    assert result.generator.busy == pytest.approx((0.3, 0.15))
    assert result.generator.cpu_per_call == pytest.approx(6 / 4000)


def test_calls_that_were_held_back_do_not_count_as_the_generators_lateness() -> None:
    recorder = Recorder()
    recorder.add(1.0, 1.4, 1.5, THREE, held=True)
    recorder.add(2.0, 2.001, 2.5, THREE)
    aggregation = Aggregation(step(), 1)
    aggregation.add(recorder.take())

    generator = aggregation.result([effort()]).generator

    assert generator.held == 1
    assert generator.lateness.count == 1
    assert generator.lateness.longest == pytest.approx(0.001, rel=0.01)


def test_the_lateness_of_a_closed_loop_is_that_of_its_timers() -> None:
    recorder = Recorder()
    recorder.add(1.0, 1.0, 1.5, THREE)
    recorder.probe(0.003)
    aggregation = Aggregation(step(ClosedLoop(1)), 1)
    aggregation.add(recorder.take())

    assert aggregation.result([effort()]).generator.lateness.longest == pytest.approx(
        0.003, rel=0.01
    )


def test_nothing_at_all_is_a_result_too() -> None:
    result = Aggregation(step(), 1).result([])

    assert (result.due, result.seconds, result.intervals) == (0, 0.0, ())
    assert (result.due_rate, result.answered_rate, result.image_rate) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("duration", "interval"),
    [(2.0, 0.1), (10.0, 1.0), (600.0, 1.0), (601.0, 2.0), (86400.0, 144.0)],
)
def test_a_step_has_at_most_six_hundred_intervals(duration: float, interval: float) -> None:
    assert interval_of(duration) == interval
    assert duration / interval <= 600
