"""`heliograph loadtest compare`: what changed between two runs."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from heliograph_loadtest.comparison import Comparison, Ratio, compare
from heliograph_loadtest.document import read_document
from heliograph_loadtest.terminal import plain_console
from heliograph_loadtest.units import number, parse_share

SLOWER: Final = 1
"""Exit code when something got worse by more than is allowed."""

_EPILOG = """\
examples:
  heliograph loadtest compare before.json after.json
  heliograph loadtest compare before.json after.json --fail-if-slower 10%

Each ratio has an interval of 95 % confidence, from the noise within the two runs. A difference is
called one when the interval excludes 1. What differs from run to run only more runs can show:
repeat both, in turns.

The exit code is 0, or 1 when a percentile rose, or the rate of answers fell, by more than
--fail-if-slower: not only the ratio but its whole interval has to be beyond it.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.description = "Compare two runs that `heliograph loadtest --json FILE` has written."
    parser.epilog = _EPILOG
    parser.add_argument("before", type=Path, metavar="BEFORE.json", help="report of the first run")
    parser.add_argument("after", type=Path, metavar="AFTER.json", help="report of the second run")
    parser.add_argument(
        "--fail-if-slower",
        type=parse_share,
        metavar="SHARE",
        help="end with 1 when a latency rose, or the rate of answers fell, by more than this",
    )
    parser.add_argument(
        "--json", action="store_true", dest="print_json", help="print one JSON document"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the comparison; return 1 when it got slower than is allowed."""
    comparison = compare(read_document(arguments.before), read_document(arguments.after))
    slower: list[str] = []
    if arguments.fail_if_slower is not None:
        slower = comparison.slower(arguments.fail_if_slower)
    if arguments.print_json:
        print(json.dumps(_document(comparison, slower), indent=2))
    else:
        _print(comparison, slower, plain_console())
    return SLOWER if slower else 0


def _document(comparison: Comparison, slower: list[str]) -> dict[str, Any]:
    return {
        "steps": [
            {
                "load": step.title,
                "ratios": [
                    {
                        **asdict(ratio),
                        "ratio": _finite(ratio.ratio),
                        "high": _finite(ratio.high),
                        "verdict": ratio.verdict,
                    }
                    for ratio in step.ratios
                ],
            }
            for step in comparison.steps
        ],
        "remarks": list(comparison.remarks),
        "slower": slower,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _print(comparison: Comparison, slower: list[str], console: Console) -> None:
    for step in comparison.steps:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column(step.title, no_wrap=True)
        for name in ("before", "after", "ratio", "95 % interval"):
            table.add_column(name, justify="right")
        table.add_column("")
        for ratio in step.ratios:
            style = {"better": "green", "worse": "red"}.get(ratio.verdict, "")
            table.add_row(
                ratio.name,
                f"{number(ratio.before)} {ratio.unit}",
                f"{number(ratio.after)} {ratio.unit}",
                f"{ratio.ratio:.3f}",
                _interval(ratio),
                ratio.verdict,
                style=style,
            )
        console.print(table, highlight=False)
        console.print()
    for remark in comparison.remarks:
        console.print(remark, style="yellow", highlight=False)
    for sentence in slower:
        console.print(f"Slower than allowed: {sentence}.", style="red", highlight=False)


def _interval(ratio: Ratio) -> str:
    return f"{ratio.low:.3f} - {ratio.high:.3f}" if math.isfinite(ratio.high) else "run too short"
