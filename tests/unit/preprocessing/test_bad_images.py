"""What is no image, too large or damaged is refused by name, and before it costs anything."""

from __future__ import annotations

import base64
import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from heliograph.errors import (
    ConfigurationError,
    CorruptImageError,
    ImageTooLargeError,
    InvalidImageError,
    UnsupportedImageFormatError,
)
from heliograph.preprocessing import ImageLimits, Recipe, parse_recipe, read_header

UInt8 = NDArray[np.uint8]
BestTime = Callable[[Callable[[], object]], float]

RECIPE = parse_recipe("decode(rgb) | resize(32, 32)")
PASSED_ON = parse_recipe("bytes")
AT_ONCE = 0.010
"""Seconds within which a bomb must be refused."""


def saved_as(name: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, name)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """50 MB of zeros, deflated."""
    return zlib.compress(bytes(50_000_000))


def jpeg_header(width: int, height: int) -> bytes:
    """A JPEG file up to its first scan."""
    frame = struct.pack(">HBHHB", 17, 8, height, width, 3) + bytes.fromhex("012200021101031101")
    return b"\xff\xd8\xff\xc0" + frame + b"\xff\xda\0\x0c\3\1\0\2\x11\3\x11\0\x3f\0"


@pytest.mark.parametrize(
    ("encoded", "name"),
    [
        (b"", "empty (0 bytes)"),
        (b"hello", "text"),
        ("Grüße, 世界".encode(), "text"),
        (("ü" * 1000).encode()[:-1], "text"),
        (b'{"image": 1}', "text"),
        (b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        (b"  <SVG></SVG>", "an SVG drawing"),
        (b"\xef\xbb\xbf<!DOCTYPE html><p>", "an HTML page"),
        (saved_as("GIF"), "a GIF image"),
        (saved_as("BMP"), "a BMP image"),
        (saved_as("TIFF"), "a TIFF image"),
        (b"MM\0*\0\0\0\x08", "a TIFF image"),
        (saved_as("WEBP"), "a WebP image"),
        (saved_as("AVIF"), "an AVIF image"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "a HEIF image"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "a video or MP4 file"),
        (b"8BPS\0\1", "a Photoshop image"),
        (saved_as("ICO"), "an icon"),
        (saved_as("JPEG2000"), "a JPEG 2000 image"),
        (b"\xff\x0a\0\0", "a JPEG XL image"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image"),
        (saved_as("PDF"), "a PDF document"),
        (b"PK\3\4", "a ZIP archive"),
        (b"\x1f\x8b\x08", "gzip data"),
        (b"\x93NUMPY\1\0", "a NumPy array file"),
        (base64.b64encode(saved_as("JPEG")), "a JPEG image in base64 text"),
        (base64.b64encode(saved_as("PNG")), "a PNG image in base64 text"),
        (b"data:image/png;base64,iVBORw0KGgo=", "an image in a data: URL"),
        (b"\x00\x01\x02\x03", "data of an unknown format"),
        (b"\x80\x81\x82\x83 not text", "data of an unknown format"),
        (b"\xff", "data of an unknown format"),
        (b"\x89PN", "data of an unknown format"),
    ],
)
@pytest.mark.parametrize("recipe", [RECIPE, PASSED_ON])
def test_what_is_no_jpeg_or_png_is_named(encoded: bytes, name: str, recipe: Recipe) -> None:
    with pytest.raises(UnsupportedImageFormatError) as caught:
        recipe.prepare(encoded)
    assert str(caught.value) == f"the image is {name}; send one of JPEG, PNG"


def test_a_format_can_be_left_out(images: Path) -> None:
    limits = ImageLimits(formats=("JPEG",))
    RECIPE.prepare((images / "photo_grey.jpg").read_bytes(), limits)
    with pytest.raises(
        UnsupportedImageFormatError, match="PNG images are not accepted here; send JPEG"
    ):
        RECIPE.prepare((images / "rgb_8bit.png").read_bytes(), limits)


@pytest.mark.parametrize(
    "options",
    [
        {"formats": ()},
        {"formats": ("JPEG", "GIF")},
        {"max_bytes": 0},
        {"max_pixels": 0},
        {"max_side": -1},
    ],
)
def test_limits_that_cannot_be_met_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        ImageLimits(**options)  # type: ignore[arg-type]  # values of any kind


def test_a_file_over_the_limit_is_refused(images: Path) -> None:
    encoded = (images / "photo_grey.jpg").read_bytes()
    RECIPE.prepare(encoded, ImageLimits(max_bytes=len(encoded)))
    with pytest.raises(ImageTooLargeError, match=f"{len(encoded)} bytes, the limit is"):
        RECIPE.prepare(encoded, ImageLimits(max_bytes=len(encoded) - 1))


@pytest.mark.parametrize("name", ["photo_grey.jpg", "one_pixel.png", "rgb_8bit.png"])
@pytest.mark.parametrize("recipe", [RECIPE, PASSED_ON])
def test_an_image_over_the_limit_is_refused(name: str, recipe: Recipe, images: Path) -> None:
    encoded = (images / name).read_bytes()
    header = read_header(encoded)
    pixels, side = header.width * header.height, max(header.width, header.height)
    read_header(encoded, ImageLimits(max_pixels=pixels, max_side=side))
    for limits in (
        ImageLimits(max_pixels=pixels - 1) if pixels > 1 else None,
        ImageLimits(max_side=side - 1) if side > 1 else None,
    ):
        if limits is not None:
            with pytest.raises(ImageTooLargeError, match=f"{header.width} x {header.height}"):
                recipe.prepare(encoded, limits)


@pytest.mark.parametrize(
    ("width", "height"),
    [(30_000, 30_000), (65_535, 65_535), (1, 65_535), (65_535, 1), (16_384, 16_384), (7072, 7072)],
)
def test_a_pixel_bomb_is_refused_at_once(
    width: int, height: int, build_png: Callable[..., bytes], best_time: BestTime
) -> None:
    png = build_png(width, height, data=zlib.compress(bytes(1_000_000)))
    for bomb in (png, png[:33], png[:24], jpeg_header(width, height)):
        for recipe in (RECIPE, PASSED_ON):
            with pytest.raises(ImageTooLargeError, match=f"{width} x {height} pixels"):
                recipe.prepare(bomb)

        def refuse(bomb: bytes = bomb) -> None:
            with pytest.raises(ImageTooLargeError):
                RECIPE.prepare(bomb)

        assert best_time(refuse) < AT_ONCE


@pytest.mark.parametrize("size", [(2**31, 1), (1, 2**32 - 1), (2**32 - 1, 2**32 - 1)])
def test_sizes_beyond_the_formats_are_refused(
    size: tuple[int, int], build_png: Callable[..., bytes]
) -> None:
    with pytest.raises(ImageTooLargeError):
        RECIPE.prepare(build_png(*size, data=b""))


@pytest.mark.parametrize("size", [(0, 1), (1, 0), (0, 0)])
def test_an_image_without_pixels_is_corrupt(
    size: tuple[int, int], build_png: Callable[..., bytes]
) -> None:
    for encoded in (build_png(*size, data=b""), jpeg_header(*size)):
        with pytest.raises(CorruptImageError, match="at least 1 x 1"):
            RECIPE.prepare(encoded)


@pytest.mark.parametrize(
    ("kind", "start"),
    [
        (b"zTXt", b"Comment\0\0"),
        (b"iTXt", b"Comment\0\1\0\0\0"),
        (b"iCCP", b"profile\0\0"),
    ],
)
def test_a_bomb_beside_the_pixels_is_never_inflated(
    kind: bytes,
    start: bytes,
    bomb: bytes,
    build_png: Callable[..., bytes],
    chunk: Callable[..., bytes],
    best_time: BestTime,
) -> None:
    encoded = build_png(before=[chunk(kind, start + bomb)], after=[chunk(kind, start + bomb)])
    assert best_time(lambda: RECIPE.prepare(encoded)) < AT_ONCE
    tracemalloc.start()
    RECIPE.prepare(encoded)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize(
    ("name", "stride"), [("orientation_6.jpg", 1), ("photo_cmyk.jpg", 11), ("photo_ycck.jpg", 11)]
)
def test_a_jpeg_cut_anywhere_is_refused(name: str, stride: int, images: Path) -> None:
    encoded = (images / name).read_bytes()
    for length in range(len(encoded) - 1, 1, -stride):
        with pytest.raises(CorruptImageError):
            RECIPE.prepare(encoded[:length])


@pytest.mark.parametrize("name", ["photo_420.jpg", "photo_progressive.jpg"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_truncated_photo_is_refused(name: str, share: float, images: Path) -> None:
    encoded = (images / name).read_bytes()
    with pytest.raises(CorruptImageError):
        RECIPE.prepare(encoded[: int(share * len(encoded))])


@pytest.mark.parametrize("name", ["rgb_8bit.png", "palette_transparent.png", "animated.png"])
def test_a_png_cut_anywhere_is_refused(name: str, images: Path) -> None:
    encoded = (images / name).read_bytes()
    for length in range(4, len(encoded)):
        for recipe in (RECIPE, PASSED_ON):
            with pytest.raises(CorruptImageError):
                recipe.prepare(encoded[:length])


def test_a_png_that_went_through_a_text_transfer_is_named(images: Path) -> None:
    encoded = (images / "rgb_8bit.png").read_bytes()
    with pytest.raises(CorruptImageError, match="transfer in text mode"):
        RECIPE.prepare(encoded.replace(b"\r\n", b"\n"))


def test_a_jpeg_is_read_as_the_jpeg_it_begins_with_whatever_follows(images: Path) -> None:
    encoded = (images / "photo_grey.jpg").read_bytes()
    alone = RECIPE.prepare(encoded)
    for other in (b"PK\3\4", saved_as("GIF"), saved_as("PNG"), b"<script>", bytes(1000)):
        assert np.array_equal(RECIPE.prepare(encoded + other), alone)


@pytest.mark.parametrize("disguise", ["GIF", "PDF", "BMP", "WEBP"])
def test_an_image_behind_another_format_is_refused(disguise: str, images: Path) -> None:
    encoded = saved_as(disguise) + (images / "photo_grey.jpg").read_bytes()
    with pytest.raises(UnsupportedImageFormatError):
        RECIPE.prepare(encoded)


@pytest.mark.parametrize("other", ["GIF", "PNG", "PDF"])
def test_a_signature_before_other_content_is_corrupt(other: str) -> None:
    for signature in (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"):
        with pytest.raises(CorruptImageError):
            RECIPE.prepare(signature + saved_as(other))


@pytest.mark.parametrize("name", ["one_pixel.jpg", "one_pixel.png"])
def test_one_pixel_fills_the_input(name: str, images: Path) -> None:
    prepared = RECIPE.prepare((images / name).read_bytes())
    assert isinstance(prepared, np.ndarray)
    assert prepared.shape == (32, 32, 3)
    assert np.abs(prepared.astype(int) - (200, 100, 50)).max() <= 2


def test_a_small_image_is_refused_by_a_crop_that_it_cannot_fill(images: Path) -> None:
    encoded = (images / "rgb_8bit.png").read_bytes()
    with pytest.raises(InvalidImageError, match=r"center_crop\(32, 32\) needs at least 32 x 32"):
        parse_recipe("decode(rgb) | center_crop(32)").prepare(encoded)


def test_every_message_is_one_line(images: Path) -> None:
    encoded = (images / "rgb_8bit.png").read_bytes()
    damaged = [encoded[:length] for length in range(len(encoded))]
    damaged += [encoded[:12] + b"\n\0\r\xff" + encoded[16:], encoded[:8] + b"\n" * 40]
    for content in damaged:
        with pytest.raises(InvalidImageError) as caught:
            RECIPE.prepare(content)
        assert str(caught.value).isprintable()
