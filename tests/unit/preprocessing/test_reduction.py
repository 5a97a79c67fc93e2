"""The fraction at which a JPEG is decoded: what it is, and that the decoder obeys."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from heliograph.preprocessing import read_header
from heliograph.preprocessing.decoding import decode
from heliograph.preprocessing.pixels import as_array
from heliograph.preprocessing.recipe import parse_recipe
from heliograph.preprocessing.reduction import OVERSAMPLING, reduction
from heliograph.preprocessing.step import PixelStep


def steps(text: str) -> list[PixelStep]:
    return [step for step in parse_recipe(text).steps if isinstance(step, PixelStep)]


@pytest.mark.parametrize(
    ("height", "width", "text", "denominator"),
    [
        (1200, 1600, "decode(rgb) | resize(224, 224)", 2),
        (3024, 4032, "decode(rgb) | resize(224, 224)", 4),
        (3584, 4032, "decode(rgb) | resize(224, 224)", 8),
        (448, 448, "decode(rgb) | resize(224, 224)", 1),
        (895, 896, "decode(rgb) | resize(224, 224)", 2),
        (894, 896, "decode(rgb) | resize(224, 224)", 1),
        (1600, 1200, "decode(rgb) | resize_shorter(256) | center_crop(224)", 2),
        (1600, 400, "decode(rgb) | resize_shorter(256) | center_crop(224)", 1),
        (1600, 400, "decode(rgb) | resize_longer(100) | pad(100, 100)", 8),
        (1200, 1600, "decode(rgb) | bgr | resize(100, 100)", 4),
        (1200, 1600, "decode(rgb) | center_crop(1000) | resize(100, 100)", 1),
        (1200, 1600, "decode(rgb) | pad(1000, 1000) | resize(100, 100)", 1),
        (1200, 1600, "decode(rgb) | center_crop(224)", 1),
        (7, 7, "decode(rgb) | resize(1, 1)", 1),
        (5, 8, "decode(rgb) | resize(1, 1)", 4),
        (9, 9, "decode(rgb) | resize(1, 1)", 8),
        (1, 1, "decode(rgb) | resize(1, 1)", 1),
    ],
)
def test_the_fraction_for(height: int, width: int, text: str, denominator: int) -> None:
    assert reduction(height, width, steps(text)) == denominator


@given(st.integers(1, 9000), st.integers(1, 9000), st.integers(1, 900), st.integers(1, 900))
def test_it_is_the_largest_that_leaves_enough(
    height: int, width: int, rows: int, columns: int
) -> None:
    denominator = reduction(height, width, steps(f"decode(rgb) | resize({rows}, {columns})"))
    enough = [
        candidate
        for candidate in (1, 2, 4, 8)
        if -(-height // candidate) >= OVERSAMPLING * rows
        and -(-width // candidate) >= OVERSAMPLING * columns
    ]
    expected = max(enough, default=1) if max(height, width) >= 8 else 1
    assert denominator == expected


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_the_decoder_takes_the_fraction_it_is_given(
    subsampling: int,
    build_jpeg: Callable[..., bytes],
    gradient: Callable[..., NDArray[np.uint8]],
    pillow_jpeg: Callable[[bytes, int], NDArray[np.uint8]],
) -> None:
    sides = (*range(1, 19), 63, 64, 65)
    for height in sides:
        for width in sides:
            encoded = build_jpeg(gradient(height, width), quality=90, subsampling=subsampling)
            header = read_header(encoded)
            for denominator in (1, 2, 4, 8) if max(height, width) >= 8 else (1,):
                pixels = as_array(decode(encoded, header, 3, denominator))
                assert np.array_equal(pixels, pillow_jpeg(encoded, denominator))
