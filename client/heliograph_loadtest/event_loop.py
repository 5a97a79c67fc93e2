"""An event loop with exact timers, which knows how much of its time it had nothing to do."""

from __future__ import annotations

import asyncio
import selectors
import time
from typing import Any


class PreciseEventLoop(asyncio.SelectorEventLoop):
    """An event loop whose timers are exact to a fraction of a millisecond.

    The usual selectors of Linux round up to the next millisecond, which every latency would start
    with. `select` does not, and has few files to look at: gRPC watches its connections itself.
    """

    def __init__(self) -> None:
        """Make a loop for one thread."""
        self._waiting = _Waiting()
        super().__init__(self._waiting)

    def idle_seconds(self) -> float:
        """Return how long the loop has waited so far, with nothing to run."""
        return self._waiting.seconds


class _Waiting(selectors.SelectSelector):
    seconds = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        before = time.monotonic()
        ready = super().select(timeout)
        self.seconds += time.monotonic() - before
        return ready
