"""PNG: the header and the chunks by our own walk, the pixels by Pillow.

Only size and image data reach Pillow; palette and transparency are applied here. Text, colour
profile, animation and every other chunk is left behind, so that none is inflated and none changes
a pixel. An animated PNG gives its default image. The walk follows the PNG specification, third
edition (W3C), section 5.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image, PngImagePlugin

from heliograph.errors import CorruptImageError, UnsupportedImageFormatError
from heliograph.preprocessing.exif import read_orientation
from heliograph.preprocessing.formats import PNG_SIGNATURE
from heliograph.preprocessing.header import ImageHeader
from heliograph.preprocessing.limits import ImageLimits, check_size
from heliograph.preprocessing.pixels import Pixels, to_channels

MAX_CHUNKS = 20_000
"""Chunks of a file. An encoder that writes one chunk per row stays below it at the largest side."""

_GREY, _COLOUR, _INDEXED, _GREY_ALPHA, _COLOUR_ALPHA = 0, 2, 3, 4, 6
_DEPTHS = {
    _GREY: (1, 2, 4, 8, 16),
    _COLOUR: (8, 16),
    _INDEXED: (1, 2, 4, 8),
    _GREY_ALPHA: (8, 16),
    _COLOUR_ALPHA: (8, 16),
}
_CHUNK = struct.Struct(">I4s")
_CRC = struct.Struct(">I")
_IHDR_START = b"\0\0\0\x0dIHDR"
_IHDR_END = 33
_ANCILLARY = 0x20
_PALETTE_SIZE = 256
_IEND = b"\0\0\0\0IEND\xaeB`\x82"


@dataclass(frozen=True, slots=True)
class PngHeader(ImageHeader):
    """The header of a PNG file whose chunks are complete and undamaged."""

    colour_type: int
    """0 grey, 2 colour, 3 indexed, 4 grey with alpha, 6 colour with alpha."""
    bit_depth: int
    """Bits per sample, or per palette index: 1, 2, 4, 8 or 16."""
    palette: bytes
    """Content of the PLTE chunk, empty when there is none."""
    transparency: bytes
    """Content of the tRNS chunk, empty when there is none."""
    data: slice
    """Where the consecutive IDAT chunks are in the file."""


def read_png_header(encoded: bytes, limits: ImageLimits) -> PngHeader:
    """Read a file that starts with the PNG signature: its size first, then all its chunks.

    Raises:
        ImageTooLargeError: The size exceeds the limits; nothing else has been looked at then.
        CorruptImageError: A chunk is damaged, missing, repeated or out of place, or the file is
            truncated.
        UnsupportedImageFormatError: It has critical chunks that the specification does not know.
    """
    if len(encoded) >= 24:
        if encoded[8:16] != _IHDR_START:
            raise CorruptImageError(
                f"the PNG is damaged: it begins with {encoded[12:16]!r} and not with its size"
            )
        width, height = struct.unpack_from(">II", encoded, 16)
        check_size(height, width, limits)
    if len(encoded) < _IHDR_END:
        raise _truncated("in its header")
    bit_depth, colour_type, compression, filtering, interlace = encoded[24:29]
    if bit_depth not in _DEPTHS.get(colour_type, ()) or compression or filtering or interlace > 1:
        raise CorruptImageError("the PNG is damaged: its header describes no kind of PNG there is")
    chunks = _read_chunks(encoded)
    _check_palette(colour_type, chunks)
    return PngHeader(
        "PNG",
        height,
        width,
        read_orientation(chunks.exif),
        colour_type,
        bit_depth,
        chunks.palette,
        chunks.transparency,
        chunks.data,
    )


@dataclass(frozen=True, slots=True)
class _Chunks:
    palette: bytes
    transparency: bytes
    exif: bytes
    data: slice


def _read_chunks(encoded: bytes) -> _Chunks:
    """Walk over all chunks, check their checksums and their order, and keep what is needed."""
    kept = {b"PLTE": b"", b"tRNS": b"", b"eXIf": b""}
    data_start = data_end = 0
    view = memoryview(encoded)
    position = len(PNG_SIGNATURE)
    for _ in range(MAX_CHUNKS):
        if position + 12 > len(encoded):
            raise _truncated("between its chunks")
        length, kind = _CHUNK.unpack_from(encoded, position)
        end = position + 12 + length
        if not kind.isalpha():
            raise CorruptImageError(f"the PNG is damaged: no chunk at byte {position}")
        if end > len(encoded):
            raise _truncated(f"in a chunk {kind.decode()}")
        if zlib.crc32(view[position + 4 : end - 4]) != _CRC.unpack_from(encoded, end - 4)[0]:
            raise CorruptImageError(
                f"the PNG is damaged: wrong checksum of a chunk {kind.decode()}"
            )
        if kind == b"IDAT":
            if data_start and position != data_end:
                raise CorruptImageError("the PNG is damaged: its image data is not in one piece")
            data_start = data_start or position
            data_end = end
        elif kind == b"IEND":
            if not data_start:
                raise CorruptImageError("the PNG is damaged: it has no image data")
            return _Chunks(kept[b"PLTE"], kept[b"tRNS"], kept[b"eXIf"], slice(data_start, data_end))
        elif kind in kept:
            misplaced = data_start and kind != b"eXIf"
            if kept[kind] or misplaced:
                place = "out of place" if misplaced else "repeated"
                raise CorruptImageError(f"the PNG is damaged: its chunk {kind.decode()} is {place}")
            kept[kind] = encoded[position + 8 : end - 4]
        elif kind == b"IHDR":
            if position != len(PNG_SIGNATURE):
                raise CorruptImageError("the PNG is damaged: it states its size twice")
        elif not kind[0] & _ANCILLARY:
            raise UnsupportedImageFormatError(
                f"the PNG has an unknown critical chunk {kind.decode()}; save it as a plain PNG"
            )
        position = end
    raise CorruptImageError(f"the PNG has more than {MAX_CHUNKS} chunks; save it as a plain PNG")


def _truncated(place: str) -> CorruptImageError:
    return CorruptImageError(f"the PNG is truncated: it ends {place}; send the whole file")


def _check_palette(colour_type: int, chunks: _Chunks) -> None:
    entries, rest = divmod(len(chunks.palette), 3)
    if colour_type == _INDEXED:
        if rest or not 1 <= entries <= _PALETTE_SIZE:
            raise CorruptImageError("the PNG is damaged: its palette is missing or incomplete")
        if len(chunks.transparency) > entries:
            raise CorruptImageError("the PNG is damaged: it has more alpha values than colours")
    elif chunks.transparency:
        expected = {_GREY: 2, _COLOUR: 6}.get(colour_type)
        if expected is not None and len(chunks.transparency) != expected:
            raise CorruptImageError("the PNG is damaged: its transparent colour is incomplete")


def decode_png(encoded: bytes, header: PngHeader, channels: int) -> Pixels:
    """Decode to `[H, W, C]`, not yet turned upright, with what is transparent laid on white.

    Args:
        encoded: The file that the header was read from.
        header: Its header.
        channels: 3 for RGB, 1 for grey.

    Raises:
        CorruptImageError: The image data cannot be inflated, or is too short for the size.
    """
    stripped = b"".join((encoded[:_IHDR_END], encoded[header.data], _IEND))
    try:
        image: Image.Image = PngImagePlugin.PngImageFile(io.BytesIO(stripped))
        image.load()
    except (OSError, SyntaxError, ValueError, zlib.error) as error:
        raise CorruptImageError(f"the PNG is damaged: {error}") from None
    pixels: Pixels
    if header.colour_type == _GREY:
        pixels = _from_grey(image, header)
    elif header.colour_type == _COLOUR:
        pixels = _from_colour(image, header)
    elif header.colour_type == _INDEXED:
        pixels = _from_indexed(image, header)
    else:
        pixels = _on_white(image)
    return to_channels(pixels, channels)


def _on_white(image: Image.Image) -> Image.Image:
    """Lay colour C with alpha A on white: (C A + 255 (255 - A)) / 255, to the nearest integer."""
    mode = "L" if image.mode == "LA" else "RGB"
    white = Image.new(mode, image.size, "white")
    white.paste(image, (0, 0), image)
    return white


def _from_grey(image: Image.Image, header: PngHeader) -> Pixels:
    """Grey of 1 to 16 bits; where it equals the transparent grey it is white."""
    largest = 2**header.bit_depth - 1
    transparent = int.from_bytes(header.transparency) & largest
    if header.bit_depth == 16:
        samples = np.asarray(image)
        grey = (samples >> 8).astype(np.uint8)
        if header.transparency:
            grey[samples == transparent] = 255
        return grey[:, :, np.newaxis]
    # Pillow spreads 1, 2 and 4 bits over 0 to 255, but not the transparent value.
    image = image.convert("L")
    if not header.transparency:
        return image
    image.info["transparency"] = transparent * 255 // largest
    return _on_white(image.convert("LA"))


def _from_colour(image: Image.Image, header: PngHeader) -> Image.Image:
    """RGB; where it equals the transparent colour it is white.

    Of 16 bits only the high bytes are compared, since Pillow gives no more.
    """
    if not header.transparency:
        return image
    # Three samples of two bytes each; of 8 bits the high bytes say nothing.
    significant = slice(0, None, 2) if header.bit_depth == 16 else slice(1, None, 2)
    image.info["transparency"] = tuple(header.transparency[significant])
    return _on_white(image.convert("RGBA"))


def _from_indexed(image: Image.Image, header: PngHeader) -> Image.Image:
    """Colours of the palette, each laid on white; an index beyond the palette is black."""
    entries = len(header.palette) // 3
    alpha = header.transparency.ljust(entries, b"\xff")
    colours = Image.frombytes("RGB", (entries, 1), header.palette)
    colours.putalpha(Image.frombytes("L", (entries, 1), alpha))
    image.putpalette(_on_white(colours).tobytes().ljust(3 * _PALETTE_SIZE, b"\0"))
    return image.convert("RGB")
