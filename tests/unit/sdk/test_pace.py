"""How many images are under way: more while answers are quick, half as many when one is slow."""

from __future__ import annotations

import pytest

from heliograph.pace import FIRST_LIMIT, Pace


def test_it_begins_carefully_and_never_beyond_the_window() -> None:
    assert Pace(10.0, 100).limit == FIRST_LIMIT
    assert Pace(10.0, 3).limit == 3


def test_quick_answers_double_it_with_every_round_up_to_the_window() -> None:
    pace = Pace(10.0, 100)
    limits = []
    for _ in range(6):
        for _ in range(pace.limit):
            pace.answered(sent=0.0, now=1.0)
        limits.append(pace.limit)

    assert limits == [16, 32, 64, 100, 100, 100]


def test_one_slow_round_halves_it_once() -> None:
    pace = Pace(10.0, 64)
    for _ in range(64):
        pace.answered(sent=0.0, now=0.1)
    assert pace.limit == 64

    for _ in range(64):
        pace.answered(sent=1.0, now=5.0)

    assert pace.limit == 32


def test_it_stays_at_one_however_slow_the_answers() -> None:
    pace = Pace(10.0, 64)
    for second in range(0, 200, 10):
        pace.missed(sent=second, now=second + 9.0)

    assert pace.limit == 1


@pytest.mark.parametrize("seconds_per_image", [0.001, 0.1, 1.0, 3.0, 9.0])
def test_no_image_of_a_slow_model_dies_of_waiting_for_others(seconds_per_image: float) -> None:
    """A gateway that answers one image after the other, and a caller that keeps it busy."""
    timeout = 10.0
    pace = Pace(timeout, 128)
    waiting: list[float] = []
    now = late = 0.0
    for _ in range(500):
        while len(waiting) < pace.limit:
            waiting.append(now)
        now += seconds_per_image
        sent = waiting.pop(0)
        if now - sent > timeout:
            late += 1
            pace.missed(sent, now)
        else:
            pace.answered(sent, now)

    # Those of the first moments may be late, and half as many after each look: 8 + 4 + 2 + 1.
    assert late < 2 * FIRST_LIMIT
