"""What the tests of preprocessing share: the committed images, and files put together by hand."""

from __future__ import annotations

import io
import struct
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

# A busy machine must not fail a property.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

IMAGES = Path(__file__).parents[2] / "data" / "images"


@pytest.fixture(scope="session")
def images() -> Path:
    """The folder of committed images."""
    return IMAGES


class BuildPng(Protocol):
    """Puts a PNG file together; whatever is not given makes a valid grey image of 3 x 2 pixels."""

    def __call__(
        self,
        width: int = 3,
        height: int = 2,
        colour_type: int = 0,
        bits: int = 8,
        *,
        data: bytes | None = None,
        before: Sequence[bytes] = (),
        after: Sequence[bytes] = (),
        end: bool = True,
    ) -> bytes:
        """The file."""


class BuildJpeg(Protocol):
    """Encodes pixels as a JPEG file with Pillow's options."""

    def __call__(self, pixels: NDArray[np.uint8], **options: Any) -> bytes:
        """The file."""


def _chunk(kind: bytes, content: bytes = b"") -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def _build_png(
    width: int = 3,
    height: int = 2,
    colour_type: int = 0,
    bits: int = 8,
    *,
    data: bytes | None = None,
    before: Sequence[bytes] = (),
    after: Sequence[bytes] = (),
    end: bool = True,
) -> bytes:
    if data is None:
        data = zlib.compress(bytes((width + 1) * height))
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    parts = [b"\x89PNG\r\n\x1a\n", _chunk(b"IHDR", header), *before, _chunk(b"IDAT", data), *after]
    return b"".join(parts) + (_chunk(b"IEND") if end else b"")


def _build_jpeg(pixels: NDArray[np.uint8], **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def _gradient(height: int, width: int, channels: int = 3) -> NDArray[np.uint8]:
    y, x = np.mgrid[0:height, 0:width]
    planes = [(7 * x + 3 * y) % 256, (2 * x + 11 * y + x * y) % 256, (255 - 5 * x + y) % 256]
    pixels = np.stack(planes[:channels], axis=-1).astype(np.uint8)
    return pixels[:, :, 0] if channels == 1 else pixels


@pytest.fixture(scope="session")
def chunk() -> Callable[..., bytes]:
    """Makes one PNG chunk out of its kind and content."""
    return _chunk


@pytest.fixture(scope="session")
def build_png() -> BuildPng:
    """Puts PNG files together."""
    return _build_png


@pytest.fixture(scope="session")
def build_jpeg() -> BuildJpeg:
    """Encodes JPEG files."""
    return _build_jpeg


@pytest.fixture(scope="session")
def gradient() -> Callable[..., NDArray[np.uint8]]:
    """Draws pixels of a height, width and number of channels by a fixed formula."""
    return _gradient


@pytest.fixture(scope="session")
def pillow_jpeg() -> Callable[[bytes, int], NDArray[np.uint8]]:
    """Decodes a JPEG file with Pillow alone, at 1, 1/2, 1/4 or 1/8 of its size, in its own mode."""

    def decode(encoded: bytes, denominator: int = 1) -> NDArray[np.uint8]:
        image = JpegImagePlugin.JpegImageFile(io.BytesIO(encoded))
        if denominator > 1:
            # Pillow's own draft() rounds a size down and may choose another fraction.
            size = -(-image.width // denominator), -(-image.height // denominator)
            image.tile = [image.tile[0]._replace(extents=(0, 0, *size))]
            image._size = size
            image.decoderconfig = (denominator, 0)
        return np.asarray(image)

    return decode


@pytest.fixture(scope="session")
def best_time() -> Callable[[Callable[[], object]], float]:
    """Times a call: the best of five, in seconds, so that a busy machine does not fail a test."""

    def measure(call: Callable[[], object]) -> float:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        return min(times)

    return measure
