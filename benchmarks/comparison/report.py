"""Makes docs/benchmarks.md and its plots from the document of a run.

    python -m benchmarks.comparison.report [RESULTS.json] [--output docs/benchmarks.md]

The page has no figure that is not in the document, and nothing of it is written by hand.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from benchmarks.comparison.environments import ROOT, provide, python
from benchmarks.comparison.figures import Spread
from benchmarks.comparison.summary import (
    OURS,
    Document,
    Row,
    at,
    concurrencies,
    over_rounds,
    rows,
)

RESULTS = Path(__file__).parent / "results.json"
PAGE = ROOT / "docs" / "benchmarks.md"

SHOWN = (
    *("tensorflow", "keras", "numpy", "simplejpeg", "pillow", "grpcio", "uvicorn"),
    *("heliograph", "mosec", "nvidia-pytriton", "litserve", "bentoml", "fastapi", "flask"),
    *("gunicorn", "waitress"),
)
"""Packages that the page names; the document has all of them."""


def number(value: float) -> str:
    """Write a figure with about three digits."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def spelled(figure: Spread | None) -> str:
    """Write a median with its lowest and highest."""
    if figure is None:
        return "–"
    return f"{number(figure.median)} ({number(figure.lowest)}–{number(figure.highest)})"


def table(head: Iterable[str], lines: Iterable[Iterable[str]]) -> Iterator[str]:
    """Write a table, figures to the right."""
    cells = list(head)
    yield f"| {' | '.join(cells)} |"
    yield f"|{'|'.join(['---', *['---:'] * (len(cells) - 1)])}|"
    for line in lines:
        yield f"| {' | '.join(line)} |"
    yield ""


def page(document: Document, plots: str) -> str:
    """Return the whole page.

    Args:
        document: What a run wrote.
        plots: Folder of the plots, as the page names it.
    """
    lines = [*introduction(document)]
    for name, case in document["cases"].items():
        lines += [f"## {name}: {case['title']}", ""]
        lines += [*case_section(name, case, plots)]
    lines += [*settings_section(document), *versions_section(document)]
    return "\n".join(lines).rstrip() + "\n"


def introduction(document: Document) -> Iterator[str]:
    """Say what was done, on which machine."""
    machine, options = document["machine"], document["options"]
    yield "# Benchmarks"
    yield ""
    yield (
        "Heliograph and what people would use instead, measured in one run on one machine. "
        "This page is made by `python -m benchmarks.comparison.report` from "
        "[`results.json`](../benchmarks/comparison/results.json), which has every single figure; "
        "`make bench BENCH=comparison` measures again."
    )
    yield ""
    yield from table(
        ("run", ""),
        (
            ("date, commit", f"{document['date']}, {document['commit']}"),
            ("processor", f"{machine['processor']}, {machine['cores']} cores for everything"),
            ("memory", f"{machine['memory_gb']} GB"),
            ("system", f"{machine['system']}, Python {machine['python']}"),
            ("generator", f"{machine['h2load']}, one thread"),
            ("length", f"{options['rounds']} rounds of {options['seconds']:g} s per figure"),
        ),
    )
    yield (
        "**How.** Every contestant has an environment of its own, the same TensorFlow with the "
        "same threads, the same exported network, and (all but Heliograph's gateway, whose recipe "
        "decodes) the same decoder, simplejpeg; images are resized with Pillow where they must be. "
        "It is written as its own documentation advises, and may choose the best of its settings "
        "for each concurrency in a selection of one measurement each; settings and figures of the "
        "selection are at the end. In the rounds contestants take turns, the first one changes; "
        "only the one that is measured runs. Before each measurement it must give the right class "
        "and score for several images, one by one and many at once; who answers wrongly, or not "
        "with success, has failed and has no figures."
    )
    yield ""
    yield (
        "h2load sends one prepared image again and again, from as many callers as the table says, "
        "each on its own connection with one request under way: JPEG bytes in, the best five "
        "classes out. HTTP servers are asked over HTTP/1.1, gRPC servers over HTTP/2. It takes its "
        "share of the cores, which the tables give. Figures are medians over the rounds with "
        "(lowest–highest); a ratio "
        "compares round by round, and below 1 Heliograph is the slower one. Memory is the resident "
        "memory of all processes, shared pages counted in each."
    )
    yield ""


