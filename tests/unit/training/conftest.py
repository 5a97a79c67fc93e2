"""Small folders of images for the tests of data sets."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

WriteImage = Callable[..., Path]


@pytest.fixture
def write_image(tmp_path: Path) -> WriteImage:
    """Return a function that writes an image below the test's folder and returns its path."""

    def write(name: str, *, size: tuple[int, int] = (8, 6), seed: int = 0) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(noise(path.suffix, size, seed))
        return path

    return write


@pytest.fixture
def animals(tmp_path: Path, write_image: WriteImage) -> Path:
    """Return a folder with ten cats and ten dogs."""
    for class_name in ("cat", "dog"):
        for number in range(10):
            write_image(f"animals/{class_name}/{number}.jpg", seed=number)
    return tmp_path / "animals"


@pytest.fixture
def write_images(write_image: WriteImage) -> Callable[[Iterable[str]], None]:
    """Return a function that writes images of the given names."""

    def write(names: Iterable[str]) -> None:
        for number, name in enumerate(names):
            write_image(name, seed=number)

    return write


def noise(suffix: str, size: tuple[int, int], seed: int) -> bytes:
    """Return an image file of random pixels; size is width and height."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG" if suffix == ".png" else "JPEG")
    return file.getvalue()
