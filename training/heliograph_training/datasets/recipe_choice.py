"""A recipe for a folder of images, chosen from their sizes."""

from __future__ import annotations

import statistics

from heliograph.errors import InvalidDatasetError, InvalidImageError
from heliograph.preprocessing import ImageHeader, ImageLimits, Recipe, parse_recipe, read_header
from heliograph_training.datasets.dataset import Split, spread_evenly

LARGEST_SIDE = 96
"""Side of the model's input for large photos: a small network learns no more from more pixels."""
_SIDES = (32, 64, LARGEST_SIDE)
_SAMPLES = 200


def choose_recipe(split: Split) -> Recipe:
    """Choose a recipe from the headers of up to 200 images spread over the split.

    Small images of one size are kept as they are. Others are resized by their shorter side to the
    largest of 32, 64 and 96 that most of them reach, and cropped to a square.
    """
    headers = _headers(split)
    if not headers:
        # What is wrong with the images is said when they are prepared, with their names.
        return parse_recipe(_square(_SIDES[0]))
    sizes = {(header.upright_height, header.upright_width) for header in headers}
    if len(sizes) == 1:
        height, width = next(iter(sizes))
        if max(height, width) <= LARGEST_SIDE:
            return parse_recipe(f"decode(rgb) | resize({height}, {width})")
    shorter = statistics.median_low(min(header.height, header.width) for header in headers)
    return parse_recipe(_square(max(side for side in _SIDES if side <= max(shorter, _SIDES[0]))))


def _square(side: int) -> str:
    return f"decode(rgb) | resize_shorter({side}) | center_crop({side}, {side})"


def _headers(split: Split) -> list[ImageHeader]:
    limits = ImageLimits()
    headers = []
    for index in spread_evenly(len(split.class_indices), _SAMPLES):
        try:
            headers.append(read_header(split.read(index).encoded, limits))
        except (InvalidDatasetError, InvalidImageError):
            continue
    return headers
