"""Images a client takes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from heliograph import PreparedImage
from heliograph.errors import InvalidImageError, InvalidTensorError, MissingExtraError
from heliograph.images import load_image
from heliograph.v1.classifier_pb2 import Image
from heliograph.v1.contract_pb2 import DTYPE_FLOAT32, DTYPE_UINT8


def message(image: Any) -> Image:
    return Image.FromString(b"".join(load_image(image)))


def sent(image: Any) -> PIL.Image.Image:
    """What the gateway would decode."""
    return PIL.Image.open(io.BytesIO(message(image).encoded), formats=["PNG"])


@pytest.mark.parametrize("size", [0, 1, 127, 128, 20_000])
def test_bytes_travel_as_they_are(size: int) -> None:
    assert message(bytes(size)).encoded == bytes(size)


def test_a_view_is_copied_since_its_memory_may_change() -> None:
    buffer = bytearray(b"abc")
    _, data = load_image(memoryview(buffer))
    buffer[0] = 0

    assert data == b"abc"


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1), (4, 6, 3), (4, 6, 4)])
def test_an_array_arrives_as_the_same_pixels(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)

    assert (np.asarray(sent(pixels)) == pixels.reshape(np.asarray(sent(pixels)).shape)).all()


def test_an_array_with_gaps_in_memory_arrives_as_the_same_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)[::2, ::-1]

    assert (np.asarray(sent(pixels)) == pixels).all()


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 6), np.float32),
        np.zeros((4, 6), bool),
        np.zeros(6, np.uint8),
        np.zeros((4, 6, 2), np.uint8),
        np.zeros((1, 4, 6, 3), np.uint8),
        np.zeros((0, 6), np.uint8),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_an_array_that_is_no_image_is_refused(array: Any) -> None:
    with pytest.raises(InvalidImageError, match="an image array has"):
        load_image(array)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_a_pillow_image_that_png_can_hold_keeps_its_mode(mode: str) -> None:
    image = PIL.Image.new(mode, (5, 4))

    assert sent(image).mode == mode
    assert sent(image).size == (5, 4)


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "LAB"])
def test_other_pillow_images_are_converted_to_rgb(mode: str) -> None:
    image = PIL.Image.new(mode, (5, 4), (10, 20, 30) if mode != "CMYK" else (10, 20, 30, 40))

    assert sent(image).mode == "RGB"


def test_a_pillow_image_without_a_range_is_refused() -> None:
    with pytest.raises(InvalidImageError, match="mode F"):
        load_image(PIL.Image.new("F", (5, 4)))


def test_a_pillow_image_is_turned_upright_as_the_gateway_turns_files() -> None:
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    file = io.BytesIO()
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90° clockwise
    PIL.Image.fromarray(pixels).save(file, "PNG", exif=exif)

    upright = np.asarray(sent(PIL.Image.open(file)))

    assert (upright == np.rot90(pixels, -1)).all()


def test_a_truncated_pillow_image_is_refused() -> None:
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    PIL.Image.fromarray(noise).save(file, "JPEG")
    truncated = PIL.Image.open(io.BytesIO(file.getvalue()[:1500]))

    with pytest.raises(InvalidImageError, match="the Pillow image cannot be sent: "):
        load_image(truncated)


def test_an_array_without_pillow_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "PIL.Image", None)
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)

    with pytest.raises(MissingExtraError, match=r"pip install 'heliograph\[image\]'"):
        load_image(np.zeros((4, 6), np.uint8))


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.arange(24, dtype=np.uint8).reshape(2, 4, 3), DTYPE_UINT8),
        (np.arange(24, dtype=np.float32).reshape(2, 4, 3), DTYPE_FLOAT32),
        (np.arange(24, dtype=">f4").reshape(2, 4, 3), DTYPE_FLOAT32),
        (np.arange(48, dtype=np.uint8).reshape(4, 4, 3)[::2], DTYPE_UINT8),
    ],
    ids=["uint8", "float32", "big-endian", "with gaps"],
)
def test_a_prepared_array_arrives_as_the_same_elements(array: Any, dtype: int) -> None:
    tensor = message(PreparedImage.from_array(array)).prepared

    assert tensor.dtype == dtype
    wire = np.frombuffer(tensor.data, "<f4" if dtype == DTYPE_FLOAT32 else "u1")
    assert (wire.reshape(tuple(tensor.shape)) == array).all()


def test_a_prepared_array_of_another_dtype_is_refused() -> None:
    with pytest.raises(InvalidTensorError, match="dtype float64"):
        PreparedImage.from_array(np.zeros((2, 2, 3)))


def test_a_folder_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(InvalidImageError, match="Is a directory"):
        load_image(tmp_path)


def test_a_path_with_a_zero_byte_is_no_image() -> None:
    with pytest.raises(InvalidImageError, match="null byte"):
        load_image("image\0.png")


def test_a_file_that_was_closed_is_no_image() -> None:
    file = io.BytesIO(b"content")
    file.close()

    with pytest.raises(InvalidImageError, match="closed file"):
        load_image(file)
