"""Adds to pixel_hashes.json the hashes of images and recipes that it does not have yet.

Run it after adding an image: `python tests/unit/preprocessing/write_pixel_hashes.py`. It never
changes a hash that is there: a change of pixels needs a new RECIPE_VERSION.
"""

from __future__ import annotations

import json
from pathlib import Path

from heliograph.preprocessing import RECIPE_VERSION, parse_recipe, pixels_sha256

HERE = Path(__file__).parent
IMAGES = HERE.parents[1] / "data" / "images"
SMALL = ("decode(rgb) | resize(32, 32)", "decode(grey) | resize(8, 8)")
PHOTOS = (
    *SMALL,
    "decode(rgb) | resize(224, 224)",
    "decode(rgb) | resize_shorter(256) | center_crop(224, 224)",
    "decode(rgb) | resize_longer(299) | pad(299, 299)",
    "decode(rgb) | center_crop(600, 600)",
    "decode(grey) | resize_shorter(300) | center_crop(256, 256)",
    "decode(rgb) | resize(224, 224) | scale(0.0078125, -1)",
    "decode(rgb) | resize(224, 224) | bgr | normalize(103.939, 116.779, 123.68, 1, 1, 1)",
)


def main() -> None:
    """Write the file."""
    path = HERE / "pixel_hashes.json"
    document = json.loads(path.read_text()) if path.exists() else {"images": {}}
    document["recipe_version"] = RECIPE_VERSION
    for image in sorted((*IMAGES.glob("*.jpg"), *IMAGES.glob("*.png"))):
        encoded = image.read_bytes()
        hashes = document["images"].setdefault(image.name, {})
        for text in PHOTOS if len(encoded) > 20_000 else SMALL:
            hashes.setdefault(text, pixels_sha256(parse_recipe(text).prepare(encoded)))
    path.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
