"""The orientation tag of Exif: which way up a camera was held.

Exif is a TIFF structure: byte order, a magic 42, the offset of the first directory, and entries of
12 bytes each (tag, type, count, value). Only the tag Orientation (0x0112) of the first directory is
read, as CIPA DC-008 (Exif 2.32), section 4.6.4, defines it; what is malformed counts as upright.
"""

from __future__ import annotations

import struct

from PIL import Image

UPRIGHT = 1
"""The orientation of an image that needs no turning."""

TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns the stored pixels upright. Pillow counts its rotations counter-clockwise."""

EXIF_PREFIX = b"Exif\0\0"
"""What an APP1 segment of a JPEG begins with when it holds Exif."""

_ORIENTATION = 0x0112
_SHORT, _LONG = 3, 4
_MAX_ENTRIES = 1000


def read_orientation(exif: bytes) -> int:
    """Orientation, 1 to 8, of an Exif block with or without its prefix; 1 when there is none."""
    tiff = exif.removeprefix(EXIF_PREFIX)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return UPRIGHT
    try:
        (directory,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, directory)
        for entry in range(directory + 2, directory + 2 + 12 * min(count, _MAX_ENTRIES), 12):
            tag, kind = struct.unpack_from(order + "HH", tiff, entry)
            if tag == _ORIENTATION and kind in (_SHORT, _LONG):
                (value,) = struct.unpack_from(
                    order + ("H" if kind == _SHORT else "I"), tiff, entry + 8
                )
                return value if value in TRANSPOSITIONS else UPRIGHT
    except struct.error:
        return UPRIGHT
    return UPRIGHT


def swaps_sides(orientation: int) -> bool:
    """Whether turning upright exchanges height and width."""
    return orientation >= 5
