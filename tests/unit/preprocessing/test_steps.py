"""What every step does to pixels, against plain NumPy or Pillow saying the same in other words."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image

from heliograph.errors import ImageTooLargeError, InvalidImageError, InvalidTensorError
from heliograph.preprocessing import parse_recipe
from heliograph.preprocessing.pixels import as_array, to_channels

UInt8 = NDArray[np.uint8]

IMAGES = st.tuples(st.integers(1, 40), st.integers(1, 40)).flatmap(
    lambda size: arrays(np.uint8, (*size, 3))
)
SIDES = st.integers(1, 50)


@given(IMAGES, SIDES, SIDES)
def test_resize_is_pillows_bilinear_filter(pixels: UInt8, height: int, width: int) -> None:
    prepared = parse_recipe(f"decode(rgb) | resize({height}, {width})").prepare_pixels(pixels)
    expected = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
    assert prepared.dtype == np.uint8
    assert np.array_equal(prepared, np.asarray(expected))


@given(IMAGES)
def test_resize_leaves_an_image_of_the_right_size_alone(pixels: UInt8) -> None:
    height, width = pixels.shape[:2]
    recipe = parse_recipe(f"decode(rgb) | resize({height}, {width})")
    assert np.array_equal(recipe.prepare_pixels(pixels), pixels)


@given(IMAGES, SIDES)
def test_resize_shorter_keeps_the_aspect(pixels: UInt8, side: int) -> None:
    height, width = pixels.shape[:2]
    recipe = parse_recipe(f"decode(rgb) | resize_shorter({side}) | center_crop({side})")
    prepared = recipe.prepare_pixels(pixels)
    longer = side * max(height, width) // min(height, width)
    size = (longer, side) if width > height else (side, longer)
    resized = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
    margin = (longer - side) // 2
    middle = slice(margin, margin + side)
    assert np.array_equal(prepared, resized[:, middle] if width > height else resized[middle])


@given(IMAGES, SIDES)
def test_resize_longer_and_pad_make_a_letterbox(pixels: UInt8, side: int) -> None:
    height, width = pixels.shape[:2]
    recipe = parse_recipe(f"decode(rgb) | resize_longer({side}) | pad({side}, {side}, 9)")
    prepared = recipe.prepare_pixels(pixels)
    longer = max(height, width)
    size = max(1, width * side // longer), max(1, height * side // longer)
    resized = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
    top, left = (side - size[1]) // 2, (side - size[0]) // 2
    inside = prepared[top : top + size[1], left : left + size[0]]
    assert np.array_equal(inside, resized)
    assert np.sum(prepared == 9) == prepared.size - inside.size + np.sum(inside == 9)


@given(IMAGES, SIDES, SIDES)
def test_center_crop_takes_the_middle(pixels: UInt8, height: int, width: int) -> None:
    recipe = parse_recipe(f"decode(rgb) | center_crop({height}, {width})")
    if height > pixels.shape[0] or width > pixels.shape[1]:
        with pytest.raises(InvalidImageError, match="send a larger image"):
            recipe.prepare_pixels(pixels)
        return
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    prepared = recipe.prepare_pixels(pixels)
    assert prepared.flags.c_contiguous
    assert np.array_equal(prepared, pixels[top : top + height, left : left + width])


@given(IMAGES, SIDES, SIDES, st.integers(0, 255))
def test_pad_puts_the_image_in_the_middle(
    pixels: UInt8, height: int, width: int, value: int
) -> None:
    least = max(50, *pixels.shape[:2])
    text = f"decode(rgb) | pad({height}, {width}, {value}) | pad({least}, {least}, {value})"
    prepared = parse_recipe(f"{text} | center_crop({least})").prepare_pixels(pixels)
    ground = np.ones(prepared.shape[:2], bool)
    inner = max(height, pixels.shape[0]), max(width, pixels.shape[1])
    top = (least - inner[0]) // 2 + (inner[0] - pixels.shape[0]) // 2
    left = (least - inner[1]) // 2 + (inner[1] - pixels.shape[1]) // 2
    place = slice(top, top + pixels.shape[0]), slice(left, left + pixels.shape[1])
    ground[place] = False
    assert np.array_equal(prepared[place], pixels)
    assert (prepared[ground] == value).all()


@given(IMAGES)
def test_bgr_reverses_the_channels(pixels: UInt8) -> None:
    height, width = pixels.shape[:2]
    recipe = parse_recipe(f"decode(rgb) | center_crop({height}, {width}) | bgr")
    prepared = recipe.prepare_pixels(pixels)
    assert prepared.flags.c_contiguous
    assert np.array_equal(prepared, pixels[:, :, [2, 1, 0]])


@given(IMAGES)
def test_bgr_commutes_with_resize(pixels: UInt8) -> None:
    before = parse_recipe("decode(rgb) | bgr | resize(7, 9)").prepare_pixels(pixels)
    after = parse_recipe("decode(rgb) | resize(7, 9) | bgr").prepare_pixels(pixels)
    assert np.array_equal(before, after)


@given(IMAGES, st.floats(1e-6, 1e6), st.floats(-1e6, 1e6))
def test_scale_is_a_product_and_a_sum_in_float32(
    pixels: UInt8, factor: float, offset: float
) -> None:
    offset = 0.0 if abs(offset) < 1e-12 else offset
    height, width = pixels.shape[:2]
    text = f"decode(rgb) | resize({height}, {width}) | scale({factor!r}, {offset!r})"
    prepared = parse_recipe(text).prepare_pixels(pixels)
    expected = pixels.astype(np.float32) * np.float32(factor) + np.float32(offset)
    assert prepared.dtype == np.float32
    assert np.array_equal(prepared, expected)


@given(IMAGES)
def test_normalize_is_a_difference_and_a_quotient_in_float32(pixels: UInt8) -> None:
    height, width = pixels.shape[:2]
    values = "123.675, 116.28, 103.53, 58.395, 57.12, 57.375"
    recipe = parse_recipe(f"decode(rgb) | resize({height}, {width}) | normalize({values})")
    mean = np.array([123.675, 116.28, 103.53], np.float32)
    deviation = np.array([58.395, 57.12, 57.375], np.float32)
    expected = (pixels.astype(np.float32) - mean) / deviation
    assert np.array_equal(recipe.prepare_pixels(pixels), expected)


@given(st.floats(-1e12, 1e12), st.floats(1e-12, 1e12))
def test_no_number_overflows(mean: float, deviation: float) -> None:
    mean = 0.0 if abs(mean) < 1e-12 else mean
    pixels = np.array([[0, 255]], np.uint8)
    for ending in (f"normalize({mean!r}, {deviation!r})", f"scale({deviation!r}, {mean!r})"):
        recipe = parse_recipe(f"decode(grey) | resize(1, 2) | {ending}")
        assert np.isfinite(recipe.prepare_pixels(pixels)).all()


def test_the_last_step_leaves_the_callers_pixels_alone() -> None:
    pixels = np.full((2, 2, 3), 7, np.uint8)
    parse_recipe("decode(rgb) | resize(2, 2) | scale(2, 1)").prepare_pixels(pixels)
    assert (pixels == 7).all()


def test_grey_is_the_luma_of_itu_r_601() -> None:
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    pixels = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, 18, 3)
    red, green, blue = np.moveaxis(pixels.astype(np.int64), -1, 0)
    expected = (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16
    grey = as_array(to_channels(pixels, 1))
    assert np.array_equal(grey[:, :, 0], expected)


@given(arrays(np.uint8, (3, 5)))
def test_grey_pixels_become_colour_by_repeating(pixels: UInt8) -> None:
    recipe = parse_recipe("decode(rgb) | resize(3, 5)")
    expected = np.stack([pixels] * 3, axis=-1)
    assert np.array_equal(recipe.prepare_pixels(pixels), expected)
    assert np.array_equal(recipe.prepare_pixels(pixels[:, :, np.newaxis]), expected)


def test_grey_pixels_stay_grey() -> None:
    pixels = np.arange(15, dtype=np.uint8).reshape(3, 5)
    prepared = parse_recipe("decode(grey) | resize(3, 5)").prepare_pixels(pixels)
    assert np.array_equal(prepared, pixels[:, :, np.newaxis])


@pytest.mark.parametrize(
    ("pixels", "complaint"),
    [
        (np.zeros((2, 2, 3), np.float32), "must be uint8, not float32"),
        (np.zeros((2, 2, 3), np.int8), "must be uint8, not int8"),
        (np.zeros(4, np.uint8), r"not \[4\]"),
        (np.zeros((2, 2, 4), np.uint8), r"not \[2, 2, 4\]"),
        (np.zeros((2, 2, 0), np.uint8), r"not \[2, 2, 0\]"),
        (np.zeros((0, 2, 3), np.uint8), r"not \[0, 2, 3\]"),
        (np.zeros((0, 2), np.uint8), r"not \[0, 2, 1\]"),
        (np.zeros((1, 2, 2, 3), np.uint8), r"not \[1, 2, 2, 3\]"),
    ],
)
def test_other_arrays_are_refused(pixels: UInt8, complaint: str) -> None:
    with pytest.raises(InvalidTensorError, match=complaint):
        parse_recipe("decode(rgb) | resize(2, 2)").prepare_pixels(pixels)


def test_a_model_that_decodes_takes_no_pixels() -> None:
    with pytest.raises(InvalidTensorError, match="takes encoded images"):
        parse_recipe("bytes").prepare_pixels(np.zeros((2, 2, 3), np.uint8))


@pytest.mark.parametrize(
    "text",
    [
        "decode(rgb) | resize_shorter(256) | center_crop(224)",
        "decode(rgb) | pad(16384, 1) | center_crop(1)",
    ],
)
def test_a_thin_image_is_not_blown_up(text: str) -> None:
    with pytest.raises(ImageTooLargeError, match="less elongated"):
        parse_recipe(text).prepare_pixels(np.zeros((1, 300_000, 3), np.uint8))


def test_strided_pixels_are_read_in_order() -> None:
    pixels = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    view = pixels[::-1, ::2, ::-1]
    expected = np.ascontiguousarray(view)
    for text in (
        "decode(rgb) | resize(8, 4)",
        "decode(rgb) | resize(3, 3)",
        "decode(grey) | resize(8, 4)",
    ):
        recipe = parse_recipe(text)
        assert np.array_equal(recipe.prepare_pixels(view), recipe.prepare_pixels(expected))
