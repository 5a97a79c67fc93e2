"""What became of each call, written down at the least cost: a few numbers in arrays."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import Final, NamedTuple

OK: Final = "OK"
NOT_SENT: Final = "NOT_SENT"
"""Status of a call that was never sent: too many were in flight, or the generator was too slow."""


class ImageError(NamedTuple):
    """Images of a batch that failed by themselves."""

    status: str
    reason: str
    images: int


class Outcome(NamedTuple):
    """How a call ended; equal for calls that ended alike."""

    status: str
    """Name of the gRPC status, or NOT_SENT."""
    reason: str = ""
    """Stable reason of an error; empty when there is none."""
    model: str = ""
    version: int = 0
    """Model and version that answered; empty and 0 without an answer."""
    image_errors: tuple[ImageError, ...] = ()
    """Of an answered batch, the images that failed."""


@dataclass
class Records:
    """Calls in the order in which they ended. Times are in µs; 0 is the end of the warm-up."""

    due: array[int] = field(default_factory=lambda: array("q"))
    """When the call was due; negative in the warm-up."""
    latency: array[int] = field(default_factory=lambda: array("q"))
    """From then until the answer was there."""
    lateness: array[int] = field(default_factory=lambda: array("q"))
    """From then until it was sent."""
    held: array[int] = field(default_factory=lambda: array("b"))
    """1 when it was sent late because too many were in flight, and not for want of time."""
    outcome: array[int] = field(default_factory=lambda: array("l"))
    """Index into `outcomes`."""
    outcomes: list[Outcome] = field(default_factory=list)
    """Every outcome so far, not only of these calls."""
    messages: dict[tuple[str, str], str] = field(default_factory=dict)
    """By status and reason, the first message seen."""
    probes: array[int] = field(default_factory=lambda: array("q"))
    """How late, in µs, timers of the event loop went off."""

    def __len__(self) -> int:
        return len(self.due)


class Recorder:
    """Takes records, and hands over what has gathered."""

    def __init__(self) -> None:
        """Start with no records."""
        self._records = Records()
        self._indices: dict[Outcome, int] = {}

    def add(
        self, due: float, sent: float, ended: float, outcome: Outcome, *, held: bool = False
    ) -> None:
        """Record a call; times in seconds from the start of what is measured."""
        records = self._records
        # Rounded, since a call that is due when the warm-up ends may seem due just before it.
        records.due.append(round(due * 1e6))
        records.latency.append(int((ended - due) * 1e6))
        records.lateness.append(int((sent - due) * 1e6))
        records.held.append(held)
        index = self._indices.get(outcome)
        if index is None:
            index = self._indices[outcome] = len(records.outcomes)
            records.outcomes.append(outcome)
        records.outcome.append(index)

    def explain(self, status: str, reason: str, message: str) -> None:
        """Keep the first message of a status and reason."""
        self._records.messages.setdefault((status, reason), message)

    def probe(self, lateness: float) -> None:
        """Record how late a timer went off, in seconds."""
        self._records.probes.append(int(lateness * 1e6))

    def take(self) -> Records:
        """Return the records since the last time."""
        taken = self._records
        self._records = Records(outcomes=list(taken.outcomes), messages=dict(taken.messages))
        return taken
