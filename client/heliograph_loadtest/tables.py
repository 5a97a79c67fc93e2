"""The tables of a report, as text: a terminal prints them, and a page shows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from heliograph_loadtest.histogram import LatencyHistogram
from heliograph_loadtest.results import PERCENTILES, ErrorCount, Report, StepResult
from heliograph_loadtest.units import duration, milliseconds, number, percent


@dataclass(frozen=True)
class Table:
    """Names on the left, figures on the right."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: frozenset[str] = frozenset()
    """Columns, besides the first, that hold words."""
    missed: frozenset[int] = frozenset()
    """Indices of the rows that missed an objective."""


def result_tables(report: Report) -> list[Table]:
    """Return everything that a report has in tables."""
    tables = []
    if len(report.steps) == 1:
        tables += [count_table(report), latency_table(report.steps[0])]
    elif report.steps:
        tables.append(step_table(report))
    return [*tables, *error_tables(report.steps), *version_tables(report.steps)]


def count_table(report: Report) -> Table:
    """Return the calls of the only step."""
    (step,) = report.steps
    seconds = step.seconds or 1.0
    rows = [
        ("due", step.due, step.due_rate),
        ("answered", step.ok, step.answered_rate),
        ("failed", step.failed, step.failed / seconds),
        ("not sent", step.not_sent, step.not_sent / seconds),
    ]
    for limit in sorted({objective.limit for objective in report.configuration.objectives}):
        within = step.latency.count_within(limit)
        rows.append((f"within {duration(limit)}", within, step.goodput(limit)))
    cells = [
        (name, f"{calls:,}", number(rate), percent(calls / step.due) if step.due else "")
        for name, calls, rate in rows
    ]
    if step.images_per_call > 1:
        images = step.ok * step.images_per_call - step.failed_images
        cells.append(("images", f"{images:,}", number(step.image_rate), ""))
    return Table(("", "calls", "per second", "share"), tuple(cells))


def latency_table(step: StepResult) -> Table:
    """Return the latencies of one step, and how late the generator was."""
    return Table(
        ("ms", "mean", *(f"p{item:g}" for item in PERCENTILES), "max"),
        (
            ("latency", *_latencies(step.latency)),
            ("generator's lateness", *_latencies(step.generator.lateness)),
        ),
    )


def step_table(report: Report) -> Table:
    """Return a row for each step."""
    objectives = report.configuration.objectives
    batched = any(step.images_per_call > 1 for step in report.steps)
    return Table(
        (
            "load",
            "answered/s",
            *(["images/s"] if batched else []),
            *(f"within {duration(item.limit)}" for item in objectives),
            "failed",
            "p50 ms",
            "p90 ms",
            "p99 ms",
            "max ms",
            "generator's cores",
        ),
        tuple(
            (
                str(step.load),
                number(step.answered_rate),
                *([number(step.image_rate)] if batched else []),
                *(percent(item.share) for item in step.attainments(objectives)),
                f"{step.failed + step.not_sent:,}",
                *map(milliseconds, step.latency.percentiles((50, 90, 99))),
                milliseconds(step.latency.longest),
                f"{sum(step.generator.cores):.2f}{' !' if step.generator_limits else ''}",
            )
            for step in report.steps
        ),
        missed=frozenset(
            index for index, step in enumerate(report.steps) if not step.keeps(objectives)
        ),
    )


def error_tables(steps: Iterable[StepResult]) -> list[Table]:
    """Return the errors of all steps together, if there were any."""
    calls: Counter[tuple[str, str]] = Counter()
    images: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], ErrorCount] = {}
    for error in (error for step in steps for error in step.errors):
        key = error.status, error.reason
        first.setdefault(key, error)
        calls[key] += error.calls
        images[key] += error.images
    if not first:
        return []
    rows = tuple(
        (_error_name(first[key]), f"{calls[key]:,}", f"{images[key]:,}", first[key].message)
        for key in sorted(first, key=lambda item: (-calls[item], -images[item], item))
    )
    columns = ("error", "calls", "images in batches", "first message")
    return [Table(columns, rows, words=frozenset({"first message"}))]


def version_tables(steps: Iterable[StepResult]) -> list[Table]:
    """Return the versions that answered in all steps together, if any did."""
    versions: Counter[tuple[str, int]] = Counter()
    for version in (version for step in steps for version in step.versions):
        versions[version.model, version.version] += version.calls
    if not versions:
        return []
    rows = tuple(
        (model, str(version), f"{count:,}") for (model, version), count in versions.most_common()
    )
    return [Table(("model", "version", "calls answered"), rows)]


def _latencies(histogram: LatencyHistogram) -> Sequence[str]:
    values = [histogram.mean, *histogram.percentiles(PERCENTILES), histogram.longest]
    return [milliseconds(value) for value in values]


def _error_name(error: ErrorCount) -> str:
    return error.status if error.reason in ("", error.status) else f"{error.status} {error.reason}"
