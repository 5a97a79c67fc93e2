"""From an encoded image to the tensor a model takes: the one decoder of Heliograph.

Training, gateway and client all prepare images here, so that none can drift from the others. A
recipe such as `decode(rgb) | resize_shorter(256) | center_crop(224)` says what happens;
`docs/recipes.md` says what every step means. The rules, down to the last bit of a pixel, belong to
`RECIPE_VERSION`.

Needs the extra `[image]`: NumPy, Pillow and simplejpeg.
"""

from __future__ import annotations

from heliograph.preprocessing.decoding import read_header
from heliograph.preprocessing.fingerprint import decoder_build, pixels_sha256
from heliograph.preprocessing.header import ImageHeader
from heliograph.preprocessing.limits import ImageLimits
from heliograph.preprocessing.recipe import RECIPE_VERSION, ArraySpec, Recipe, parse_recipe

__all__ = [
    "RECIPE_VERSION",
    "ArraySpec",
    "ImageHeader",
    "ImageLimits",
    "Recipe",
    "decoder_build",
    "parse_recipe",
    "pixels_sha256",
    "read_header",
]