def case_section(name: str, case: Document, plots: str) -> Iterator[str]:
    """Write the tables of a case."""
    yield f"Images of {number(case['image_bytes'] / 1000)} kB, recipe `{case['recipe']}`."
    yield ""
    for title, kind in (
        ("Requests per second", "throughput"),
        ("Latency against concurrency", "latency"),
        ("Requests per second against workers", "workers"),
    ):
        yield f"![{title}]({plots}/{name}-{kind}.svg)"
    yield ""
    for concurrency in concurrencies(case):
        found = rows(case, concurrency)
        yield f"### {concurrency} at once" if concurrency > 1 else "### Alone"
        yield ""
        yield from verdict(found)
        yield from table(
            (
                *("contestant, setting", "requests/s", "Heliograph is", "p50, ms", "p95, ms"),
                *("p99, ms", "CPU per request, ms", "of the generator, ms", "memory, MB"),
            ),
            map(cells, found),
        )
    if case["limits"]:
        yield from limits_section(case)


def verdict(found: list[Row]) -> Iterator[str]:
    """Say in a sentence who is the fastest, and where Heliograph stands."""
    ours = next((row for row in found if row.name == OURS), None)
    others = [row for row in found if row.ratio]
    if ours is None:
        return
    if ours.failure:
        yield f"**Heliograph failed: {ours.failure}.**"
    elif others:
        fastest = others[0]
        sentence = (
            f"Heliograph answers {spelled(fastest.ratio)} times as many requests as "
            f"{fastest.title}, the fastest of the others"
        )
        over_grpc = next((row for row in others if row.is_grpc), None)
        if over_grpc and over_grpc is not fastest:
            sentence += (
                f", and {spelled(over_grpc.ratio)} times as many as {over_grpc.title}, the fastest "
                "of those with gRPC"
            )
        for figure in ("p50_ms", "p99_ms"):
            lowest, title = min((row.figures[figure].median, row.title) for row in others)
            sentence += (
                f". Its {figure.removesuffix('_ms')} is {number(ours.figures[figure].median)} ms; "
                f"the lowest of the others is {number(lowest)} ms, of {title}"
            )
        yield f"{sentence}."
    yield ""


def cells(row: Row) -> list[str]:
    """Write a contestant's line."""
    name = f"**{row.title}**" if row.name == OURS else row.title
    who = f"{name}, {row.setting}" if row.setting else name
    if row.failure:
        return [who, f"failed: {row.failure}", *[""] * 7]
    figures = row.figures
    return [
        who,
        spelled(figures["requests_per_second"]),
        f"{spelled(row.ratio)} ×" if row.ratio else "",
        *(number(figures[name].median) for name in ("p50_ms", "p95_ms")),
        spelled(figures["p99_ms"]),
        number(figures["server_cpu_ms"].median),
        number(figures["generator_cpu_ms"].median),
        number(figures["resident_mb"].median),
    ]


Pick = Callable[[Document], float]


def limits_section(case: Document) -> Iterator[str]:
    """Write what the parts can do by themselves, and how near Heliograph comes."""
    limits = case["limits"]

    def best(limit: Document) -> float:
        return float(max(limit["bare"]["session"].values()))

    def batches(limit: Document) -> float:
        measured = limit["gateway"]["batches"]
        rates = [each["images_per_second"] for each in measured if "failure" not in each]
        return float(max(rates, default=math.nan))

    def stream(limit: Document) -> float:
        if "failure" in limit["gateway"]["stream"]:
            raise KeyError("stream")
        return float(limit["gateway"]["stream"]["images_per_second"])

    def added(figure: str, concurrency: int) -> Pick:
        return lambda limit: (
            at(limit["gateway"]["classify"], concurrency)[figure]
            - at(limit["predict"]["predict"], concurrency)[figure]
        )

    def added_in_batches(limit: Document) -> float:
        ours, theirs = (
            at(limit[name]["batches"], 1)["server_cpu_ms_per_image"]
            for name in ("gateway", "predict")
        )
        return float(ours - theirs)

    def rate(server: str, kind: str, concurrency: int) -> Pick:
        return lambda limit: at(limit[server][kind], concurrency)["images_per_second"]

    measured, images = concurrencies(case), case["batch"]
    yield "### Limits"
    yield ""
    yield "What network, decoder, gRPC and model server do by themselves, in the same run."
    yield ""
    lines: list[tuple[str, Spread | None]] = [
        ("bare session at its best batch size, images/s", over_rounds(limits, best)),
        (
            "decoder and recipe on one core, images/s",
            over_rounds(limits, lambda limit: limit["bare"]["decoder_one_core"]),
        ),
    ]
    for title, server, kind in (
        ("bare grpc.aio with the same messages, requests/s", "echo", "classify"),
        ("direct Predict of ready pixels, requests/s", "predict", "predict"),
        ("Classify, requests/s", "gateway", "classify"),
    ):
        for concurrency in measured:
            figure = over_rounds(limits, rate(server, kind, concurrency))
            lines.append((f"{title}, {concurrency} at once", figure))
    for callers in (1, 2):
        figure = over_rounds(limits, rate("predict", "batches", callers))
        lines.append((f"direct Predict of {images}, images/s, {callers} at once", figure))
    for callers in (1, 2):
        figure = over_rounds(limits, rate("gateway", "batches", callers))
        lines.append((f"BatchClassify of {images}, images/s, {callers} at once", figure))
    lines += [
        ("StreamClassify (`classify_many`), images/s", over_rounds(limits, stream)),
        (
            "BatchClassify over the bare session",
            over_rounds(limits, lambda limit: batches(limit) / best(limit)),
        ),
        (
            "StreamClassify over the bare session",
            over_rounds(limits, lambda limit: stream(limit) / best(limit)),
        ),
        (
            "the gateway adds to a Predict alone: p50, ms",
            over_rounds(limits, added("p50_ms", 1)),
        ),
    ]
    for concurrency in measured:
        figure = over_rounds(limits, added("server_cpu_ms", concurrency))
        lines.append((f"it adds CPU per image, ms, {concurrency} at once", figure))
    lines.append(
        (f"it adds CPU per image in batches of {images}, ms", over_rounds(limits, added_in_batches))
    )
    yield from table(("limit", ""), ((title, spelled(figure)) for title, figure in lines))
    sizes = list(dict.fromkeys(size for limit in limits for size in session(limit)))
    yield from table(
        ("batch size of the bare session", *sizes),
        [
            (
                "images/s",
                *(number_or_dash(limits, size) for size in sizes),
            )
        ],
    )


