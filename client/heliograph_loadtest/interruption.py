"""Ctrl-C and SIGTERM as a wish to see what there is, not as an error."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self


class Interruption:
    """Inside a `with` block, the first signal is noted and the next one acts as usual."""

    def __init__(self) -> None:
        """Nothing is caught before the `with` block."""
        self.requested = False
        self._previous: dict[signal.Signals, Any] = {}

    def is_requested(self) -> bool:
        """Return whether a signal has come."""
        return self.requested

    def __enter__(self) -> Self:
        # Python handles signals in the main thread, and nobody else may ask for them.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self._restore()

    def _restore(self) -> None:
        while self._previous:
            number, handler = self._previous.popitem()
            signal.signal(number, handler)
