"""Data sets that are arrays of pixels: every example becomes a PNG file when it is read."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from heliograph_training.datasets.dataset import Example, SplitName


@dataclass(frozen=True)
class ArraySplit:
    """Examples from an array."""

    name: SplitName
    pixels: npt.NDArray[np.uint8]
    """`[N, H, W]` for grey images, `[N, H, W, 3]` for colour."""
    classes: npt.NDArray[np.int64]
    """Class index of each image, `[N]`."""
    class_names: tuple[str, ...]

    @cached_property
    def class_indices(self) -> tuple[int, ...]:
        """The class of every example."""
        return tuple(int(index) for index in self.classes)

    def read(self, index: int) -> Example:
        """Return an example, encoded as PNG."""
        pixels = self.pixels[index]
        class_index = self.class_indices[index]
        return Example(
            name=f"{self.name}/{self.class_names[class_index]}/{index:05d}.png",
            class_index=class_index,
            encoded=encode_png(pixels),
            content_sha256=hashlib.sha256(pixels.tobytes()).hexdigest(),
        )


def encode_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Encode `[H, W]` or `[H, W, 3]` pixels as a PNG file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()
