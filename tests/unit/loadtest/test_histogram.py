"""Histograms hold what HdrHistogram holds, and add up."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hdrh.histogram import HdrHistogram

from heliograph_loadtest.histogram import LONGEST, LatencyHistogram


def latencies(seed: int, count: int = 5000) -> list[int]:
    """Return microseconds from below a millisecond to a minute."""
    chance = random.Random(seed)
    return [int(chance.lognormvariate(9, 2.2)) for _ in range(count)]


def histogram(values: list[int]) -> LatencyHistogram:
    made = LatencyHistogram()
    made.record(values)
    return made


def reference(values: list[int]) -> Any:
    made = HdrHistogram(1, LONGEST, 3)
    for value in values:
        made.record_value(value)
    return made


@pytest.mark.parametrize("percentile", [0.1, 25, 50, 75, 90, 99, 99.9, 100])
def test_percentiles_are_those_of_hdrhistogram(percentile: float) -> None:
    values = latencies(seed=1)

    # HdrHistogram rounds to the nearest rank, we take the next one up, which covers the share.
    ours = histogram(values).percentile(percentile) * 1e6
    theirs = reference(values).get_value_at_percentile(percentile)

    assert ours == pytest.approx(theirs, rel=0.002)


@pytest.mark.parametrize("value", [0, 1, 2047, 2048, 4095, 4096, 123_456, 98_765_432, LONGEST])
def test_a_value_is_kept_to_three_digits(value: int) -> None:
    only = histogram([value])

    longest = round(only.longest * 1e6)
    assert value <= longest <= value * 1.001
    assert longest == reference([value]).get_max_value()


def test_a_percentile_is_not_below_the_share_of_values_that_it_names() -> None:
    values = latencies(seed=2, count=1000)
    ranked = sorted(values)

    for percentile, rank in ((50, 500), (99, 990), (99.9, 999)):
        found = round(histogram(values).percentile(percentile) * 1e6)
        assert ranked[rank - 1] <= found <= ranked[rank - 1] * 1.001


def test_histograms_of_several_processes_add_up_to_one_of_all_values() -> None:
    parts = [latencies(seed) for seed in range(4)]

    merged = LatencyHistogram.merged(histogram(part) for part in parts)

    assert merged == histogram([value for part in parts for value in part])
    assert merged.count == 4 * 5000
    assert merged.percentile(99) > min(histogram(part).percentile(99) for part in parts)


def test_merging_leaves_the_parts_alone() -> None:
    one, other = histogram([100]), histogram([200])

    LatencyHistogram.merged([one, other])
    one.add(other)

    assert (one.count, other.count) == (2, 1)


def test_other_hdr_tools_read_what_it_writes() -> None:
    values = latencies(seed=3)

    decoded = HdrHistogram.decode(histogram(values).encode())

    assert decoded.get_total_count() == len(values)
    assert decoded.get_value_at_percentile(99) == reference(values).get_value_at_percentile(99)


def test_it_reads_what_other_hdr_tools_write() -> None:
    values = latencies(seed=4)

    assert LatencyHistogram.decode(reference(values).encode().decode()) == histogram(values)


def test_it_reads_what_it_writes() -> None:
    for values in ([], [0], latencies(seed=5)):
        assert LatencyHistogram.decode(histogram(values).encode()) == histogram(values)


@pytest.mark.parametrize("text", ["", "no histogram", "HISTFAAAAB142pNpmSz", "AAAA"])
def test_what_is_no_histogram_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no HDR histogram"):
        LatencyHistogram.decode(text)


def test_values_out_of_range_count_at_its_ends() -> None:
    extreme = histogram([-5, 10 * LONGEST])

    assert extreme.count == 2
    assert extreme.percentile(1) == 0
    assert extreme.longest == pytest.approx(LONGEST / 1e6, rel=0.001)


def test_the_share_within_a_limit_is_counted() -> None:
    values = latencies(seed=6)

    within = histogram(values).count_within(0.05)

    assert within == pytest.approx(sum(value <= 50_000 for value in values), abs=5)


def test_the_mean_is_that_of_the_values() -> None:
    values = latencies(seed=7)

    assert histogram(values).mean * 1e6 == pytest.approx(sum(values) / len(values), rel=0.001)


def test_rows_lead_from_the_shortest_to_the_longest() -> None:
    rows = [(round(top * 1e6), total) for top, total in histogram([300, 100, 300, 200]).rows()]

    assert rows == [(100, 1), (200, 2), (300, 4)]


def test_an_empty_histogram_has_zeros() -> None:
    empty = LatencyHistogram()

    assert (empty.count, empty.mean, empty.longest) == (0, 0.0, 0.0)
    assert empty.percentiles((50, 99)) == [0.0, 0.0]
    assert list(empty.rows()) == []
