"""Decoded pixels between the steps: a NumPy array or a Pillow image, as the last step left them.

Converting between the two copies every pixel, so a step asks for the form it works on, and the
conversion happens only where it must.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

UInt8Array: TypeAlias = NDArray[np.uint8]

Pixels: TypeAlias = UInt8Array | Image.Image
"""uint8 pixels: an array `[H, W, 3]` or `[H, W, 1]`, or a Pillow image of mode `RGB` or `L`."""


def size_of(pixels: Pixels) -> tuple[int, int]:
    """Height and width."""
    if isinstance(pixels, Image.Image):
        return pixels.height, pixels.width
    return pixels.shape[0], pixels.shape[1]


def as_array(pixels: Pixels) -> UInt8Array:
    """The pixels as an array `[H, W, C]`, which may be a read-only or strided view."""
    if not isinstance(pixels, Image.Image):
        return pixels
    array: UInt8Array = np.asarray(pixels)
    return array[:, :, np.newaxis] if array.ndim == 2 else array


def as_image(pixels: Pixels) -> Image.Image:
    """The pixels as a Pillow image of mode `RGB` or `L`."""
    if isinstance(pixels, Image.Image):
        return pixels
    array = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    return Image.fromarray(np.ascontiguousarray(array))


def to_channels(pixels: Pixels, channels: int) -> Pixels:
    """The pixels in colour (3 channels) or grey (1 channel).

    Grey becomes colour by repeating it; colour becomes grey by the luma of ITU-R BT.601 as Pillow's
    mode `L` computes it: (19595 R + 38470 G + 7471 B + 32768) >> 16.
    """
    if isinstance(pixels, Image.Image):
        mode = "RGB" if channels == 3 else "L"
        return pixels if pixels.mode == mode else pixels.convert(mode)
    if pixels.shape[2] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=2)
    return as_image(pixels).convert("L")
