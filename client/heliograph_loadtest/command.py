"""`heliograph loadtest`: put a load on a gateway and report what it makes of it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Final

from heliograph.cli import INTERRUPTED
from heliograph.cli.connection import add_connection_arguments
from heliograph_loadtest import comparison_command
from heliograph_loadtest.document import check_writable, to_document, write_document, write_text
from heliograph_loadtest.page import render_page
from heliograph_loadtest.plan_arguments import add_plan_arguments, plan_of
from heliograph_loadtest.results import Report
from heliograph_loadtest.run import run as run_plan
from heliograph_loadtest.terminal import TerminalProgress, plain_console, print_report

MISSED: Final = 1
"""Exit code when an objective was missed, or no call was answered."""

STDOUT: Final = "-"

_EPILOG = """\
examples:
  heliograph loadtest --images photos/ --rate 500 --duration 30s
  heliograph loadtest --images photos/ --rate 500 --arrivals poisson --slo p50=10ms,p99=50ms
  heliograph loadtest --images photos/ --concurrency 1,2,4,8,16,32,64 --html curve.html
  heliograph loadtest --images photos/ --ramp 100:1000:10 --json ramp.json --html ramp.html
  heliograph loadtest --images photos/ --find-max --slo p99=50ms --processes 2
  heliograph loadtest --images photos/ --concurrency 8 --batch 32
  heliograph loadtest compare before.json after.json --fail-if-slower 10%

With --rate calls are sent by the clock, and each latency starts when the call was due: a target
that stalls for a second shows a second. With --concurrency callers wait for their answers, as a
fixed number of threads would: a target that stalls is asked less meanwhile.

The exit code is 0, or 1 when an objective was missed or no call was answered, or 130 after Ctrl-C,
which ends a run early and reports what it has measured. docs/loadtest.md explains the figures.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.description = "Put a load on a gateway, and report latencies, errors and goodput."
    parser.epilog = _EPILOG
    add_plan_arguments(parser)
    output = parser.add_argument_group("output")
    output.add_argument(
        "--json", metavar="FILE", help="write everything measured; - prints it to stdout"
    )
    output.add_argument(
        "--html", type=Path, metavar="FILE", help="write a page with plots, in one file"
    )
    output.add_argument("--title", metavar="TEXT", help="headline of the page")
    output.add_argument("--quiet", action="store_true", help="show no progress on stderr")
    add_connection_arguments(parser)
    parser.set_defaults(timeout=10.0)
    actions = parser.add_subparsers(dest="action", metavar="compare", title="other action")
    comparison = actions.add_parser(
        "compare",
        help="compare two files that --json has written",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    comparison_command.configure(comparison)


def run(arguments: argparse.Namespace) -> int:
    """Run the load test, or the comparison; return the exit code."""
    if arguments.action == "compare":
        return comparison_command.run(arguments)
    plan = plan_of(arguments)
    json_path = None if arguments.json in (None, STDOUT) else Path(arguments.json)
    for path in (json_path, arguments.html):
        if path is not None:
            check_writable(path)
    several = len(plan.steps) > 1 or plan.find_max
    console = plain_console(stderr=True, quiet=arguments.quiet)
    with TerminalProgress(console, several=several) as progress:
        report = run_plan(plan, progress)
    if arguments.json == STDOUT:
        json.dump(to_document(report), sys.stdout, indent=1)
        print()
    else:
        print_report(report, plain_console())
        if json_path is not None:
            write_document(report, json_path)
    if arguments.html is not None:
        write_text(arguments.html, render_page(report, arguments.title))
    return exit_code(report)


def exit_code(report: Report) -> int:
    """Return what the command ends with."""
    if report.interrupted:
        return INTERRUPTED
    if not any(step.ok for step in report.steps):
        return MISSED
    if report.search is not None:
        return 0 if report.search.kept else MISSED
    objectives = report.configuration.objectives
    return 0 if all(step.keeps(objectives) for step in report.steps) else MISSED
