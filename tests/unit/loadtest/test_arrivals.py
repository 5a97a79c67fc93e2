"""Calls are due evenly, or as if their callers knew nothing of each other."""

from __future__ import annotations

import math
import statistics
from itertools import islice, pairwise, takewhile

import pytest

from heliograph_loadtest.arrivals import arrivals
from heliograph_loadtest.load import Arrivals, OpenLoop, Share

ALONE = Share()


def offsets(
    kind: Arrivals, rate: float, count: int, share: Share = ALONE, seed: int = 1
) -> list[float]:
    return list(islice(arrivals(OpenLoop(rate, kind), share, seed), count))


def test_constant_arrivals_are_multiples_of_the_interval() -> None:
    due = offsets("constant", 250.0, 1_000_001)

    assert due[:4] == [0.0, 0.004, 0.008, 0.012]
    assert due[-1] == pytest.approx(4000.0, abs=1e-9)


def test_constant_arrivals_of_three_processes_interleave_to_one_even_rate() -> None:
    together = sorted(
        offset for number in range(3) for offset in offsets("constant", 90.0, 30, Share(number, 3))
    )

    assert together == pytest.approx([number / 90 for number in range(90)])


def test_poisson_arrivals_have_the_rate() -> None:
    due = offsets("poisson", 200.0, 20_000)

    # The mean of n exponential intervals has a standard error of 1/√n of it: five of them.
    assert due[-1] / len(due) == pytest.approx(1 / 200, rel=5 / math.sqrt(len(due)))


def test_poisson_intervals_are_exponential() -> None:
    due = offsets("poisson", 200.0, 20_000)
    intervals = sorted(later - earlier for earlier, later in pairwise(due))

    # Kolmogorov-Smirnov: above 1.95/√n fewer than one in a thousand true samples differ so much.
    count = len(intervals)
    distance = max(
        abs((rank + 1) / count - (1 - math.exp(-200 * interval)))
        for rank, interval in enumerate(intervals)
    )
    assert distance < 1.95 / math.sqrt(count)
    spread = statistics.stdev(intervals) / statistics.mean(intervals)
    assert spread == pytest.approx(1.0, abs=0.05)


def test_poisson_counts_scatter_as_their_mean() -> None:
    endless = arrivals(OpenLoop(40.0, "poisson"), ALONE, 3)
    due = list(takewhile(lambda offset: offset < 500, endless))
    counts = [0] * 500
    for offset in due:
        counts[int(offset)] += 1

    # Variance over mean is 1 with a standard error of √(2/n).
    ratio = statistics.variance(counts) / statistics.mean(counts)
    assert ratio == pytest.approx(1.0, abs=5 * math.sqrt(2 / len(counts)))


def test_poisson_arrivals_of_several_processes_add_up_to_one_process() -> None:
    together = sorted(
        offset
        for number in range(4)
        for offset in takewhile(
            lambda offset: offset < 100, arrivals(OpenLoop(200.0, "poisson"), Share(number, 4), 7)
        )
    )

    assert len(together) == pytest.approx(20_000, abs=5 * math.sqrt(20_000))
    intervals = [later - earlier for earlier, later in pairwise(together)]
    assert statistics.stdev(intervals) / statistics.mean(intervals) == pytest.approx(1.0, abs=0.05)


def test_the_seed_decides_and_processes_differ() -> None:
    assert offsets("poisson", 10.0, 9, seed=5) == offsets("poisson", 10.0, 9, seed=5)
    assert offsets("poisson", 10.0, 9, seed=5) != offsets("poisson", 10.0, 9, seed=6)
    assert offsets("poisson", 10.0, 9, Share(0, 2)) != offsets("poisson", 10.0, 9, Share(1, 2))


@pytest.mark.parametrize(("count", "processes"), [(10, 3), (2, 5), (7, 1)])
def test_the_shares_of_a_count_add_up(count: int, processes: int) -> None:
    shares = [Share(number, processes).of(count) for number in range(processes)]

    assert sum(shares) == count
    assert max(shares) - min(shares) <= 1
