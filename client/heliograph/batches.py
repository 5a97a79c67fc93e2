"""Many images in few messages: what `classify_many` sends, and in which order it answers.

A batch holds up to a number of images and of bytes, so that memory stays bounded however many
images there are. An image that cannot be read keeps its place and is not sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from heliograph.classifier_calls import batch_request, results
from heliograph.errors import (
    AbortedError,
    DataLossError,
    DeadlineExceededError,
    HeliographError,
    InternalError,
    InvalidArgumentError,
    ResourceExhaustedError,
    UnavailableError,
    UnknownError,
)
from heliograph.images import LoadedImage
from heliograph.results import Failure, Result
from heliograph.v1.classifier_pb2 import BatchClassifyResponse

BATCH_BYTES: Final = 3 * 1024 * 1024
"""A batch is full at this size, below the 4 MiB that gRPC servers take by default; one image alone
may be larger."""

DEFAULT_BATCH_SIZE: Final = 32
DEFAULT_BATCHES_IN_FLIGHT: Final = 4

_OF_THE_MOMENT: Final = (
    AbortedError,
    DataLossError,
    DeadlineExceededError,
    InternalError,
    ResourceExhaustedError,
    UnavailableError,
    UnknownError,
)


@dataclass(frozen=True, slots=True)
class Batch:
    """Images that are answered together."""

    request: bytes
    """A serialized BatchClassifyRequest; empty when there is nothing to ask."""
    failures: tuple[Failure | None, ...]
    """For each image, why it was not sent; None for those that were."""

    def answered(self, response: BatchClassifyResponse) -> list[Result | Failure]:
        """Return a result or failure for each image, in order.

        Raises:
            InternalError: The response has too few or too many results.
        """
        sent = iter(results(response, self.failures.count(None)))
        return [next(sent) if failure is None else failure for failure in self.failures]

    def unanswered(self, error: HeliographError) -> list[Result | Failure]:
        """Return a failure for each image of a call that failed as a whole.

        Raises:
            HeliographError: The error itself, when every other batch would meet it too, as it
                does where the model does not exist or the token is wrong.
        """
        if not isinstance(error, _OF_THE_MOMENT):
            raise error
        return [failure or Failure(error) for failure in self.failures]


class BatchBuilder:
    """Collects images into batches."""

    def __init__(self, asked: bytes, batch_size: int) -> None:
        """Start with no images.

        Args:
            asked: What `heliograph.classifier_calls.question` returned.
            batch_size: Images of a full batch.

        Raises:
            InvalidArgumentError: The batch size is below 1.
        """
        if batch_size < 1:
            raise InvalidArgumentError(f"batch_size is {batch_size}; use 1 or more")
        self._asked = asked
        self._batch_size = batch_size
        self._images: list[LoadedImage] = []
        self._failures: list[Failure | None] = []
        self._bytes = 0

    def add(self, image: LoadedImage | Failure) -> Sequence[Batch]:
        """Take one image, and return the batches that are complete now: none, one or two."""
        complete: list[Batch] = []
        if isinstance(image, Failure):
            self._failures.append(image)
        else:
            size = len(image[1])
            if self._images and self._bytes + size > BATCH_BYTES:
                complete += self.finish()
            self._images.append(image)
            self._failures.append(None)
            self._bytes += size
        if len(self._failures) >= self._batch_size or self._bytes >= BATCH_BYTES:
            complete += self.finish()
        return complete

    def finish(self) -> Sequence[Batch]:
        """Return what is left as a batch, if there is anything, and start afresh."""
        if not self._failures:
            return ()
        request = batch_request(self._asked, self._images) if self._images else b""
        batch = Batch(request, tuple(self._failures))
        self._images, self._failures, self._bytes = [], [], 0
        return (batch,)


def check_in_flight(batches_in_flight: int) -> int:
    """Return a number of batches in flight.

    Raises:
        InvalidArgumentError: It is below 1.
    """
    if batches_in_flight < 1:
        raise InvalidArgumentError(f"batches_in_flight is {batches_in_flight}; use 1 or more")
    return batches_in_flight
