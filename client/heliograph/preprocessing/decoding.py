"""The one decoder: header first, then pixels, upright, in colour or grey."""

from __future__ import annotations

from heliograph.errors import CorruptImageError, UnsupportedImageFormatError
from heliograph.preprocessing.exif import TRANSPOSITIONS, UPRIGHT
from heliograph.preprocessing.formats import JPEG_SIGNATURE, PNG_SIGNATURE, describe_format
from heliograph.preprocessing.header import ImageHeader
from heliograph.preprocessing.jpeg import JpegHeader, decode_jpeg, read_jpeg_header
from heliograph.preprocessing.limits import DEFAULT_LIMITS, ImageLimits, check_bytes
from heliograph.preprocessing.pixels import Pixels, as_image
from heliograph.preprocessing.png import PngHeader, decode_png, read_png_header


def read_header(encoded: bytes, limits: ImageLimits = DEFAULT_LIMITS) -> ImageHeader:
    """Read format and size of an encoded image without decoding a pixel.

    Raises:
        UnsupportedImageFormatError: The bytes are no image, or of a format that is not allowed.
        ImageTooLargeError: The file or the image exceeds the limits.
        CorruptImageError: The header, or the structure of the file, is damaged or incomplete.
    """
    check_bytes(encoded, limits)
    if encoded.startswith(JPEG_SIGNATURE):
        _check_allowed("JPEG", limits)
        return read_jpeg_header(encoded, limits)
    if encoded.startswith(PNG_SIGNATURE[:4]):
        _check_allowed("PNG", limits)
        if not encoded.startswith(PNG_SIGNATURE):
            raise CorruptImageError(
                "the PNG is damaged: its signature is broken, as by a transfer in text mode"
            )
        return read_png_header(encoded, limits)
    raise UnsupportedImageFormatError(
        f"the image is {describe_format(encoded)}; send one of {', '.join(limits.formats)}"
    )


def _check_allowed(name: str, limits: ImageLimits) -> None:
    if name not in limits.formats:
        raise UnsupportedImageFormatError(
            f"{name} images are not accepted here; send {', '.join(limits.formats)}"
        )


def decode(encoded: bytes, header: ImageHeader, channels: int, denominator: int = 1) -> Pixels:
    """Decode the image that the header was read from, and turn it upright.

    Args:
        encoded: The file.
        header: What `read_header` said of it.
        channels: 3 for RGB, 1 for grey.
        denominator: 1, 2, 4 or 8: a JPEG is decoded at this fraction of its size, rounded up. A
            PNG has only 1.

    Raises:
        CorruptImageError: The pixels cannot be decoded, or not all of them.
    """
    if isinstance(header, JpegHeader):
        pixels = decode_jpeg(encoded, header, channels, denominator)
    elif isinstance(header, PngHeader):
        pixels = decode_png(encoded, header, channels)
    else:
        raise TypeError(f"no decoder for {type(header).__name__}")
    if header.orientation == UPRIGHT:
        return pixels
    return as_image(pixels).transpose(TRANSPOSITIONS[header.orientation])
