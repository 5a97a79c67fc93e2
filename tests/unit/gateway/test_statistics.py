"""What is timed of one version."""

from __future__ import annotations

import pytest

from heliograph_gateway.statistics import Statistics


def test_the_time_of_a_row_is_that_of_a_batch_by_its_rows() -> None:
    statistics = Statistics()

    statistics.computed(10, sent=1.0, answered=1.5, full=True)

    assert statistics.row_seconds == pytest.approx(0.05)


def test_batches_that_overlap_share_their_time() -> None:
    statistics = Statistics()
    for place in range(100):
        # Two are always under way: each takes 0.2 s, and one is answered every 0.1 s.
        statistics.computed(10, sent=place * 0.1, answered=place * 0.1 + 0.2, full=True)

    assert statistics.row_seconds == pytest.approx(0.01)


def test_idle_time_is_not_counted() -> None:
    statistics = Statistics()
    for place in range(10):
        statistics.computed(1, sent=place * 60.0, answered=place * 60.0 + 0.1, full=True)

    assert statistics.row_seconds == pytest.approx(0.1)


def test_one_slow_batch_is_forgotten_after_some_fast_ones_of_any_size() -> None:
    statistics = Statistics()
    statistics.computed(1, sent=0.0, answered=10.0, full=True)
    for place in range(11, 61):
        statistics.computed(1, sent=place, answered=place + 0.01, full=False)

    assert statistics.row_seconds == pytest.approx(0.01, rel=0.05)


def test_small_batches_do_not_make_the_rows_of_full_ones_look_slow() -> None:
    statistics = Statistics()
    statistics.computed(1, sent=0.0, answered=0.5, full=False)
    assert statistics.row_seconds == 0

    statistics.computed(64, sent=1.0, answered=1.64, full=True)
    statistics.computed(1, sent=2.0, answered=2.5, full=False)

    assert statistics.row_seconds == pytest.approx(0.01)
