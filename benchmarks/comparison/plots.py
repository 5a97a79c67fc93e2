"""Draws the plots of the report, in an environment that has matplotlib.

python -m benchmarks.comparison.plots RESULTS.json FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
from benchmarks.comparison.summary import (
    OURS,
    Document,
    concurrencies,
    rates_by_workers,
    rows,
)
from matplotlib import pyplot as plt

OUR_COLOUR = "#c2410c"
COLOURS = ("#1d4ed8", "#047857", "#7c3aed", "#0891b2", "#a16207", "#be185d", "#4b5563")
"""Of the others, in the order of the document: dark enough for a white page."""


def colours(case: Document) -> dict[str, str]:
    """Return each contestant's colour, the same in every plot."""
    others = [name for name in case["contestants"] if name != OURS]
    chosen = {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(others)}
    return chosen | {OURS: OUR_COLOUR}


def throughput(case: Document) -> Any:
    """Bars of requests per second at each concurrency, with lowest and highest."""
    levels = concurrencies(case)
    figure, panels = plt.subplots(
        1, len(levels), figsize=(4 * len(levels), 3.4), squeeze=False, layout="constrained"
    )
    for panel, concurrency in zip(panels[0], levels, strict=True):
        found = rows(case, concurrency)[::-1]
        for position, row in enumerate(found):
            if row.failure:
                panel.text(0, position, " failed", va="center")
                continue
            rate = row.figures["requests_per_second"]
            spread = [[rate.median - rate.lowest], [rate.highest - rate.median]]
            panel.barh(position, rate.median, xerr=spread, color=colours(case)[row.name], capsize=3)
        panel.set_yticks(range(len(found)), [row.title for row in found])
        panel.set_title(f"{concurrency} at once")
        panel.set_xlabel("requests per second")
    return figure


def latency(case: Document) -> Any:
    """Lines of p50 and p99 against the number of callers."""
    levels = concurrencies(case)
    figure, panels = plt.subplots(1, 2, figsize=(10, 3.8), sharey=True, layout="constrained")
    for panel, percentile in zip(panels, ("p50_ms", "p99_ms"), strict=True):
        for name, contestant in case["contestants"].items():
            points = []
            for concurrency in levels:
                (row,) = (each for each in rows(case, concurrency) if each.name == name)
                if not row.failure:
                    points.append((concurrency, row.figures[percentile]))
            if not points:
                continue
            middle = [figure.median for _, figure in points]
            spread = [
                [figure.median - figure.lowest for _, figure in points],
                [figure.highest - figure.median for _, figure in points],
            ]
            panel.errorbar(
                *([concurrency for concurrency, _ in points], middle),
                yerr=spread,
                label=contestant["title"],
                color=colours(case)[name],
                linewidth=2.5 if name == OURS else 1.3,
                marker="o",
                markersize=4,
                capsize=3,
            )
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter("{x:g}")
        panel.set_xticks(levels, [str(level) for level in levels])
        panel.set_xlabel("callers at once")
        panel.set_title(percentile.removesuffix("_ms"))
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("milliseconds")
    panels[1].legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure


def workers(case: Document) -> Any:
    """Lines of requests per second against the number of worker processes."""
    levels = sorted(
        {
            each["concurrency"]
            for contestant in case["contestants"].values()
            for each in contestant["selection"]
        }
    )
    figure, panels = plt.subplots(
        1, len(levels), figsize=(4 * len(levels), 3.4), squeeze=False, layout="constrained"
    )
    for panel, concurrency in zip(panels[0], levels, strict=True):
        for name, contestant in case["contestants"].items():
            rates = rates_by_workers(contestant, concurrency)
            panel.plot(
                *(list(rates), list(rates.values())),
                label=contestant["title"],
                color=colours(case)[name],
                linewidth=2.5 if name == OURS else 1.3,
                marker="o",
                markersize=4,
            )
        panel.set_title(f"{concurrency} at once")
        panel.set_xlabel("workers (best setting of each)")
        panel.set_xticks([1, 2, 4])
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("requests per second")
    panels[0][-1].legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure


def main(results: Path, folder: Path) -> None:
    """Draw everything."""
    mpl.use("svg")
    # The same document gives the same bytes.
    mpl.rcParams |= {"svg.hashsalt": "heliograph", "svg.fonttype": "none"}
    document = json.loads(results.read_text())
    for name, case in document["cases"].items():
        if not concurrencies(case):
            continue
        for draw in (throughput, latency, workers):
            figure = draw(case)
            path = folder / f"{name}-{draw.__name__}.svg"
            figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
            plt.close(figure)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
