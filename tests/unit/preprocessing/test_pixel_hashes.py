"""The pixels of the committed images, to the last bit.

A hash that changes means that every model trained before would see other pixels: it needs a new
RECIPE_VERSION, not a new hash. `write_pixel_hashes.py` adds the hashes of new images and recipes.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from heliograph.preprocessing import RECIPE_VERSION, parse_recipe, pixels_sha256

HASHES = json.loads(Path(__file__).with_name("pixel_hashes.json").read_text())


def test_the_hashes_are_of_this_version() -> None:
    assert HASHES["recipe_version"] == RECIPE_VERSION


def test_every_image_has_hashes(images: Path) -> None:
    names = {path.name for kind in ("*.jpg", "*.png") for path in images.glob(kind)}
    assert names == set(HASHES["images"])


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for name in HASHES["images"] for text in HASHES["images"][name]]
)
def test_the_pixels_of(name: str, text: str, images: Path) -> None:
    prepared = parse_recipe(text).prepare((images / name).read_bytes())
    assert pixels_sha256(prepared) == HASHES["images"][name][text]
