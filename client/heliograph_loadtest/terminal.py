"""The report in a terminal, and a line that moves while it is in the making."""

from __future__ import annotations

from typing import Self

import rich.table
from rich.console import Console
from rich.status import Status
from rich.text import Text

from heliograph_loadtest.aggregation import Aggregation
from heliograph_loadtest.load import Step
from heliograph_loadtest.results import Report, StepResult
from heliograph_loadtest.statements import configuration_lines, findings
from heliograph_loadtest.tables import Table, result_tables
from heliograph_loadtest.units import milliseconds, number


class TerminalProgress:
    """One line at the bottom of a terminal; where there is none, one line per step."""

    def __init__(self, console: Console, *, several: bool) -> None:
        """Write to a console, which should be stderr's; say whether there are several steps."""
        self._console = console
        self._several = several
        self._status: Status | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._status = self._console.status("connecting …")
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def step_started(self, step: Step) -> None:
        """Take note of a step."""

    def step_runs(self, step: Step, elapsed: float, aggregation: Aggregation) -> None:
        """Show how far it is, and its last complete interval."""
        if self._status is None:
            return
        measured = elapsed - step.warmup
        words = [f"{step.load}", f"{elapsed:.0f} of {step.warmup + step.duration:.0f} s"]
        interval = aggregation.last_interval(measured)
        if measured < 0:
            words.append("warming up")
        elif interval is not None:
            p50, p99 = interval.latency.percentiles((50, 99))
            words += [
                f"{number(interval.answered / interval.seconds)}/s answered",
                f"p50 {milliseconds(p50)} ms",
                f"p99 {milliseconds(p99)} ms",
            ]
            missing = interval.failed + interval.not_sent
            words += [f"{missing} failed"] if missing else []
        self._status.update("  ".join(words))

    def step_ended(self, result: StepResult) -> None:
        """Say in a line what it gave, where there are several."""
        if not self._several:
            return
        p50, p99 = result.latency.percentiles((50, 99))
        self._console.print(
            f"{result.title}: {number(result.answered_rate)}/s answered, "
            f"p50 {milliseconds(p50)} ms, p99 {milliseconds(p99)} ms, "
            f"{result.failed + result.not_sent} failed",
            style="dim",
            highlight=False,
        )


def print_report(report: Report, console: Console) -> None:
    """Print the whole report."""
    console.print("\n".join(configuration_lines(report)), highlight=False, markup=False)
    for table in result_tables(report):
        console.print()
        console.print(_rich(table), highlight=False)
    console.print()
    for finding in findings(report):
        style = {"good": "green", "bad": "red", "warning": "yellow"}.get(finding.kind, "")
        console.print(Text(finding.text, style=style), highlight=False)


def plain_console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """Return the console of stdout or stderr; where it is no terminal, lines are not folded."""
    console = Console(stderr=stderr, quiet=quiet)
    return console if console.is_terminal else Console(stderr=stderr, quiet=quiet, width=200)


def _rich(table: Table) -> rich.table.Table:
    shown = rich.table.Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for index, name in enumerate(table.columns):
        words = index == 0 or name in table.words
        shown.add_column(name, justify="left" if words else "right", no_wrap=index == 0)
    for index, row in enumerate(table.rows):
        style = "red" if index in table.missed else ""
        shown.add_row(*(Text(cell) for cell in row), style=style)
    return shown
