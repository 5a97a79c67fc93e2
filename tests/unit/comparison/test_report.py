"""The page shows losses as plainly as wins, and what failed as failed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks.comparison.figures import Spread
from benchmarks.comparison.report import page
from benchmarks.comparison.summary import rates_by_workers, rows, workers_of

Document = dict[str, Any]


def test_rows_stand_in_order_of_speed_with_failures_last(document: Document) -> None:
    found = rows(document["cases"]["small"], 16)

    assert [row.name for row in found] == ["mosec", "heliograph", "triton", "flask"]


def test_one_failed_round_makes_a_contestant_failed(document: Document) -> None:
    flask = rows(document["cases"]["small"], 16)[-1]

    assert (flask.failure, flask.figures, flask.ratio) == ("2 of 40 requests failed", {}, None)


def test_ratios_are_ours_over_theirs(document: Document) -> None:
    mosec, ours, triton, _ = rows(document["cases"]["small"], 16)

    assert mosec.ratio == Spread(0.5, 0.5, 0.6)
    assert triton.ratio == Spread(2.2, 2.0, 3.0)
    assert ours.ratio is None


def test_a_contestant_of_whom_no_setting_worked_says_why(document: Document) -> None:
    mosec = document["cases"]["small"]["contestants"]["mosec"]
    for each in mosec["selection"]:
        each["failure"] = "ended with 1"
    mosec["rounds"] = []

    failures = {row.name: row.failure for row in rows(document["cases"]["small"], 16)}
    assert failures["mosec"] == "ended with 1"


def test_the_best_rate_of_each_number_of_workers_is_plotted(document: Document) -> None:
    heliograph = document["cases"]["small"]["contestants"]["heliograph"]

    assert rates_by_workers(heliograph, 16) == {1: 500.0, 2: 1000.0}


@pytest.mark.parametrize(
    ("setting", "workers"),
    [
        ({"workers": 2}, 2),
        ({"flags": ["--workers=4", "--x=1"]}, 4),
        ({"callables": 1}, 1),
        ({}, None),
    ],
)
def test_workers_are_read_from_the_setting(setting: Document, workers: int | None) -> None:
    assert workers_of(setting) == workers


def test_the_page_names_the_loss_and_the_win(document: Document) -> None:
    text = page(document, "plots")

    assert "Heliograph answers 0.50 (0.50–0.60) times as many requests as mosec" in text
    assert "2.20 (2.00–3.00) times as many as Triton, the fastest of those with gRPC" in text


def test_the_page_shows_a_failure_instead_of_figures(document: Document) -> None:
    text = page(document, "plots")

    (line,) = (line for line in text.splitlines() if line.startswith("| Flask, good | failed"))
    assert "2 of 40 requests failed" in line
    assert "20.0" not in line


def test_the_page_says_so_when_heliograph_failed(document: Document) -> None:
    for each in document["cases"]["small"]["contestants"]["heliograph"]["rounds"]:
        each["failure"] = "answers wrongly"

    assert "**Heliograph failed: answers wrongly.**" in page(document, "plots")


def test_every_setting_is_published_and_the_chosen_one_marked(document: Document) -> None:
    text = page(document, "plots")

    assert "| mosec, good | **2,000** |" in text
    assert "| mosec, bad | 1,000 |" in text


def test_the_versions_that_matter_are_named_whatever_their_case(document: Document) -> None:
    text = page(document, "plots")

    assert "| mosec | pillow 13.0.0, mosec 0.9.8 |" in text


def test_the_limits_are_compared_with_what_heliograph_does(document: Document) -> None:
    def at(concurrency: int, rate: float, cpu: float, p50: float) -> Document:
        return {
            "concurrency": concurrency,
            "images_per_second": rate,
            "server_cpu_ms": cpu,
            "server_cpu_ms_per_image": cpu,
            "p50_ms": p50,
        }

    document["cases"]["small"]["limits"] = [
        {
            "bare": {"session": {"1": 1000.0, "64": 10000.0}, "decoder_one_core": 20000.0},
            "echo": {"failure": "was not ready"},
            "predict": {
                "predict": [at(1, 800, 1.0, 1.0), at(16, 1500, 0.5, 9.0)],
                "batches": [at(1, 9000, 0.1, 7.0)],
            },
            "gateway": {
                "classify": [at(1, 400, 1.5, 2.2), at(16, 1300, 0.75, 11.0)],
                "batches": [at(1, 8000, 0.15, 8.0)],
                "stream": {"images_per_second": 6000.0},
            },
        }
    ]

    text = page(document, "plots")

    assert "| BatchClassify over the bare session | 0.80 (0.80–0.80) |" in text
    assert "| StreamClassify over the bare session | 0.60 (0.60–0.60) |" in text
    assert "| the gateway adds to a Predict alone: p50, ms | 1.20 (1.20–1.20) |" in text
    assert "| it adds CPU per image, ms, 16 at once | 0.25 (0.25–0.25) |" in text
    assert "| bare grpc.aio with the same messages, requests/s, 16 at once | – |" in text


def test_the_published_page_is_what_its_document_gives(root: Path) -> None:
    results = root / "benchmarks" / "comparison" / "results.json"
    if not results.exists():
        pytest.skip("nothing has been published yet")

    text = page(json.loads(results.read_text()), "benchmarks")

    assert (root / "docs" / "benchmarks.md").read_text() == text, (
        "run python -m benchmarks.comparison.report"
    )


def test_a_limit_that_could_not_be_measured_is_a_dash(document: Document) -> None:
    failed = {"concurrency": 1, "failure": "no request was answered"}
    document["cases"]["small"]["limits"] = [
        {
            "bare": {"session": {"1": 1000.0}, "decoder_one_core": 20000.0},
            "echo": {"failure": "was not ready"},
            "predict": {"failure": "was not ready"},
            "gateway": {
                "classify": [],
                "batches": [failed],
                "stream": {"images_per_second": 0.0, "failure": "3 of 3 images failed"},
            },
        }
    ]

    text = page(document, "plots")

    assert "| BatchClassify over the bare session | – |" in text
    assert "| StreamClassify (`classify_many`), images/s | – |" in text
    assert "| the gateway adds to a Predict alone: p50, ms | – |" in text
