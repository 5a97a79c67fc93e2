"""The terminal says the same as the page, in one screen."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from heliograph_loadtest.load import ClosedLoop, OpenLoop
from heliograph_loadtest.objectives import Objective
from heliograph_loadtest.results import Report, SearchResult, VersionCount
from heliograph_loadtest.statements import configuration_lines, findings
from heliograph_loadtest.terminal import print_report

if TYPE_CHECKING:
    from tests.unit.loadtest.conftest import Reports


def printed(report: Report) -> list[str]:
    file = io.StringIO()
    print_report(report, Console(file=file, width=200))
    return [line.rstrip() for line in file.getvalue().splitlines()]


def cells(report: Report, first: str) -> list[str]:
    (row,) = [line.split() for line in printed(report) if line.startswith(f"{first} ")]
    return row


def test_one_step_shows_counts_and_latencies(reports: Reports) -> None:
    report = reports.report(reports.step(errors={"UNAVAILABLE": 1, "NOT_SENT": 3}))

    assert cells(report, "due") == ["due", "52", "4.33", "100%"]
    assert cells(report, "answered") == ["answered", "48", "4.00", "92.3%"]
    assert cells(report, "failed") == ["failed", "1", "0.083", "1.9%"]
    assert cells(report, "ms") == ["ms", "mean", "p50", "p75", "p90", "p95", "p99", "p99.9", "max"]
    assert cells(report, "latency")[2] == "2.00"
    assert cells(report, "UNAVAILABLE") == ["UNAVAILABLE", "1", "0", "it", "went", "wrong"]
    assert cells(report, "digits") == ["digits", "3", "48"]


def test_a_batch_shows_images_too(reports: Reports) -> None:
    report = reports.report(reports.step(images_per_call=32))

    assert cells(report, "images") == ["images", "1,536", "128"]


def test_several_steps_have_a_row_each(reports: Reports) -> None:
    slow = reports.step([[0.2] * 16] * 12, load=OpenLoop(16.0))
    report = reports.report(reports.step(load=OpenLoop(4.0)), slow)

    assert cells(report, "4.00/s")[:5] == ["4.00/s", "constant", "4.00", "100%", "0"]
    assert cells(report, "16.0/s")[3] == "0%"


def test_errors_and_versions_of_all_steps_are_added_up(reports: Reports) -> None:
    steps = [
        reports.step(errors={"UNAVAILABLE": 2}, versions=(VersionCount("digits", version, 10),))
        for version in (3, 4, 3)
    ]
    report = reports.report(*steps)

    assert cells(report, "UNAVAILABLE")[1] == "6"
    lines = printed(report)
    assert [line.split() for line in lines if line.startswith("digits")] == [
        ["digits", "3", "20"],
        ["digits", "4", "10"],
    ]


def test_the_generator_is_named_as_the_limit(reports: Reports) -> None:
    limited = reports.step(generator=reports.use((0.98,), [0.0001]), load=OpenLoop(9.0))

    one = " ".join(item.text for item in findings(reports.report(limited)))
    two = " ".join(item.text for item in findings(reports.report(reports.step(), limited)))

    busy = "a generator process was busy 98.0% of the time. Use more --processes"
    assert f"The generator was the limit: {busy}" in one
    assert f"The generator was the limit in 1 of 2 steps, marked with !. At 9.00/s {busy}" in two
    assert "0.98 !" in " ".join(printed(reports.report(reports.step(), limited)))


def test_a_disturbed_machine_is_named_beside_the_latencies(reports: Reports) -> None:
    disturbed = reports.step(generator=reports.use((0.3,), [0.008]), load=ClosedLoop(2))

    text = " ".join(item.text for item in findings(reports.report(disturbed)))

    assert "its own timers were up to 8.00 ms late at p99" in text
    assert "limit" not in text


def test_calls_that_were_held_back_are_named(reports: Reports) -> None:
    generator = replace(reports.step().generator, held=1234)

    texts = [item.text for item in findings(reports.report(reports.step(generator=generator)))]

    assert any("1,234 calls were sent late or never" in text for text in texts)


def test_a_step_that_ended_early_says_why(reports: Reports) -> None:
    step = reports.step(planned=60.0)

    (limited,) = [
        item.text for item in findings(reports.report(step)) if "12 s of 60 s" in item.text
    ]
    interrupted = [item.text for item in findings(reports.report(step, interrupted=True))]

    assert "--max-calls" in limited
    assert interrupted[0] == "The run was interrupted; this is what it had measured."
    assert not any("--max-calls" in text for text in interrupted)


@pytest.mark.parametrize(
    ("search", "kind", "text"),
    [
        (
            SearchResult(340.0, 357.0, generator_limited=False),
            "good",
            "Highest rate that kept p99 ≤ 50 ms: 340/s (357/s missed it).",
        ),
        (
            SearchResult(340.0, 357.0, generator_limited=True),
            "warning",
            "The generator was the limit there: the target may do more.",
        ),
        (SearchResult(340.0, None, generator_limited=False), "good", "(none missed it)"),
        (SearchResult(0.0, 0.09, generator_limited=False), "bad", "No rate kept p99 ≤ 50 ms."),
    ],
)
def test_a_search_is_told_in_a_sentence(
    reports: Reports, search: SearchResult, kind: str, text: str
) -> None:
    found = findings(reports.report(search=search))

    assert found[0].kind == kind
    assert text in found[0].text


def test_several_objectives_are_judged_each(reports: Reports) -> None:
    report = reports.report()
    objectives = (Objective(50.0, 0.003), Objective(99.0, 0.003))
    report = replace(report, configuration=replace(report.configuration, objectives=objectives))

    assert [(item.kind, item.text) for item in findings(report)] == [
        ("good", "p50 ≤ 3 ms kept: 75.0% of the calls due were answered in time."),
        ("bad", "p99 ≤ 3 ms missed: 75.0% of the calls due were answered in time."),
    ]


def test_what_was_asked_is_told_first(reports: Reports) -> None:
    report = reports.report(reports.step(load=ClosedLoop(4)))
    configuration = replace(
        report.configuration, tls=True, token=True, model="digits", version_label="canary"
    )
    configuration = replace(configuration, method="batch", batch_size=32, processes=2)

    lines = configuration_lines(replace(report, configuration=configuration))

    assert lines[0] == "127.0.0.1:9000 with TLS and a token, digits version label canary"
    assert lines[1] == "BatchClassify of 32 images, 8 images of 1 kB on average, timeout 10 s"
    assert lines[2] == "2 generator processes with 1 connection each, on 2 cores"
    assert lines[3] == (
        "closed loop, 4 concurrent for 12 s after 1 s of warm-up; the generator took 100 µs of "
        "processor time per call (0.25 cores), its timers were 0.100 ms late at p99"
    )
