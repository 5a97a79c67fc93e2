"""Admission: work that cannot be finished is refused at once, while refusing is cheap."""

from __future__ import annotations

from heliograph.errors import DeadlineExceededError, OverloadedError
from heliograph_gateway.metrics import GatewayMetrics

_SHORTEST_DEADLINE = 0.001
"""Seconds below which not even a backend on the same machine can be reached."""
_RETRY_AFTER = 0.1
"""Seconds after which a refused caller may come back: time for several batches."""

_SHARE_OF_DEADLINE = 0.7
"""Share of the time until its deadline that a request may be expected to wait: the rest is for
decoding, and for batches that take longer than the last ones."""


class Admission:
    """Counts the images inside the gateway."""

    def __init__(self, max_in_flight: int, metrics: GatewayMetrics) -> None:
        self._max_in_flight = max_in_flight
        self._metrics = metrics
        self._in_flight = 0

    def admit(self, images: int, remaining: float) -> Places:
        """Return a place for each image of a request, to be held while the request is in here.

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
        return Places(self, images)

    def check_wait(self, images: int, ahead: int, row_seconds: float, remaining: float) -> None:
        """Refuse what would wait past its deadline, before anything is done for it.

        Args:
            images: Number of images.
            ahead: Images that are on their way through the same version.
            row_seconds: Time that the backend takes for an image while it is busy.
            remaining: Seconds until the caller's deadline.

        Raises:
            OverloadedError: The images ahead take too long; says when to come back.
        """
        wait = (ahead + images) * row_seconds
        # Nobody is ahead of the first, whatever an earlier batch took: it is what tells whether
        # the backend has become faster.
        if ahead and wait > _SHARE_OF_DEADLINE * remaining:
            self._metrics.rejected("wait")
            raise OverloadedError(
                f"{ahead} images are ahead; the answer would take about {wait:.1f} s, and the "
                f"deadline is in {remaining:.1f} s",
                retry_after=max(_RETRY_AFTER, wait - _SHARE_OF_DEADLINE * remaining),
            )

    def change(self, images: int) -> None:
        """Count images that came, or, below 0, that left."""
        self._in_flight += images
        self._metrics.in_flight(self._in_flight)


class Places:
    """Places of one request."""

    __slots__ = ("_admission", "_images")

    def __init__(self, admission: Admission, images: int) -> None:
        self._admission = admission
        self._images = images

    def __enter__(self) -> None:
        self._admission.change(self._images)

    def __exit__(self, *_: object) -> None:
        self._admission.change(-self._images)
