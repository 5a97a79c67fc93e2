"""JPEG: the header by our own walk along the markers, the pixels by libjpeg-turbo.

The walk follows ITU-T T.81, annex B, and reads no further than the first scan, unless the file may
have several: those are counted, because every scan costs a pass over the whole image and a small
file can have thousands.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import cast

import simplejpeg
from PIL import Image

from heliograph.errors import CorruptImageError, ImageTooLargeError, UnsupportedImageFormatError
from heliograph.preprocessing.exif import EXIF_PREFIX, read_orientation
from heliograph.preprocessing.header import ImageHeader
from heliograph.preprocessing.limits import ImageLimits, check_size
from heliograph.preprocessing.pixels import Pixels, UInt8Array

MAX_SEGMENTS = 1000
"""Marker segments before the pixels. Photos have a dozen, and up to 160 with long metadata."""
MAX_SCANS = 64
"""Scans of a file. Encoders write 1 or about 10."""

_SOI, _EOI, _SOS, _TEM = 0xD8, 0xD9, 0xDA, 0x01
_RESTARTS = range(0xD0, 0xD8)
_APP1 = 0xE1
_FRAMES = (0xC0, 0xC1, 0xC2)
_PROGRESSIVE = 0xC2
_OTHER_FRAMES = {
    **dict.fromkeys((0xC3, 0xC7, 0xCB, 0xCF), "lossless"),
    **dict.fromkeys((0xC5, 0xC6, 0xCD, 0xCE), "hierarchical"),
    **dict.fromkeys((0xC9, 0xCA), "arithmetic-coded"),
}
# In coded data 0xFF is followed by 0 (stuffing) or a restart marker; anything else ends the scan.
_END_OF_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_CMYK_COMPONENTS = 4


@dataclass(frozen=True, slots=True)
class JpegHeader(ImageHeader):
    """The header of a JPEG file with 8 bits per component, baseline or progressive."""

    components: int
    """1 (grey), 3 (YCbCr or RGB) or 4 (CMYK or YCCK)."""


def read_jpeg_header(encoded: bytes, limits: ImageLimits) -> JpegHeader:
    """Read a file that starts with the JPEG signature up to its first scan.

    Raises:
        ImageTooLargeError: The frame exceeds the limits, or the file has more than MAX_SCANS scans.
        CorruptImageError: The markers do not make sense, or the file ends among them.
        UnsupportedImageFormatError: A kind of JPEG that browsers do not show either.
    """
    height = width = components = frame = 0
    exif = b""
    position = 2
    try:
        for _ in range(MAX_SEGMENTS):
            if encoded[position] != 0xFF:
                raise CorruptImageError(f"the JPEG is damaged: no marker at byte {position}")
            marker = encoded[position + 1]
            if marker == 0xFF:  # Padding: any number of 0xFF may stand before a marker.
                position += 1
                continue
            if marker == _TEM or marker in _RESTARTS:
                position += 2
                continue
            start = position + 4
            position += 2 + (encoded[position + 2] << 8 | encoded[position + 3])
            if position < start or marker in (0, _SOI, _EOI):
                raise CorruptImageError(f"the JPEG is damaged: marker {marker:#04x} in its header")
            if marker in _FRAMES:
                if frame:
                    raise CorruptImageError("the JPEG is damaged: it has two frames")
                frame = marker
                height = encoded[start + 1] << 8 | encoded[start + 2]
                width = encoded[start + 3] << 8 | encoded[start + 4]
                components = encoded[start + 5]
                check_size(height, width, limits)
                _check_frame(encoded[start], components, position - start)
            elif marker == _SOS:
                if not frame:
                    raise CorruptImageError("the JPEG is damaged: its pixels come before its size")
                if frame == _PROGRESSIVE or encoded[start] < components:
                    _check_scans(encoded, position)
                return JpegHeader("JPEG", height, width, read_orientation(exif), components)
            elif marker == _APP1 and not exif and encoded.startswith(EXIF_PREFIX, start):
                exif = encoded[start:position]
            elif marker in _OTHER_FRAMES:
                raise UnsupportedImageFormatError(
                    f"the JPEG is {_OTHER_FRAMES[marker]}; save it as a baseline JPEG"
                )
    except IndexError:
        raise CorruptImageError(
            "the JPEG is truncated: it ends in its header; send the whole file"
        ) from None
    raise CorruptImageError(f"the JPEG has more than {MAX_SEGMENTS} segments before its pixels")


def _check_frame(precision: int, components: int, length: int) -> None:
    if precision != 8:
        raise UnsupportedImageFormatError(
            f"the JPEG has {precision} bits per component; save it with 8 bits"
        )
    if components not in (1, 3, _CMYK_COMPONENTS):
        raise UnsupportedImageFormatError(
            f"the JPEG has {components} components; save it in grey, colour or CMYK"
        )
    if length != 6 + 3 * components:
        raise CorruptImageError("the JPEG is damaged: the length of its frame header is wrong")


def _check_scans(encoded: bytes, position: int) -> None:
    """Count the scans after the first one, whose coded data starts at the position."""
    scans = 1
    segments = 0
    while scans <= MAX_SCANS and segments <= MAX_SEGMENTS:
        found = _END_OF_SCAN.search(encoded, position)
        if found is None:
            raise CorruptImageError(
                "the JPEG is truncated: it has no end marker; send the whole file"
            )
        marker = encoded[found.start() + 1]
        if marker == _EOI:
            return
        length = encoded[found.end() : found.end() + 2]
        if len(length) < 2:
            raise CorruptImageError(
                "the JPEG is truncated: it ends between its scans; send the whole file"
            )
        position = found.end() + (length[0] << 8 | length[1])
        scans += marker == _SOS
        segments += 1
    raise ImageTooLargeError(
        f"the JPEG has more than {MAX_SCANS} scans; save it as a baseline JPEG"
    )


def decode_jpeg(encoded: bytes, header: JpegHeader, channels: int, denominator: int) -> Pixels:
    """Decode to `[ceil(H / denominator), ceil(W / denominator), C]`, not yet turned upright.

    Args:
        encoded: The file that the header was read from.
        header: Its header.
        channels: 3 for RGB, 1 for grey (the luma of the file itself).
        denominator: 1, 2, 4 or 8; above 1 only when a side has at least 8 pixels, because the
            decoder is told a size, and a smaller image has the same size at several scales.

    Raises:
        CorruptImageError: The decoder found an error, or anything it would have to make up.
    """
    height = -(-header.height // denominator)
    width = -(-header.width // denominator)
    cmyk = header.components == _CMYK_COMPONENTS
    colourspace = "CMYK" if cmyk else ("RGB" if channels == 3 else "GRAY")
    # The decoder takes the smallest scale that gives at least this size; 0 means the full size.
    least = (0, 0) if denominator == 1 else (height, width)
    try:
        # colorspace, fastdct, fastupsample, min_height, min_width, min_factor, buffer, strict
        pixels = simplejpeg.decode_jpeg(encoded, colourspace, False, False, *least, 1, None, True)
    except ValueError as error:
        raise CorruptImageError(f"the JPEG is damaged: {error}") from None
    if pixels.shape[:2] != (height, width):
        raise CorruptImageError(
            "the JPEG is damaged: its pixels do not have the size of its header"
        )
    if cmyk:
        return _from_inverted_cmyk(pixels, channels)
    return cast("UInt8Array", pixels)


def _from_inverted_cmyk(pixels: UInt8Array, channels: int) -> Image.Image:
    """Convert as Pillow does: inks are stored inverted (Adobe's convention), no profile."""
    height, width = pixels.shape[:2]
    image = Image.frombuffer("CMYK", (width, height), pixels, "raw", "CMYK;I", 0, 1).convert("RGB")
    return image if channels == 3 else image.convert("L")
