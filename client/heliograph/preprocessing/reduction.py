"""At which fraction of its size a JPEG is decoded: our own choice, the same on every machine.

A JPEG can be decoded at 1/2, 1/4 or 1/8 of its size for less work, because its blocks are
transformed into fewer pixels. Libraries choose the fraction by rules of their own, and differently;
here it is a pure function of the size of the image and of the recipe, part of RECIPE_VERSION.
"""

from __future__ import annotations

from collections.abc import Sequence

from heliograph.preprocessing.step import PixelStep, Resizing

OVERSAMPLING = 2
"""How many times what the resize asks for the decoded image stays, for its filter to work on."""

SMALLEST_SIDE = 8
"""With a longer side below this an image is decoded whole: two fractions can give it one size."""


def reduction(height: int, width: int, steps: Sequence[PixelStep]) -> int:
    """The denominator, 1, 2, 4 or 8, at which a JPEG is decoded for the steps that follow `decode`.

    It is the largest at which the decoded size, rounded up, is still OVERSAMPLING times what the
    first resize asks for. It is 1 when a crop or pad comes before, or when nothing resizes.

    Args:
        height: Rows of the whole image, upright, at least 1.
        width: Pixels per row, at least 1.
        steps: The steps after `decode`.
    """
    for step in steps:
        if isinstance(step, Resizing):
            if max(height, width) < SMALLEST_SIDE:
                return 1
            for denominator in (8, 4, 2):
                if step.covers(-(-height // denominator), -(-width // denominator), OVERSAMPLING):
                    return denominator
            return 1
        if not step.keeps_geometry:
            return 1
    return 1
