"""What a fake is to do, in the order in which it was told."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

Planned = TypeVar("Planned")


class Script(Generic[Planned]):
    """What is planned, each in its turn, and then what stands. Threads may share it."""

    def __init__(self) -> None:
        """Plan nothing."""
        self._lock = threading.Lock()
        self._due: deque[Planned] = deque()
        self._standing: Planned | None = None

    def add(self, planned: Planned, times: int | None) -> None:
        """Plan something a number of times, or from then on when None."""
        with self._lock:
            if times is None:
                self._standing = planned
            else:
                self._due.extend([planned] * times)

    def next(self) -> Planned | None:
        """Return what is due; None when nothing was said."""
        with self._lock:
            return self._due.popleft() if self._due else self._standing
