"""A whole recipe on a whole image: what comes out, and how it is told apart."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from heliograph.preprocessing import (
    RECIPE_VERSION,
    ImageLimits,
    decoder_build,
    parse_recipe,
    pixels_sha256,
    read_header,
)


@pytest.mark.parametrize(
    "text",
    [
        "decode(rgb) | resize(32, 48)",
        "decode(grey) | resize(32, 48)",
        "decode(rgb) | resize_shorter(64) | center_crop(56)",
        "decode(grey) | resize_longer(64) | pad(64, 64)",
        "decode(rgb) | center_crop(20, 10) | bgr",
        "decode(rgb) | resize(32, 48) | scale(0.00392156862745098)",
        "decode(rgb) | center_crop(20) | bgr | normalize(103.9, 116.8, 123.7, 1, 1, 1)",
    ],
)
@pytest.mark.parametrize("name", ["photo_grey.jpg", "photo_portrait.jpg", "photo_cmyk.jpg"])
def test_the_result_is_what_the_recipe_promises(text: str, name: str, images: Path) -> None:
    recipe = parse_recipe(text)
    prepared = recipe.prepare((images / name).read_bytes())
    assert isinstance(prepared, np.ndarray)
    assert prepared.shape == recipe.output.shape
    assert prepared.dtype == recipe.output.dtype
    assert prepared.flags.c_contiguous


def test_pixels_that_are_decoded_already_give_the_same(images: Path) -> None:
    encoded = (images / "photo_rgb.jpg").read_bytes()
    header = read_header(encoded)
    whole = parse_recipe(f"decode(rgb) | center_crop({header.height}, {header.width})")
    pixels = whole.prepare(encoded)
    assert isinstance(pixels, np.ndarray)
    for text in (
        "decode(rgb) | resize_shorter(64) | center_crop(56) | bgr | scale(0.5, -1)",
        "decode(rgb) | resize_longer(64) | pad(64, 64)",
        "decode(grey) | center_crop(56)",
    ):
        recipe = parse_recipe(text)
        assert np.array_equal(recipe.prepare(encoded), recipe.prepare_pixels(pixels))


def test_bytes_are_passed_on_untouched(images: Path) -> None:
    recipe = parse_recipe("bytes")
    for name in ("photo_progressive.jpg", "metadata.png"):
        encoded = (images / name).read_bytes()
        assert recipe.prepare(encoded) is encoded


def test_reducing_while_decoding_changes_little(images: Path) -> None:
    encoded = (images / "photo_444.jpg").read_bytes()
    whole = parse_recipe("decode(rgb) | center_crop(1200, 1600)").prepare(encoded)
    assert isinstance(whole, np.ndarray)
    for side in (32, 100, 224):
        recipe = parse_recipe(f"decode(rgb) | resize({side}, {side})")
        reduced, resized = recipe.prepare(encoded), recipe.prepare_pixels(whole)
        assert isinstance(reduced, np.ndarray)
        assert np.abs(reduced.astype(int) - resized).mean() < 1


def test_the_header_is_what_the_file_says(images: Path) -> None:
    header = read_header((images / "photo_420.jpg").read_bytes())
    assert (header.format, header.height, header.width) == ("JPEG", 1200, 1600)
    assert header.orientation == 1
    header = read_header((images / "palette_2bit.png").read_bytes(), ImageLimits())
    assert (header.format, header.height, header.width) == ("PNG", 13, 19)


def test_the_hash_covers_the_values_in_order() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    expected = hashlib.sha256(bytes(range(12))).hexdigest()
    assert pixels_sha256(pixels) == expected
    assert pixels_sha256(np.asfortranarray(pixels)) == expected
    assert pixels_sha256(bytes(range(12))) == expected


def test_the_hash_does_not_depend_on_the_byte_order_of_the_machine() -> None:
    values = np.linspace(-1, 1, 12, dtype="<f4").reshape(2, 2, 3)
    assert pixels_sha256(values) == hashlib.sha256(values.tobytes()).hexdigest()
    assert pixels_sha256(values.astype(">f4")) == pixels_sha256(values)


def test_the_decoder_names_itself() -> None:
    assert decoder_build() == f"simplejpeg {version('simplejpeg')}, pillow {version('pillow')}"


def test_the_rules_are_version_1() -> None:
    assert RECIPE_VERSION == 1
