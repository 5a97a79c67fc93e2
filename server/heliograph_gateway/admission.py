"""Admission: work that cannot be finished is refused at once, while refusing is cheap."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from heliograph.errors import DeadlineExceededError, OverloadedError
from heliograph_gateway.metrics import GatewayMetrics

_SHORTEST_DEADLINE = 0.001
"""Seconds below which not even a backend on the same machine can be reached."""
_RETRY_AFTER = 0.1
"""Seconds after which a refused caller may come back: time for several batches."""


class Admission:
    """Counts the images inside the gateway."""

    def __init__(self, max_in_flight: int, metrics: GatewayMetrics) -> None:
        self._max_in_flight = max_in_flight
        self._metrics = metrics
        self._in_flight = 0

    @contextmanager
    def admit(self, images: int, remaining: float) -> Iterator[None]:
        """Hold a place for each image of a request.

        Args:
            images: Number of images.
            remaining: Seconds until the caller's deadline.

        Raises:
            OverloadedError: The gateway is full; says when to come back.
            DeadlineExceededError: There is no time left.
        """
        if remaining < _SHORTEST_DEADLINE:
            self._metrics.rejected("deadline")
            raise DeadlineExceededError(
                f"{max(0.0, remaining) * 1000:.1f} ms are too little to start; set a later deadline"
            )
        if self._in_flight + images > self._max_in_flight:
            self._metrics.rejected("overload")
            raise OverloadedError(
                f"{self._in_flight} images are in the gateway; the limit is {self._max_in_flight}",
                retry_after=_RETRY_AFTER,
            )
        self._in_flight += images
        self._metrics.in_flight(self._in_flight)
        try:
            yield
        finally:
            self._in_flight -= images
            self._metrics.in_flight(self._in_flight)
