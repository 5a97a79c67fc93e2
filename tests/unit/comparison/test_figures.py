"""Percentiles, medians, ratios, and the choice of a setting."""

from __future__ import annotations

import math

import pytest
from benchmarks.comparison.figures import Spread, best_setting, percentile, ratios, spread


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100), (0.001, 1)]
)
def test_a_percentile_is_one_of_the_values(share: float, expected: int) -> None:
    assert percentile(range(1, 101), share) == expected


def test_the_percentiles_of_one_value_are_that_value() -> None:
    assert [percentile([7], share) for share in (0.5, 0.99)] == [7, 7]


def test_nothing_has_no_percentile() -> None:
    assert math.isnan(percentile([], 0.5))


def test_a_spread_is_median_lowest_and_highest() -> None:
    assert spread([3.0, 1.0, 10.0]) == Spread(3.0, 1.0, 10.0)


def test_ratios_compare_round_by_round() -> None:
    # The machine was twice as fast in the second round, for both: that is no spread of the ratio.
    assert ratios([100.0, 200.0], [50.0, 100.0]) == Spread(2.0, 2.0, 2.0)


def test_rounds_that_do_not_match_are_not_compared() -> None:
    with pytest.raises(ValueError, match="zip"):
        ratios([1.0], [1.0, 2.0])


def test_the_fastest_setting_is_chosen_and_never_one_that_failed() -> None:
    assert best_setting({"slow": 10.0, "failed": None, "fast": 20.0, "equal": 20.0}) == "fast"


def test_there_is_no_best_setting_where_all_failed() -> None:
    assert best_setting({"one": None, "other": 0.0}) is None
