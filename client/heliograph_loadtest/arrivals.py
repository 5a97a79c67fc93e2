"""When calls are due: offsets in seconds from the start of a step, without end."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

from heliograph_loadtest.load import OpenLoop, Share


def arrivals(load: OpenLoop, share: Share, seed: int) -> Iterator[float]:
    """Return the offsets of the calls that one process sends, in ascending order.

    Constant arrivals of several processes interleave to an even rate. Poisson arrivals are
    independent: the sum of Poisson processes is one again.
    """
    if load.arrivals == "constant":
        return _constant(load.rate, share)
    return _poisson(load.rate / share.processes, random.Random(f"{seed} {share.process}"))  # noqa: S311


def _constant(rate: float, share: Share) -> Iterator[float]:
    # From a count, not from a sum of intervals, whose rounding would add up.
    return (number / rate for number in itertools.count(share.process, share.processes))


def _poisson(rate: float, chance: random.Random) -> Iterator[float]:
    offset = 0.0
    while True:
        offset += chance.expovariate(rate)
        yield offset
