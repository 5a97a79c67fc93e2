"""From the document of a run to the rows of its tables and plots."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.comparison.figures import Spread, ratios, spread

OURS = "heliograph"
FIGURES = (
    *("requests_per_second", "p50_ms", "p95_ms", "p99_ms"),
    *("server_cpu_ms", "generator_cpu_ms", "resident_mb"),
)

Document = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A contestant at one concurrency: its best setting, over all rounds."""

    name: str
    title: str
    setting: str
    is_grpc: bool
    failure: str
    """Why there are no figures; empty when there are."""
    figures: dict[str, Spread]
    ratio: Spread | None
    """Our requests per second over its own, round by round; None for ourselves and for failures."""

    @property
    def rate(self) -> float:
        """Requests per second; 0 for a failure."""
        return self.figures["requests_per_second"].median if not self.failure else 0.0


def concurrencies(case: Document) -> list[int]:
    """Return the concurrencies that were measured."""
    found = {
        each["concurrency"]
        for contestant in case["contestants"].values()
        for each in contestant["rounds"]
    }
    return sorted(found)


def rows(case: Document, concurrency: int) -> list[Row]:
    """Return the contestants at a concurrency, the fastest first, failures last."""
    contestants = case["contestants"]
    ours = measurements(contestants.get(OURS, {}), concurrency)
    found = [row(name, contestants[name], concurrency, ours) for name in contestants]
    return sorted(found, key=lambda each: -each.rate)


def measurements(contestant: Document, concurrency: int) -> list[Document]:
    """Return what was measured in the rounds at a concurrency, in order of the rounds."""
    measured = [each for each in contestant.get("rounds", []) if each["concurrency"] == concurrency]
    return sorted(measured, key=lambda each: int(each["round"]))


def row(name: str, contestant: Document, concurrency: int, ours: list[Document]) -> Row:
    """Summarise one contestant; one failed round makes it failed, never fast."""
    measured = measurements(contestant, concurrency)
    setting = contestant["chosen"].get(str(concurrency), "")
    known = (name, contestant["title"], setting, contestant["transport"] == "gRPC")
    failures = [each["failure"] for each in measured if "failure" in each]
    if failures or not measured:
        reason = failures[0] if failures else first_failure(contestant)
        return Row(*known, reason, {}, None)
    figures = {figure: spread([each[figure] for each in measured]) for figure in FIGURES}
    ratio = None
    complete = len(ours) == len(measured) and not any("failure" in each for each in ours)
    if name != OURS and complete:
        rates = [[each["requests_per_second"] for each in side] for side in (ours, measured)]
        ratio = ratios(*rates)
    return Row(*known, "", figures, ratio)


def first_failure(contestant: Document) -> str:
    """Return why no setting could be chosen."""
    failures = [each["failure"] for each in contestant["selection"] if "failure" in each]
    return failures[0] if failures else "not measured"


def workers_of(setting: Document) -> int | None:
    """Return how many worker processes a setting has; None where it has no such number."""
    if "workers" in setting:
        return int(setting["workers"])
    if "callables" in setting:
        return int(setting["callables"])
    found = re.search(r"--workers=(\d+)", " ".join(setting.get("flags", [])))
    return int(found[1]) if found else None


def rates_by_workers(contestant: Document, concurrency: int) -> dict[int, float]:
    """Return the best rate in the selection for each number of workers."""
    best: dict[int, float] = {}
    for each in contestant["selection"]:
        workers = workers_of(contestant["settings"][each["setting"]])
        if workers is None or "failure" in each or each["concurrency"] != concurrency:
            continue
        best[workers] = max(best.get(workers, 0.0), each["requests_per_second"])
    return dict(sorted(best.items()))


def over_rounds(rounds: Sequence[Document], pick: Callable[[Document], float]) -> Spread | None:
    """Summarise a figure of the limits; None where a round does not have it."""
    values = []
    for each in rounds:
        try:
            values.append(pick(each))
        except (KeyError, ZeroDivisionError):
            return None
        if math.isnan(values[-1]):
            return None
    return spread(values) if values else None


def at(measured: Sequence[Document], concurrency: int) -> Document:
    """Return the measurement at a concurrency; KeyError where it failed.

    Raises:
        KeyError: It was not measured, or failed.
    """
    for each in measured:
        if each["concurrency"] == concurrency and "failure" not in each:
            return each
    raise KeyError(concurrency)
