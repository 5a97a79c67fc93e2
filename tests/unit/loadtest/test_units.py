"""Durations, shares, objectives and figures read as people write them."""

from __future__ import annotations

import argparse

import pytest

from heliograph_loadtest.objectives import Objective, parse_objectives
from heliograph_loadtest.units import duration, number, parse_seconds, parse_share, percent, size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("30s", 30),
        ("2", 2),
        (".5s", 0.5),
        ("1.5m", 90),
        ("2 h", 7200),
        ("9us", 9e-6),
    ],
)
def test_a_duration_has_a_unit_or_is_in_seconds(text: str, seconds: float) -> None:
    assert parse_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "ten", "5d", "-1s", "1s2", "inf", "nan"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="no duration"):
        parse_seconds(text)


@pytest.mark.parametrize(("text", "share"), [("10%", 0.1), ("0.1", 0.1), ("0", 0), ("100 %", 1)])
def test_a_share_is_in_percent_or_a_number(text: str, share: float) -> None:
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "101%", "-1", "2", "nan", "x%"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="no share"):
        parse_share(text)


def test_objectives_come_in_order_of_their_percentile() -> None:
    assert parse_objectives("p99.9=1s, p50=10ms,p99<=50ms") == (
        Objective(50.0, 0.01),
        Objective(99.0, 0.05),
        Objective(99.9, 1.0),
    )


@pytest.mark.parametrize("text", ["", "p99", "99=5ms", "p0=5ms", "p100=5ms", "p99=0ms"])
def test_what_is_no_objective_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        parse_objectives(text)


def test_figures_have_three_digits() -> None:
    shown = [number(value) for value in (0, 0.0123, 1.234, 12.34, 123.4, 12_345)]

    assert shown == ["0", "0.012", "1.23", "12.3", "123", "12,345"]


def test_shares_near_their_ends_keep_the_digits_that_matter() -> None:
    shown = [percent(share) for share in (0, 0.00012, 0.1, 0.5, 0.99, 0.99995, 1)]

    assert shown == ["0%", "0.012%", "10.0%", "50.0%", "99.0%", "99.995%", "100%"]


def test_durations_and_sizes_have_the_unit_that_suits_them() -> None:
    assert [duration(value) for value in (0.05, 30, 600, 7200)] == [
        "50 ms",
        "30 s",
        "10 min",
        "2 h",
    ]
    assert [size(value) for value in (12, 1200, 2.5e6, 3e9)] == ["12 B", "1.2 kB", "2.5 MB", "3 GB"]
