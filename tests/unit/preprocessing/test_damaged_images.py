"""However an image is damaged, it is decoded to the right shape or refused as an invalid image."""

from __future__ import annotations

import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from heliograph.errors import InvalidImageError
from heliograph.preprocessing import parse_recipe

RECIPES = [
    parse_recipe("decode(rgb) | resize(8, 8)"),
    parse_recipe("decode(grey) | resize_shorter(8) | center_crop(8)"),
    parse_recipe("bytes"),
]
IMAGES = Path(__file__).parents[2] / "data" / "images"
SMALL = sorted(
    path
    for kind in ("*.jpg", "*.png")
    for path in IMAGES.glob(kind)
    if path.stat().st_size < 10_000
)


def prepare(encoded: bytes) -> bool:
    """Whether any recipe accepts the image; anything but a refusal or the right shape fails."""
    accepted = False
    for recipe in RECIPES:
        try:
            prepared = recipe.prepare(encoded)
        except InvalidImageError:
            continue
        accepted = True
        if isinstance(prepared, np.ndarray):
            assert prepared.shape == recipe.output.shape
        else:
            assert prepared == encoded
    return accepted


def mend_checksums(png: bytearray) -> bytes:
    """The file with right checksums again, so that the damage reaches the decoder."""
    position = 8
    while position + 12 <= len(png):
        (length,) = struct.unpack_from(">I", png, position)
        end = position + 12 + length
        if end > len(png):
            break
        struct.pack_into(">I", png, end - 4, zlib.crc32(png[position + 4 : end - 4]))
        position = end
    return bytes(png)


@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.name)
def test_flipped_bits(path: Path) -> None:
    encoded = path.read_bytes()
    assert prepare(encoded)
    chance = random.Random(path.name)
    for _ in range(20):
        damaged = bytearray(encoded)
        for _ in range(chance.choice((1, 1, 2, 8))):
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        prepare(bytes(damaged))
        if path.suffix == ".png":
            prepare(mend_checksums(damaged))


@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.name)
def test_bytes_lost_added_and_exchanged(path: Path) -> None:
    encoded = path.read_bytes()
    chance = random.Random(path.name)
    for _ in range(10):
        start = chance.randrange(len(encoded))
        end = min(len(encoded), start + chance.choice((1, 2, 4, 50)))
        other = chance.randrange(len(encoded))
        for damaged in (
            encoded[:start] + encoded[end:],
            encoded[:start] + encoded[other : other + 50] + encoded[start:],
            encoded[:start] + chance.randbytes(end - start) + encoded[end:],
            encoded[:start] + encoded[:start][::-1],
        ):
            prepare(damaged)
            if path.suffix == ".png":
                prepare(mend_checksums(bytearray(damaged)))


def test_a_flipped_bit_of_a_png_never_passes(images: Path) -> None:
    encoded = (images / "rgb_8bit.png").read_bytes()
    for position in range(len(encoded)):
        for bit in range(8):
            damaged = bytearray(encoded)
            damaged[position] ^= 1 << bit
            assert not prepare(bytes(damaged))
