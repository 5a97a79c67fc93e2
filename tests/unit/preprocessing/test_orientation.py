"""Every image comes out upright, however the camera was held."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from heliograph.preprocessing import parse_recipe, read_header
from heliograph.preprocessing.exif import read_orientation

UInt8 = NDArray[np.uint8]
NAMES = [f"orientation_{number}.jpg" for number in range(1, 9)] + [
    "orientation_6_before.png",
    "orientation_6_after.png",
]


def exif(order: str = ">", tag: int = 0x0112, kind: int = 3, value: int = 6) -> bytes:
    """A TIFF structure with one entry."""
    magic = b"MM\0*" if order == ">" else b"II*\0"
    number = struct.pack(
        order + ("HH" if kind == 3 else "I"), *((value, 0) if kind == 3 else (value,))
    )
    return magic + struct.pack(order + "IHHHI", 8, 1, tag, kind, 1) + number


@pytest.mark.parametrize("name", NAMES)
def test_the_quarters_are_where_they_belong(name: str, images: Path) -> None:
    encoded = (images / name).read_bytes()
    header = read_header(encoded)
    assert (header.upright_height, header.upright_width) == (24, 40)
    upright = parse_recipe("decode(rgb) | resize(24, 40)").prepare(encoded)
    assert isinstance(upright, np.ndarray)
    centres = upright[[6, 6, 18, 18], [10, 30, 10, 30]].astype(int)
    expected = [(220, 30, 30), (30, 200, 40), (40, 50, 230), (240, 240, 240)]
    assert np.abs(centres - expected).max() <= 4


def test_the_size_that_counts_is_the_upright_one(images: Path) -> None:
    encoded = (images / "photo_portrait.jpg").read_bytes()
    header = read_header(encoded)
    assert (header.height, header.width, header.orientation) == (1351, 1801, 6)
    assert (header.upright_height, header.upright_width) == (1801, 1351)
    prepared = parse_recipe("decode(rgb) | center_crop(1801, 1351)").prepare(encoded)
    assert isinstance(prepared, np.ndarray)
    assert prepared.shape == (1801, 1351, 3)


def test_a_turned_photo_is_decoded_at_the_fraction_of_its_upright_size(images: Path) -> None:
    encoded = (images / "photo_portrait.jpg").read_bytes()
    recipe = parse_recipe("decode(rgb) | resize(450, 337)")
    prepared = recipe.prepare(encoded)
    whole = parse_recipe("decode(rgb) | center_crop(1801, 1351)").prepare(encoded)
    assert isinstance(prepared, np.ndarray)
    assert isinstance(whole, np.ndarray)
    resized = recipe.prepare_pixels(whole)
    assert np.abs(prepared.astype(int) - resized).mean() < 1


@pytest.mark.parametrize("order", [">", "<"])
@pytest.mark.parametrize("kind", [3, 4])
@pytest.mark.parametrize("value", range(1, 9))
def test_both_byte_orders_and_both_integer_types_are_read(
    order: str, kind: int, value: int
) -> None:
    block = exif(order, kind=kind, value=value)
    assert read_orientation(block) == value
    assert read_orientation(b"Exif\0\0" + block) == value


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"Exif\0\0",
        b"Exif\0\0MM",
        exif(value=0),
        exif(value=9),
        exif(value=65535),
        exif(tag=0x0113),
        exif(kind=2),
        exif()[:-5],
        exif()[:9],
        b"MM\0*" + b"\xff" * 40,
        b"MM\0*" + struct.pack(">IH", 8, 65535),
        b"XX\0*" + exif()[4:],
    ],
)
def test_what_is_malformed_counts_as_upright(block: bytes) -> None:
    assert read_orientation(block) == 1


def test_the_first_exif_segment_counts(
    build_jpeg: Callable[..., bytes], gradient: Callable[..., UInt8]
) -> None:
    plain = build_jpeg(gradient(20, 30))

    def app1(content: bytes) -> bytes:
        return b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content

    xmp = app1(b"http://ns.adobe.com/xap/1.0/\0<x/>")
    first, second = app1(b"Exif\0\0" + exif(value=3)), app1(b"Exif\0\0" + exif(value=6))
    assert read_header(plain[:2] + xmp + first + second + plain[2:]).orientation == 3
    assert read_header(plain[:2] + second + plain[2:]).orientation == 6
    assert read_header(plain[:2] + xmp + plain[2:]).orientation == 1
