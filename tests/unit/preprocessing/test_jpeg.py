"""JPEG files of every kind give the pixels that Pillow gives, at every fraction."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from heliograph.errors import (
    CorruptImageError,
    ImageTooLargeError,
    UnsupportedImageFormatError,
)
from heliograph.preprocessing import parse_recipe, read_header
from heliograph.preprocessing.decoding import decode
from heliograph.preprocessing.jpeg import MAX_SCANS, MAX_SEGMENTS
from heliograph.preprocessing.pixels import as_array

UInt8 = NDArray[np.uint8]
Pillow = Callable[..., UInt8]
BuildJpeg = Callable[..., bytes]
Gradient = Callable[..., UInt8]

COLOUR = ("photo_420.jpg", "photo_444.jpg", "photo_progressive.jpg", "photo_rgb.jpg")


def segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content


def segments(encoded: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """The segments up to the first scan, and the coded data after it."""
    found = []
    position = 2
    while True:
        marker = encoded[position + 1]
        (length,) = struct.unpack_from(">H", encoded, position + 2)
        found.append((marker, encoded[position + 4 : position + 2 + length]))
        position += 2 + length
        if marker == 0xDA:
            return found, encoded[position:-2]


def in_scans(grey: bytes, scans: int) -> bytes:
    """A grey JPEG as one of three components, each in scans of its own, again and again."""
    parts, data = segments(grey)
    encoded = b"\xff\xd8"
    for marker, content in parts[:-1]:
        if marker == 0xC0:
            components = b"".join(bytes((number, 0x11, 0)) for number in (1, 2, 3))
            encoded += segment(marker, content[:5] + b"\3" + components)
        else:
            encoded += segment(marker, content)
    for scan in range(scans):
        encoded += segment(0xDA, bytes((1, 1 + scan % 3, 0, 0, 63, 0))) + data
    return encoded + b"\xff\xd9"


@pytest.mark.parametrize("denominator", [1, 2, 4, 8])
@pytest.mark.parametrize("name", COLOUR)
def test_colour_is_what_pillow_decodes(
    name: str, denominator: int, images: Path, pillow_jpeg: Pillow
) -> None:
    encoded = (images / name).read_bytes()
    pixels = as_array(decode(encoded, read_header(encoded), 3, denominator))
    assert np.array_equal(pixels, pillow_jpeg(encoded, denominator))


@pytest.mark.parametrize("denominator", [1, 2, 4, 8])
def test_a_grey_file_is_grey_in_every_channel(
    denominator: int, images: Path, pillow_jpeg: Pillow
) -> None:
    encoded = (images / "photo_grey.jpg").read_bytes()
    expected = pillow_jpeg(encoded, denominator)[:, :, np.newaxis]
    header = read_header(encoded)
    assert np.array_equal(as_array(decode(encoded, header, 1, denominator)), expected)
    colour = as_array(decode(encoded, header, 3, denominator))
    assert np.array_equal(colour, np.repeat(expected, 3, axis=2))


@pytest.mark.parametrize("name", ["photo_420.jpg", "photo_progressive.jpg"])
def test_grey_of_a_colour_file_is_its_own_luma(name: str, images: Path) -> None:
    path = images / name
    with Image.open(path) as image:
        image.draft("L", None)
        expected = np.asarray(image)[:, :, np.newaxis]
    encoded = path.read_bytes()
    assert np.array_equal(as_array(decode(encoded, read_header(encoded), 1)), expected)


def test_grey_of_an_rgb_file_is_computed(images: Path) -> None:
    encoded = (images / "photo_rgb.jpg").read_bytes()
    header = read_header(encoded)
    colour = as_array(decode(encoded, header, 3))
    expected = np.asarray(Image.fromarray(colour).convert("L"))[:, :, np.newaxis]
    assert np.array_equal(as_array(decode(encoded, header, 1)), expected)


@pytest.mark.parametrize("denominator", [1, 2, 4, 8])
@pytest.mark.parametrize("name", ["photo_cmyk.jpg", "photo_ycck.jpg"])
def test_inks_become_colour_as_in_pillow(
    name: str, denominator: int, images: Path, pillow_jpeg: Pillow
) -> None:
    encoded = (images / name).read_bytes()
    header = read_header(encoded)
    stored = pillow_jpeg(encoded, denominator)
    inks = Image.frombytes("CMYK", (stored.shape[1], stored.shape[0]), stored.tobytes())
    colour = as_array(decode(encoded, header, 3, denominator))
    assert np.array_equal(colour, np.asarray(inks.convert("RGB")))
    grey = as_array(decode(encoded, header, 1, denominator))
    assert np.array_equal(grey[:, :, 0], np.asarray(inks.convert("RGB").convert("L")))


def test_inks_are_close_to_the_colours_they_print(images: Path) -> None:
    for name in ("photo_cmyk.jpg", "photo_ycck.jpg"):
        whole = parse_recipe("decode(rgb) | resize(90, 121)")
        printed = whole.prepare((images / name).read_bytes())
        shown = whole.prepare((images / "photo_rgb.jpg").read_bytes())
        assert isinstance(printed, np.ndarray)
        assert isinstance(shown, np.ndarray)
        assert np.abs(printed.astype(int) - shown).mean() < 5


@pytest.mark.parametrize(
    "options",
    [
        {"subsampling": "4:2:2"},
        {"restart_marker_blocks": 1},
        {"progressive": True, "quality": 5},
        {"quality": 100, "optimize": True},
    ],
)
def test_whatever_an_encoder_does(
    options: dict[str, Any], build_jpeg: BuildJpeg, gradient: Gradient, pillow_jpeg: Pillow
) -> None:
    encoded = build_jpeg(gradient(37, 51), **options)
    header = read_header(encoded)
    for denominator in (1, 2, 4, 8):
        pixels = as_array(decode(encoded, header, 3, denominator))
        assert np.array_equal(pixels, pillow_jpeg(encoded, denominator))


@pytest.mark.parametrize("subsampling", ["440", "411"])
def test_whatever_way_colour_is_subsampled(
    subsampling: str, gradient: Gradient, pillow_jpeg: Pillow
) -> None:
    encoded = simplejpeg.encode_jpeg(gradient(37, 51), 90, "RGB", subsampling)
    header = read_header(encoded)
    for denominator in (1, 2, 4, 8):
        pixels = as_array(decode(encoded, header, 3, denominator))
        assert np.array_equal(pixels, pillow_jpeg(encoded, denominator))


def test_one_scan_per_component_is_fine(
    build_jpeg: BuildJpeg, gradient: Gradient, pillow_jpeg: Pillow
) -> None:
    encoded = in_scans(build_jpeg(gradient(20, 30, 1)), 3)
    pixels = as_array(decode(encoded, read_header(encoded), 3))
    assert np.array_equal(pixels, pillow_jpeg(encoded))


def test_too_many_scans_are_refused_before_decoding(
    build_jpeg: BuildJpeg, gradient: Gradient
) -> None:
    grey = build_jpeg(gradient(20, 30, 1))
    assert read_header(in_scans(grey, MAX_SCANS)).width == 30
    with pytest.raises(ImageTooLargeError, match=f"more than {MAX_SCANS} scans"):
        read_header(in_scans(grey, MAX_SCANS + 1))


def test_scans_cannot_hide_behind_an_end_marker_in_a_comment(
    build_jpeg: BuildJpeg, gradient: Gradient
) -> None:
    encoded = in_scans(build_jpeg(gradient(20, 30, 1)), 2 * MAX_SCANS)
    first = encoded.index(b"\xff\xda")
    second = encoded.index(b"\xff\xda", first + 2)
    hidden = encoded[:second] + segment(0xFE, b"\xff\xd9") + encoded[second:]
    with pytest.raises(ImageTooLargeError, match="scans"):
        read_header(hidden)


def test_scans_of_a_second_image_do_not_count(build_jpeg: BuildJpeg, gradient: Gradient) -> None:
    encoded = build_jpeg(gradient(20, 30), progressive=True)
    recipe = parse_recipe("decode(rgb) | resize(8, 8)")
    alone, followed = recipe.prepare(encoded), recipe.prepare(encoded * (MAX_SCANS + 1))
    assert np.array_equal(alone, followed)


def test_padding_and_parameterless_markers_are_skipped(
    build_jpeg: BuildJpeg, gradient: Gradient, pillow_jpeg: Pillow
) -> None:
    encoded = build_jpeg(gradient(20, 30))
    padded = encoded[:2] + b"\xff\xff\xff" + encoded[2:]
    assert read_header(padded).height == 20
    assert np.array_equal(as_array(decode(padded, read_header(padded), 3)), pillow_jpeg(encoded))


@pytest.mark.parametrize("filler", [b"\xff", segment(0xFE, b"")])
def test_endless_segments_are_refused(
    filler: bytes, build_jpeg: BuildJpeg, gradient: Gradient
) -> None:
    encoded = build_jpeg(gradient(20, 30))
    with pytest.raises(CorruptImageError, match=f"more than {MAX_SEGMENTS} segments"):
        read_header(encoded[:2] + filler * MAX_SEGMENTS + encoded[2:])


@pytest.mark.parametrize(
    ("marker", "name"),
    [(0xC3, "lossless"), (0xC5, "hierarchical"), (0xC9, "arithmetic-coded"), (0xCA, "arithmetic")],
)
def test_kinds_that_browsers_do_not_show_are_named(
    marker: int, name: str, build_jpeg: BuildJpeg, gradient: Gradient
) -> None:
    encoded = build_jpeg(gradient(20, 30)).replace(b"\xff\xc0", bytes((0xFF, marker)), 1)
    with pytest.raises(UnsupportedImageFormatError, match=name):
        read_header(encoded)


def test_other_precisions_and_components_are_named(
    build_jpeg: BuildJpeg, gradient: Gradient
) -> None:
    encoded = build_jpeg(gradient(20, 30))
    frame = encoded.index(b"\xff\xc0") + 4
    twelve = encoded[:frame] + b"\x0c" + encoded[frame + 1 :]
    with pytest.raises(UnsupportedImageFormatError, match="12 bits per component"):
        read_header(twelve)
    two = encoded[: frame + 5] + b"\2" + encoded[frame + 6 :]
    with pytest.raises(UnsupportedImageFormatError, match="2 components"):
        read_header(two)


def test_what_cannot_be_a_jpeg_is_corrupt(build_jpeg: BuildJpeg, gradient: Gradient) -> None:
    encoded = build_jpeg(gradient(20, 30))
    parts, _ = segments(encoded)
    frame = next(segment(*part) for part in parts if part[0] == 0xC0)
    broken = {
        "two frames": encoded.replace(frame, frame + frame),
        "pixels come before its size": encoded.replace(frame, b""),
        "no marker at byte 2": encoded[:2] + b"\0" + encoded[2:],
        "marker 0xd9 in its header": b"\xff\xd8\xff\xd9\0\0" + encoded[2:],
        "marker 0xd8 in its header": b"\xff\xd8" + encoded,
        "length of its frame header": encoded.replace(
            frame, frame[:3] + b"\x14" + frame[4:] + b"\0\0\0"
        ),
        "30 x 0 pixels": encoded.replace(frame, frame[:5] + b"\0\0" + frame[7:]),
    }
    for complaint, content in broken.items():
        with pytest.raises(CorruptImageError, match=complaint):
            read_header(content)
