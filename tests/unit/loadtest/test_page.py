"""The page stands alone, shows what there is, and breaks on no name."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from heliograph_loadtest.charts import latency_scale, linear, percentile_scale
from heliograph_loadtest.load import ClosedLoop, OpenLoop
from heliograph_loadtest.page import render_page
from heliograph_loadtest.results import Report, SearchResult

if TYPE_CHECKING:
    from tests.unit.loadtest.conftest import Reports

VOID = {"meta", "link", "br", "img", "input"}


class Checker(HTMLParser):
    """Takes note of elements that are not closed, and of what a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [f"{name}={value}" for name, value in attrs if name in {"src", "href"}]
        self.loads += [tag] if tag in {"script", "link", "img", "iframe", "object"} else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def checked(page: str) -> str:
    """Return the words of a page, once it is known to be whole and to need nothing else."""
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert checker.loads == []
    assert "url(" not in page
    assert "@import" not in page
    for picture in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ET.fromstring(picture)
    return " ".join(checker.words)


@pytest.fixture
def single(reports: Reports) -> Report:
    return reports.report(reports.step(errors={"UNAVAILABLE": 3, "NOT_SENT": 2}))


@pytest.fixture
def ramp(reports: Reports) -> Report:
    return reports.report(
        *(
            reports.step([[0.01 * rate] * int(rate)] * 6, load=OpenLoop(rate))
            for rate in (2.0, 4.0, 8.0)
        )
    )


def titles(page: str) -> list[str]:
    return re.findall(r"<h3>(.*?)</h3>", page)


def test_one_step_is_shown_over_time(single: Report) -> None:
    page = render_page(single)

    words = checked(page)
    assert titles(page) == ["Latency over time", "Calls over time", "Latency by percentile"]
    assert "UNAVAILABLE" in words
    assert "not sent" in words
    assert "p99 ≤ 50 ms missed" in words


def test_several_steps_are_shown_over_the_rate(ramp: Report) -> None:
    page = render_page(ramp)

    words = checked(page)
    assert titles(page) == ["Latency over rate", "Answers over rate", "Latency by percentile"]
    assert "p99 ≤ 50 ms kept at 2.00/s, 4.00/s; missed at 8.00/s." in words
    assert page.count('class="missed"') == 1


def test_several_closed_loops_are_shown_over_the_concurrency(reports: Reports) -> None:
    page = render_page(reports.report(*(reports.step(load=ClosedLoop(n)) for n in (1, 2, 4))))

    checked(page)
    assert "Latency over concurrency" in titles(page)


def test_a_search_says_what_it_found(ramp: Report) -> None:
    found = SearchResult(4.0, 8.0, generator_limited=False)

    words = checked(render_page(replace(ramp, search=found)))

    assert "Highest rate that kept p99 ≤ 50 ms: 4.00/s (8.00/s missed it)." in words


def test_every_interval_has_a_hint_with_its_figures(single: Report) -> None:
    page = render_page(single)

    hints = re.findall(r"<title>(\d+) to \d+ s\n4 due, 4 answered", page)
    # Each of two charts over time has one for each of twelve seconds.
    assert len(hints) == 24


def test_points_are_where_the_values_are() -> None:
    scale = linear("ms", [0.0, 10.0, 20.0])

    assert (scale.low, scale.high) == (0.0, 20.0)
    assert [scale.at(value) for value in (0.0, 5.0, 20.0, 99.0)] == [0.0, 0.25, 1.0, 1.0]
    assert [text for _, text in scale.ticks] == ["0", "5", "10", "15", "20"]


def test_latencies_that_span_decades_get_a_logarithmic_scale() -> None:
    narrow, wide = latency_scale("ms", [1.0, 9.0]), latency_scale("ms", [1.0, 1000.0])

    assert narrow.kind == "linear"
    assert wide.kind == "log"
    assert [wide.at(value) for value in (1.0, 10.0, 1000.0)] == pytest.approx([0.0, 1 / 3, 1.0])


def test_nines_are_equally_far_apart_on_the_scale_of_percentiles() -> None:
    scale = percentile_scale("percentile", 10_000)

    assert [text for _, text in scale.ticks] == ["0", "50", "90", "99", "99.9", "99.99"]
    assert [scale.at(value) for value in (0, 90, 99, 99.9)] == pytest.approx([0, 0.25, 0.5, 0.75])


def test_names_from_outside_cannot_become_markup(reports: Reports) -> None:
    evil = "<script>alert(1)</script>\"'&"
    step = reports.step(errors={"UNKNOWN": 1})
    (error,) = step.errors
    step = replace(step, errors=(replace(error, reason=evil, message=evil),))

    words = checked(render_page(reports.report(step), title=evil))

    assert "alert(1)" in words


def test_a_run_without_any_answer_has_a_page_too(reports: Reports) -> None:
    nothing = reports.report(reports.step([[]] * 5, errors={"UNAVAILABLE": 9}))
    not_even_a_step = replace(nothing, steps=(), interrupted=True)

    assert "100%" in checked(render_page(nothing))
    assert "interrupted" in checked(render_page(not_even_a_step))