def session(limit: Document) -> Document:
    """Return the session's rates of a round; none where it failed."""
    rates: Document = limit["bare"].get("session", {})
    return rates


def number_or_dash(limits: list[Document], size: str) -> str:
    """Write the session's median rate at a batch size."""
    figure = over_rounds(limits, lambda limit: session(limit)[size])
    return number(figure.median) if figure else "–"


def settings_section(document: Document) -> Iterator[str]:
    """Write every setting with what it gave in the selection."""
    yield "## Settings"
    yield ""
    yield (
        "One measurement each, in requests per second; the best at a concurrency (in bold) served "
        "in the rounds, and in a case that was tried at one concurrency, at all of them. What a "
        "setting means stands in [`contestants.py`](../benchmarks/comparison/contestants.py), "
        "the servers in [`servers/`](../benchmarks/comparison/servers)."
    )
    yield ""
    for name, case in document["cases"].items():
        tried = sorted(
            {
                each["concurrency"]
                for contestant in case["contestants"].values()
                for each in contestant["selection"]
            }
        )
        yield f"### {name}"
        yield ""
        yield from table(
            ("contestant, setting", *(f"{concurrency} at once" for concurrency in tried)),
            (
                (f"{contestant['title']}, {setting}", *selected(contestant, setting, tried))
                for contestant in case["contestants"].values()
                for setting in contestant["settings"]
            ),
        )
    ways: dict[str, str] = {}
    for case in document["cases"].values():
        ways |= {each["title"]: each["way"] for each in case["contestants"].values()}
    yield from (f"- {title}: {way}." for title, way in ways.items())
    yield ""


def selected(contestant: Document, setting: str, tried: list[int]) -> Iterator[str]:
    """Write what a setting gave at each concurrency."""
    for concurrency in tried:
        for each in contestant["selection"]:
            if (each["setting"], each["concurrency"]) == (setting, concurrency):
                if "failure" in each:
                    yield f"failed: {each['failure']}"
                    break
                rate = number(each["requests_per_second"])
                chosen = contestant["chosen"].get(str(concurrency)) == setting
                yield f"**{rate}**" if chosen else rate
                break
        else:
            yield ""


def versions_section(document: Document) -> Iterator[str]:
    """Write the versions of the packages that matter."""
    yield "## Versions"
    yield ""
    lines = []
    for environment, packages in document["versions"].items():
        known = {name.lower(): version for name, version in packages.items()}
        named = [f"{name} {known[name]}" for name in SHOWN if name in known]
        lines.append((environment, ", ".join(named)))
    yield from table(("environment", "packages"), lines)


def main() -> int:
    """Write the page and draw the plots."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="?", type=Path, default=RESULTS)
    parser.add_argument("--output", type=Path, default=PAGE)
    arguments = parser.parse_args()
    document = json.loads(arguments.results.read_text())
    plots = arguments.output.with_suffix("")
    plots.mkdir(parents=True, exist_ok=True)
    provide("plots", lambda line: print(line, file=sys.stderr))
    subprocess.run(
        [
            *(python("plots"), "-m", "benchmarks.comparison.plots"),
            *(arguments.results.resolve(), plots.resolve()),
        ],
        cwd=ROOT,
        check=True,
    )
    arguments.output.write_text(page(document, plots.name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
