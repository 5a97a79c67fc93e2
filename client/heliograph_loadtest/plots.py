"""Which charts a report has, and what they show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from heliograph_loadtest.charts import (
    Chart,
    Series,
    exact,
    latency_scale,
    linear,
    percentile_scale,
)
from heliograph_loadtest.histogram import LatencyHistogram
from heliograph_loadtest.load import ClosedLoop
from heliograph_loadtest.results import Interval, Report, StepResult
from heliograph_loadtest.units import duration, milliseconds, number

_LINES: Final = ((50.0, "blue"), (90.0, "violet"), (99.0, "red"))
"""Percentiles that charts show, with their colours."""


def plots(report: Report) -> list[Chart]:
    """Return the charts that suit a report: over time for one step, over the load for several."""
    charts: list[Chart] = []
    if len(report.steps) > 1:
        charts += [_latency_over_load(report), _answers_over_load(report)]
    elif report.steps:
        charts += [_latency_over_time(report), _calls_over_time(report.steps[0])]
    if any(step.ok for step in report.steps):
        charts.append(_percentile_curve(report))
    return charts


def _latency_over_time(report: Report) -> Chart:
    (step,) = report.steps
    answered = [interval for interval in step.intervals if interval.latency.count]
    names = [*(f"p{percentile:g}" for percentile, _ in _LINES), "max"]
    columns = zip(
        *(
            [
                *interval.latency.percentiles(percentile for percentile, _ in _LINES),
                interval.latency.longest,
            ]
            for interval in answered
        ),
        strict=True,
    )
    middles = [_middle(interval) for interval in answered]
    styles = [*(style for _, style in _LINES), "grey"]
    series = [
        Series(name, [(x, value * 1e3) for x, value in zip(middles, values, strict=True)], style)
        for name, style, values in zip(names, styles, columns, strict=False)
    ]
    series.reverse()
    return Chart(
        "Latency over time",
        "By when the calls were due; of the calls that were answered.",
        exact("seconds after the warm-up", step.seconds),
        latency_scale("ms", [y for line in series for _, y in line.points]),
        series,
        marks=_objective_marks(report),
        hints=[(_middle(interval), _hint(interval)) for interval in step.intervals],
        wide=True,
    )


def _calls_over_time(step: StepResult) -> Chart:
    def line(name: str, style: str, values: Sequence[int]) -> Series:
        points = [
            (_middle(interval), value / interval.seconds)
            for interval, value in zip(step.intervals, values, strict=True)
            if interval.seconds
        ]
        return Series(name, points, style)

    series = [
        line("due", "grey", [interval.due for interval in step.intervals]),
        line("answered", "blue", [interval.answered for interval in step.intervals]),
    ]
    if step.failed:
        series.append(line("failed", "red", [interval.failed for interval in step.intervals]))
    if step.not_sent:
        series.append(line("not sent", "amber", [item.not_sent for item in step.intervals]))
    return Chart(
        "Calls over time",
        "Answers by when they came, the rest by when they were due.",
        exact("seconds after the warm-up", step.seconds),
        linear("calls per second", [y for line in series for _, y in line.points]),
        series,
        hints=[(_middle(interval), _hint(interval)) for interval in step.intervals],
    )


def _latency_over_load(report: Report) -> Chart:
    steps = [step for step in _by_load(report.steps) if step.ok]
    names = [f"p{percentile:g}" for percentile, _ in _LINES]
    series = [
        Series(
            name,
            [(_load(step), step.latency.percentile(percentile) * 1e3) for step in steps],
            style,
            dots=True,
        )
        for name, (percentile, style) in zip(names, _LINES, strict=True)
    ]
    series.reverse()
    return Chart(
        f"Latency over {_load_name(report.steps)}",
        "Each point is a step; latencies of the calls that were answered.",
        linear(_load_label(report.steps), [_load(step) for step in report.steps]),
        latency_scale("ms", [y for line in series for _, y in line.points]),
        series,
        marks=_objective_marks(report),
        hints=[(_load(step), _step_hint(step)) for step in _by_load(report.steps)],
        wide=True,
    )


def _answers_over_load(report: Report) -> Chart:
    steps = _by_load(report.steps)
    closed = isinstance(steps[0].load, ClosedLoop)
    series = []
    if not closed:
        series.append(Series("due", [(_load(step), step.due_rate) for step in steps], "grey"))
    answered = [(_load(step), step.answered_rate) for step in steps]
    series.append(Series("answered", answered, "blue", dots=True))
    objectives = report.configuration.objectives
    if objectives:
        limit = max(objective.limit for objective in objectives)
        goodput = [(_load(step), step.goodput(limit)) for step in steps]
        name = f"answered within {duration(limit)}"
        series.append(Series(name, goodput, "green", dots=True))
    if any(step.failed or step.not_sent for step in steps):
        failed = [
            (_load(step), (step.failed + step.not_sent) / step.seconds if step.seconds else 0.0)
            for step in steps
        ]
        series.append(Series("failed or not sent", failed, "red", dots=True))
    return Chart(
        f"Answers over {_load_name(report.steps)}",
        "Each point is a step; calls per second.",
        linear(_load_label(report.steps), [_load(step) for step in report.steps]),
        linear("calls per second", [y for line in series for _, y in line.points]),
        series,
        hints=[(_load(step), _step_hint(step)) for step in steps],
    )


def _percentile_curve(report: Report) -> Chart:
    """Return latency over percentile: of the only step, or of a few that show the range."""
    steps = [step for step in _by_load(report.steps) if step.ok]
    if len(steps) == 1:
        lines = [
            ("latency", "blue", steps[0].latency),
            ("generator's lateness", "grey", steps[0].generator.lateness),
        ]
    else:
        chosen = dict.fromkeys((0, len(steps) // 2, len(steps) - 1))
        lines = [
            (steps[index].load.amount, style, steps[index].latency)
            for index, style in zip(chosen, ("blue", "violet", "red"), strict=False)
        ]
    series = [Series(name, _curve(latency), style) for name, style, latency in lines]
    most = max(latency.count for _, _, latency in lines)
    return Chart(
        "Latency by percentile",
        "How long the given share of the calls took at most.",
        percentile_scale("percentile", most),
        latency_scale("ms", [y for _, y in series[0].points] + [y for _, y in series[-1].points]),
        series,
        marks=_objective_marks(report),
    )


def _curve(latency: LatencyHistogram) -> list[tuple[float, float]]:
    count = latency.count
    points = [(passed / count * 100, value * 1e3) for value, passed in latency.rows()]
    if not points:
        return []
    # From 0: the fastest call; up to the last percentile that the axis shows.
    return [(0.0, points[0][1]), *points]


def _objective_marks(report: Report) -> list[tuple[float, str]]:
    return [(item.limit * 1e3, str(item)) for item in report.configuration.objectives]


def _by_load(steps: Sequence[StepResult]) -> list[StepResult]:
    return sorted(steps, key=_load)


def _load(step: StepResult) -> float:
    load = step.load
    return load.concurrency if isinstance(load, ClosedLoop) else load.rate


def _load_name(steps: Sequence[StepResult]) -> str:
    return "concurrency" if isinstance(steps[0].load, ClosedLoop) else "rate"


def _load_label(steps: Sequence[StepResult]) -> str:
    return "callers" if isinstance(steps[0].load, ClosedLoop) else "calls due per second"


def _middle(interval: Interval) -> float:
    return interval.start + interval.seconds / 2


def _hint(interval: Interval) -> str:
    p50, p90, p99 = map(milliseconds, interval.latency.percentiles((50, 90, 99)))
    return (
        f"{interval.start:g} to {interval.start + interval.seconds:g} s\n"
        f"{interval.due:,} due, {interval.answered:,} answered, {interval.failed:,} failed, "
        f"{interval.not_sent:,} not sent\n"
        f"p50 {p50} ms, p90 {p90} ms, p99 {p99} ms, "
        f"max {milliseconds(interval.latency.longest)} ms"
    )


def _step_hint(step: StepResult) -> str:
    p50, p90, p99 = map(milliseconds, step.latency.percentiles((50, 90, 99)))
    return (
        f"{step.load}\n{number(step.answered_rate)}/s answered, "
        f"{step.failed + step.not_sent:,} failed or not sent\n"
        f"p50 {p50} ms, p90 {p90} ms, p99 {p99} ms"
    )
