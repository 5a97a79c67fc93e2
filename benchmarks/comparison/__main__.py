"""Compares Heliograph with what people would use instead, on this machine, in one run.

    make bench BENCH=comparison
    python -m benchmarks.comparison --cases small --contestants heliograph,mosec --quick
    python -m benchmarks.comparison.report

Each contestant is installed into an environment of its own, with the versions in `requirements/`.
Every setting of a contestant is measured once; its best goes into the rounds, in which contestants
take turns. Everything measured goes into one JSON document, from which the report is made.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from benchmarks.comparison import environments, h2load
from benchmarks.comparison.cases import CASES, Case
from benchmarks.comparison.contestants import CONTESTANTS, Contestant
from benchmarks.comparison.environments import BUILD, ROOT
from benchmarks.comparison.limits import Limits
from benchmarks.comparison.measurement import Workload, estimate, measure_round, select
from rich.console import Console

RESULTS = Path(__file__).parent / "results.json"
LIMITS_SECONDS = 75
"""About what one round of the limits takes; only for the estimate."""

QUICK_SECONDS = 1.0
LEFT_OUT = ("triton-http",)
"""Contestants that run only when they are named."""


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.comparison",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    usual = [name for name in CONTESTANTS if name not in LEFT_OUT]
    parser.add_argument("--contestants", type=names_of(CONTESTANTS), default=usual, metavar="A,B")
    parser.add_argument("--cases", type=names_of(CASES), default=list(CASES), metavar="A,B")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of the final [%(default)s]")
    parser.add_argument("--seconds", type=float, default=4.0, help="of a figure [%(default)s]")
    parser.add_argument(
        "--selecting", type=float, default=2.0, help="seconds of a figure in the selection"
    )
    parser.add_argument("--no-limits", action="store_true", help="leave out the limits")
    parser.add_argument(
        "--quick", action="store_true", help="one round of a second each: does everything work?"
    )
    parser.add_argument("--json", type=Path, default=None, help=f"document [{RESULTS.name}]")
    parsed = parser.parse_args(arguments)
    if parsed.quick:
        parsed.rounds, parsed.seconds, parsed.selecting = 1, QUICK_SECONDS, QUICK_SECONDS
    if parsed.rounds < 1 or min(parsed.seconds, parsed.selecting) < QUICK_SECONDS:
        parser.error("give at least one round, and at least one second to a figure")
    # A quick run must not take the place of the published one.
    parsed.json = parsed.json or (BUILD / "quick.json" if parsed.quick else RESULTS)
    return parsed


def names_of(table: dict[str, Any]) -> Any:
    """Return what reads names, separated by commas, of a table."""

    def read(text: str) -> list[str]:
        names = [name.strip() for name in text.split(",") if name.strip()]
        unknown = [name for name in names if name not in table]
        if unknown or not names:
            raise argparse.ArgumentTypeError(f"choose from {', '.join(table)}")
        return names

    return read


def describe_machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    model = "unknown"
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(": ")[1] for line in lines if "model name" in line), model)
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "h2load": h2load.version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


class Run:
    """One run of the comparison; what is measured is written after every step."""

    def __init__(self, arguments: argparse.Namespace, console: Console) -> None:
        self._arguments = arguments
        self._console = console
        self._contestants = [CONTESTANTS[name] for name in arguments.contestants]
        self._start = time.monotonic()
        self._document: dict[str, Any] = {}

    def run(self) -> None:
        """Measure everything."""
        arguments = self._arguments
        BUILD.mkdir(parents=True, exist_ok=True)
        cases = [CASES[name] for name in arguments.cases]
        expected = sum(
            estimate(
                case, self._contestants, arguments.rounds, arguments.selecting, arguments.seconds
            )
            + self._limit_rounds(case) * LIMITS_SECONDS
            for case in cases
        )
        self.report(f"about {expected / 60:.0f} minutes, and a few more where a server is slow")
        used = {contestant.environment for contestant in self._contestants} | {"heliograph"}
        for name in sorted(used):
            environments.provide(name, self.report)
        self._document = {
            "schema": 1,
            "date": dt.datetime.now(dt.UTC).date().isoformat(),
            "commit": commit(),
            "machine": describe_machine(),
            "options": {
                "rounds": arguments.rounds,
                "seconds": arguments.seconds,
                "selecting": arguments.selecting,
            },
            "versions": {name: environments.versions(name) for name in sorted(used)},
            "cases": {},
        }
        for case in cases:
            self._measure_case(case)
        self._document["minutes"] = round((time.monotonic() - self._start) / 60, 1)
        self._save()
        self.report(f"wrote {arguments.json}")

    def report(self, line: str) -> None:
        """Print a line of progress."""
        minutes, seconds = divmod(int(time.monotonic() - self._start), 60)
        self._console.print(f"{minutes:3}:{seconds:02} {line}", markup=False, highlight=False)

    def _measure_case(self, case: Case) -> None:
        arguments = self._arguments
        self.report(f"case {case.name}: {case.title}")
        workload = self._make(case)
        figures: dict[str, Any] = {
            "title": case.title,
            "recipe": case.recipe,
            "image_bytes": workload.image_bytes[0],
            "contestants": {},
            "batch": case.batch,
            "limits": [],
        }
        self._document["cases"][case.name] = figures
        for contestant in self._contestants:
            tried, chosen = select(contestant, workload, arguments.selecting, self.report)
            figures["contestants"][contestant.name] = {
                "title": contestant.title,
                "way": contestant.way,
                "transport": contestant.way.partition(";")[0],
                "settings": {name: dict(values) for name, values in contestant.settings.items()},
                "selection": tried,
                "chosen": {str(concurrency): name for concurrency, name in chosen.items()},
                "rounds": [],
            }
            self._save()
        for number in range(arguments.rounds):
            self._measure_round(case, number, workload, figures)
            self._save()

    def _measure_round(
        self, case: Case, number: int, workload: Workload, figures: dict[str, Any]
    ) -> None:
        self.report(f"{case.name}, round {number + 1} of {self._arguments.rounds}")
        order = self._contestants[number % len(self._contestants) :]
        order += self._contestants[: number % len(self._contestants)]
        for contestant in order:
            found = figures["contestants"][contestant.name]
            chosen = {int(concurrency): name for concurrency, name in found["chosen"].items()}
            measured = measure_round(
                contestant, chosen, workload, self._arguments.seconds, self.report
            )
            found["rounds"].extend({"round": number, **each} for each in measured)
        if number < self._limit_rounds(case):
            figures["limits"].append(self._limits(workload, figures).measure_round())

    def _limit_rounds(self, case: Case) -> int:
        arguments = self._arguments
        return 0 if arguments.no_limits else min(arguments.rounds, case.limit_rounds)

    def _limits(self, workload: Workload, figures: dict[str, Any]) -> Limits:
        heliograph: Contestant = CONTESTANTS["heliograph"]
        chosen = figures["contestants"].get("heliograph", {}).get("chosen", {})
        setting = chosen.get("64", next(iter(heliograph.settings)))
        return Limits(workload, heliograph, setting, self._arguments.seconds, self.report)

    def _make(self, case: Case) -> Workload:
        """Make images, network and exports afresh, in a process of its own."""
        folder = BUILD / "cases" / case.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with (folder / "workload.log").open("wb") as log:
            subprocess.run(
                [sys.executable, "-m", "benchmarks.comparison.workload", case.name, folder],
                cwd=ROOT,
                stdout=log,
                stderr=log,
                check=True,
            )
        return Workload.read(case, folder)

    def _save(self) -> None:
        self._arguments.json.write_text(json.dumps(self._document, indent=1) + "\n")


def commit() -> str:
    """Return the commit that is measured, with a `+` where files differ from it."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty=+"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or "unknown"


def main() -> int:
    """Run the comparison."""
    arguments = parse_arguments()
    if not h2load.is_installed():
        print(h2load.MISSING, file=sys.stderr)
        return 1
    # SIGTERM takes the way of Ctrl-C, so that no server is left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        Run(arguments, Console(stderr=True, soft_wrap=True)).run()
    except KeyboardInterrupt:
        print("stopped; what was measured so far is kept", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
