"""What is asked of a target, how much of it, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from heliograph.endpoint import Endpoint
from heliograph_loadtest.units import number

Method: TypeAlias = Literal["classify", "batch", "stream"]
Arrivals: TypeAlias = Literal["constant", "poisson"]


@dataclass(frozen=True)
class Traffic:
    """The calls of a run: where they go and what they ask."""

    endpoint: Endpoint
    """Where the calls go; its `channels` are opened by every generator process."""
    images: tuple[str, ...]
    """Paths of the images, used in turn."""
    method: Method = "classify"
    """Classify, BatchClassify, or the messages of StreamClassify."""
    batch_size: int = 1
    """Images of a call or message; 1 for `classify`."""
    model: str | None = None
    """Model asked; None for the only one served."""
    version: int | None = None
    """Exact version; None for the stable one."""
    version_label: str | None = None
    """Name for a version, instead of `version`."""
    top_k: int = 5
    """Classes wanted of each image."""
    seed: int = 0
    """Of the order of the images and of random arrivals."""


@dataclass(frozen=True)
class OpenLoop:
    """Calls are sent by the clock, whatever became of those before."""

    rate: float
    """Calls per second, all processes together."""
    arrivals: Arrivals = "constant"
    """Even intervals, or the exponential ones of callers who know nothing of each other."""

    @property
    def amount(self) -> str:
        """The rate in words."""
        return f"{number(self.rate)}/s"

    def __str__(self) -> str:
        return f"{self.amount} {self.arrivals}"


@dataclass(frozen=True)
class ClosedLoop:
    """Each caller sends a call when the last one was answered."""

    concurrency: int
    """Callers, all processes together."""

    @property
    def amount(self) -> str:
        """The concurrency in words."""
        return f"{self.concurrency} concurrent"

    def __str__(self) -> str:
        return self.amount


Load: TypeAlias = OpenLoop | ClosedLoop


@dataclass(frozen=True)
class Step:
    """One load for a time."""

    load: Load
    warmup: float
    """Seconds at the start whose calls are left out of the results."""
    duration: float
    """Seconds measured after that."""
    max_calls: int
    """Most calls, the warm-up's included; the step ends early when it is reached."""
    max_in_flight: int
    """Most calls that wait for their answers, all processes together; an open loop's calls beyond
    that are sent late, or not at all when a tenth of their timeout has passed."""


@dataclass(frozen=True)
class Share:
    """The part of a load that one of several generator processes makes."""

    process: int = 0
    """Number of the process, from 0."""
    processes: int = 1

    def of(self, count: int) -> int:
        """Return this process's part of a number of things; the parts add up to it."""
        return count // self.processes + (self.process < count % self.processes)
