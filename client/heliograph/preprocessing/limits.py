"""How large an image may be, checked on its header before any pixel is decoded."""

from __future__ import annotations

from dataclasses import dataclass

from heliograph.errors import ConfigurationError, CorruptImageError, ImageTooLargeError

DECODABLE_FORMATS = ("JPEG", "PNG")
"""The formats there is a decoder for."""


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Limits of one encoded image. What exceeds them is refused before it costs memory or time."""

    max_bytes: int = 10 * 2**20
    """Bytes of the encoded file."""
    max_pixels: int = 50_000_000
    """Height times width, of the file and of every intermediate image of a recipe."""
    max_side: int = 16_384
    """Pixels of the height and of the width, each."""
    formats: tuple[str, ...] = DECODABLE_FORMATS
    """Formats that are accepted, out of `JPEG` and `PNG`."""

    def __post_init__(self) -> None:
        if min(self.max_bytes, self.max_pixels, self.max_side) < 1:
            raise ConfigurationError(
                "image limits must be at least 1; raise max_bytes, max_pixels or max_side"
            )
        if not self.formats or not set(self.formats) <= set(DECODABLE_FORMATS):
            raise ConfigurationError(
                f"image formats {', '.join(self.formats) or '(none)'} cannot all be decoded; "
                f"choose from {', '.join(DECODABLE_FORMATS)}"
            )


DEFAULT_LIMITS = ImageLimits()


def check_bytes(encoded: bytes, limits: ImageLimits) -> None:
    """Raise ImageTooLargeError when the file has more bytes than allowed."""
    if len(encoded) > limits.max_bytes:
        raise ImageTooLargeError(
            f"the image has {len(encoded)} bytes, the limit is {limits.max_bytes}; "
            f"send a smaller file"
        )


def check_size(height: int, width: int, limits: ImageLimits) -> None:
    """Check the size of an image.

    Raises:
        ImageTooLargeError: It exceeds the limits.
        CorruptImageError: It has no pixels.
    """
    if height > limits.max_side or width > limits.max_side or height * width > limits.max_pixels:
        raise ImageTooLargeError(
            f"the image has {width} x {height} pixels, the limit is {limits.max_side} a side and "
            f"{limits.max_pixels} in total; send a smaller image"
        )
    if height < 1 or width < 1:
        raise CorruptImageError(
            f"the image has {width} x {height} pixels; send an image of at least 1 x 1"
        )
