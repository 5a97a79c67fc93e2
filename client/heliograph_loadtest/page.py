"""The report as one HTML page that needs nothing else: no network, no script, no other file."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator
from html import escape

from heliograph_loadtest.plots import plots
from heliograph_loadtest.results import Report
from heliograph_loadtest.statements import configuration_lines, findings
from heliograph_loadtest.tables import Table, result_tables
from heliograph_loadtest.units import duration, milliseconds, number, percent


def render_page(report: Report, title: str | None = None) -> str:
    """Return the page.

    Args:
        report: What it shows.
        title: Headline; None for one that names the target.
    """
    headline = title or f"Load test of {report.configuration.target}"
    style = importlib.resources.files("heliograph_loadtest").joinpath("page.css").read_text("utf-8")
    charts = "".join(chart.html() for chart in plots(report))
    software = ", ".join(f"{name} {value}" for name, value in report.environment.items())
    return "\n".join(
        [
            '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(headline)}</title><style>\n{style}</style></head><body><main>",
            f"<h1>{escape(headline)}</h1>",
            *(f'<p class="lead">{escape(line)}</p>' for line in configuration_lines(report)),
            _key_figures(report),
            _findings(report),
            f'<h2>Plots</h2><div class="charts">{charts}</div>',
            "<h2>Figures</h2>",
            *(_table(table) for table in result_tables(report)),
            f'<p class="foot">Started {escape(report.started)}. {escape(software)}.</p>',
            "</main></body></html>\n",
        ]
    )


def _key_figures(report: Report) -> str:
    cells = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(unit)}</small></dd></div>"
        for name, value, unit in _figures(report)
    )
    return f'<dl class="figures">{cells}</dl>'


def _figures(report: Report) -> Iterator[tuple[str, str, str]]:
    """Return what to read first: name, figure and unit."""
    if not report.steps:
        return
    single = len(report.steps) == 1
    step = max(report.steps, key=lambda step: step.answered_rate)
    if report.search is not None:
        yield "highest rate kept", number(report.search.kept), "/s"
    yield "answered" if single else "most answered", number(step.answered_rate), "/s"
    if step.images_per_call > 1:
        yield "images" if single else "most images", number(step.image_rate), "/s"
    if single:
        for percentile in (50.0, 99.0, 99.9):
            yield f"p{percentile:g}", milliseconds(step.latency.percentile(percentile)), " ms"
        for item in step.attainments(report.configuration.objectives):
            yield f"within {duration(item.objective.limit)}", percent(item.share), ""
    due = sum(step.due for step in report.steps)
    missing = due - sum(step.ok for step in report.steps)
    yield "failed or not sent", percent(missing / due) if due else "-", ""


def _findings(report: Report) -> str:
    items = "".join(
        f'<li class="{finding.kind}">{escape(finding.text)}</li>' for finding in findings(report)
    )
    return f'<ul class="findings">{items}</ul>' if items else ""


def _table(table: Table) -> str:
    def cell(tag: str, column: str, text: str) -> str:
        kind = ' class="words"' if column in table.words else ""
        return f"<{tag}{kind}>{escape(text)}</{tag}>"

    head = "".join(cell("th", column, column) for column in table.columns)
    rows = "".join(
        ('<tr class="missed">' if index in table.missed else "<tr>")
        + "".join(cell("td", *pair) for pair in zip(table.columns, row, strict=True))
        + "</tr>"
        for index, row in enumerate(table.rows)
    )
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )
