"""How many images may be under way at once, judged by how soon they are answered.

Every image has a deadline. Were the whole window always under way, a slow model would let images
die of waiting for each other. So the number grows by one with every quick answer, and is halved by
a slow one, as a TCP connection does it.
"""

from __future__ import annotations

from typing import Final

FIRST_LIMIT: Final = 8
"""Images under way before the first answer."""
SLOW: Final = 0.25
"""An answer is slow that took more than this part of the time it had."""


class Pace:
    """The number of images that may be under way."""

    def __init__(self, timeout: float, window: int) -> None:
        """Start carefully.

        Args:
            timeout: Seconds that an image may take.
            window: Most images that may ever be under way.
        """
        self._slow = timeout * SLOW
        self._window = window
        self._halved = float("-inf")
        self.limit = min(FIRST_LIMIT, window)
        """Images that may be under way now, at least 1."""

    def answered(self, sent: float, now: float) -> None:
        """Note the answer to an image that was sent at a time."""
        if now - sent > self._slow:
            self.missed(sent, now)
        elif self.limit < self._window:
            self.limit += 1

    def missed(self, sent: float, now: float) -> None:
        """Note that an image had no answer in time."""
        # What was sent before the limit was last halved knows nothing of that.
        if sent >= self._halved:
            self.limit = max(self.limit // 2, 1)
            self._halved = now
