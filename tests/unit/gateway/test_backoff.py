"""How long a worker that has ended waits before it is started again."""

from __future__ import annotations

import itertools

from heliograph_gateway.fleet import LONGEST_PAUSE, SHORTEST_PAUSE, Backoff


def test_a_worker_that_keeps_ending_waits_twice_as_long_each_time_up_to_a_limit() -> None:
    backoff = Backoff()

    pauses = [backoff.after(lived=1.0) for _ in range(12)]

    assert pauses[0] == SHORTEST_PAUSE
    for pause, following in itertools.pairwise(pauses):
        assert following == min(LONGEST_PAUSE, 2 * pause)
    assert pauses[-1] == LONGEST_PAUSE


def test_a_worker_that_lived_long_comes_back_soon() -> None:
    backoff = Backoff()
    for _ in range(12):
        backoff.after(lived=1.0)

    assert backoff.after(lived=LONGEST_PAUSE + 1) == SHORTEST_PAUSE
