"""Requests, serialized before the run, so that sending one costs no more than gRPC's own work."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from heliograph.classifier_calls import batch_request, classify_request, question, selector
from heliograph.errors import InvalidImageError
from heliograph.images import LoadedImage, load_image
from heliograph.v1.classifier_pb2 import ClassifyOptions, StreamClassifyRequest
from heliograph.wire_format import delimited, varint
from heliograph_loadtest.load import Traffic

MAX_BYTES: Final = 256 * 1024 * 1024
"""Bytes of images that a generator process holds at most."""

_IMAGE: Final = StreamClassifyRequest.IMAGE_FIELD_NUMBER
_MORE_IMAGES: Final = StreamClassifyRequest.MORE_IMAGES_FIELD_NUMBER
_CORRELATION_ID: Final = StreamClassifyRequest.CORRELATION_ID_FIELD_NUMBER


@dataclass(frozen=True)
class ImageSelection:
    """The images that a run sends, of those it was pointed at."""

    paths: tuple[str, ...]
    found: int
    """Images that it was pointed at."""
    total_bytes: int
    """Bytes of the selected ones."""


def select_images(paths: Iterable[str], most: int) -> ImageSelection:
    """Choose images, spread evenly over those given, as many as are wanted and fit into memory.

    Raises:
        InvalidImageError: One cannot be read.
    """
    found = list(paths)
    count = min(most, len(found))
    spread = [found[index * len(found) // count] for index in range(count)]
    selected: list[str] = []
    total = 0
    for path in spread:
        try:
            size = Path(path).stat().st_size
        except OSError as error:
            raise InvalidImageError(f"cannot read {path}: {error.strerror}") from error
        if selected and total + size > MAX_BYTES:
            break
        selected.append(path)
        total += size
    return ImageSelection(tuple(selected), len(found), total)


def serialize(traffic: Traffic) -> list[bytes]:
    """Read the images, shuffle them by the seed, and return the requests to send in turn.

    Requests of a stream lack their correlation id: see `with_correlation_id`.

    Raises:
        InvalidImageError: An image cannot be read.
        InvalidArgumentError: The model, version or number of classes makes no sense.
    """
    images = [load_image(path) for path in traffic.images]
    random.Random(traffic.seed).shuffle(images)  # noqa: S311
    if traffic.method == "stream":
        return _stream_requests(traffic, images)
    asked = question(traffic.model, traffic.version, traffic.version_label, traffic.top_k, 0.0)
    if traffic.method == "batch":
        return [batch_request(asked, batch) for batch in _batches(images, traffic.batch_size)]
    return [classify_request(asked, image) for image in images]


def with_correlation_id(request: bytes, correlation_id: int) -> bytes:
    """Return a serialized StreamClassifyRequest with its id, from 0 to 2⁶⁴ − 1."""
    return varint(_CORRELATION_ID << 3) + varint(correlation_id) + request


def _batches(images: Sequence[LoadedImage], size: int) -> list[list[LoadedImage]]:
    """Return full batches that use every image; the last one is filled up from the start."""
    return [
        [images[(first + offset) % len(images)] for offset in range(size)]
        for first in range(0, len(images), size)
    ]


def _stream_requests(traffic: Traffic, images: Sequence[LoadedImage]) -> list[bytes]:
    asked = StreamClassifyRequest(
        model=selector(traffic.model, traffic.version, traffic.version_label),
        options=ClassifyOptions(top_k=traffic.top_k),
    ).SerializeToString()
    return [
        b"".join((asked, *_fields(_IMAGE, batch[:1]), *_fields(_MORE_IMAGES, batch[1:])))
        for batch in _batches(images, traffic.batch_size)
    ]


def _fields(number: int, images: Iterable[LoadedImage]) -> Iterator[bytes]:
    for prefix, data in images:
        yield from (delimited(number, len(prefix) + len(data)), prefix, data)
