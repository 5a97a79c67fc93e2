"""Preparation: from an image in a request to a row that fits the contract, or a refusal."""

from __future__ import annotations

import asyncio
import io
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image as PillowImage

from heliograph.errors import (
    CorruptImageError,
    ImageTooLargeError,
    InvalidImageError,
    InvalidTensorError,
    UnsupportedImageFormatError,
)
from heliograph.preprocessing import ImageHeader, ImageLimits
from heliograph.v1.classifier_pb2 import Image, Tensor
from heliograph.v1.contract_pb2 import Dtype, InputSpec, ModelContract
from heliograph_gateway.preparation import Preparation
from heliograph_gateway.servables import ServableVersion

if TYPE_CHECKING:
    from tests.conftest import Brightness
    from tests.unit.gateway.conftest import MakeVersion

PIXELS = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)


@pytest.fixture
def preparation() -> Iterator[Preparation]:
    preparation = Preparation(ImageLimits(max_bytes=1_000_000), threads=1)
    yield preparation
    preparation.close()


def float_input(contract: ModelContract) -> None:
    contract.input.kind = InputSpec.KIND_PIXELS_FLOAT
    contract.input.dtype = Dtype.DTYPE_FLOAT32
    contract.recipe = "decode(grey) | resize(4, 4) | scale(-1, 1)"


def encoded_input(contract: ModelContract) -> None:
    contract.input.kind = InputSpec.KIND_ENCODED
    contract.input.dtype = Dtype.DTYPE_STRING
    del contract.input.shape[:]
    contract.recipe = "bytes"


def tensor(array: np.ndarray, **changes: object) -> Image:
    """An image with prepared pixels; fields of its tensor can be changed."""
    dtype = Dtype.DTYPE_UINT8 if array.dtype == np.uint8 else Dtype.DTYPE_FLOAT32
    fields = {"dtype": dtype, "shape": array.shape, "data": array.tobytes()} | changes
    return Image(prepared=Tensor(**fields))  # type: ignore[arg-type]  # by name


# Encoded images.


@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
async def test_an_encoded_image_goes_through_the_recipe(
    file_format: str, preparation: Preparation, version: ServableVersion, brightness: Brightness
) -> None:
    image = Image(encoded=brightness.image(90, file_format=file_format))

    row = await preparation.prepare(version, image)

    assert row.shape == (1, 4, 4, 1)
    assert row.dtype == np.uint8
    assert row == pytest.approx(90, abs=1)


def png_header(width: int, height: int) -> bytes:
    """The first bytes of a PNG of a size."""
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(
        ">IIBBBBBI", width, height, 8, 2, 0, 0, 0, 0
    )


@pytest.mark.parametrize(
    ("encoded", "error"),
    [
        (b"", UnsupportedImageFormatError),
        (b"this is no image", UnsupportedImageFormatError),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", UnsupportedImageFormatError),
        (b"GIF89a" + bytes(100), UnsupportedImageFormatError),
        (png_header(30_000, 30_000), ImageTooLargeError),
        (png_header(1, 65_535), ImageTooLargeError),
        (bytes(1_000_001), ImageTooLargeError),
    ],
)
async def test_what_is_no_acceptable_image_is_refused(
    encoded: bytes,
    error: type[InvalidImageError],
    preparation: Preparation,
    version: ServableVersion,
) -> None:
    with pytest.raises(error):
        await preparation.prepare(version, Image(encoded=encoded))


@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
async def test_a_truncated_image_is_refused(
    file_format: str, preparation: Preparation, version: ServableVersion, brightness: Brightness
) -> None:
    encoded = brightness.image(90, width=64, height=64, file_format=file_format)

    with pytest.raises(CorruptImageError):
        await preparation.prepare(version, Image(encoded=encoded[: len(encoded) * 2 // 3]))


async def test_an_image_without_content_is_refused(
    preparation: Preparation, version: ServableVersion
) -> None:
    with pytest.raises(InvalidImageError, match="set `encoded` or `prepared`"):
        await preparation.prepare(version, Image())


# Prepared tensors.


async def test_prepared_pixels_are_passed_on(
    preparation: Preparation, version: ServableVersion
) -> None:
    row = await preparation.prepare(version, tensor(PIXELS))

    assert row.shape == (1, 4, 4, 1)
    assert np.array_equal(row[0], PIXELS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": Dtype.DTYPE_FLOAT32}, "is DTYPE_FLOAT32, and model brightness:1 takes DTYPE_U"),
        ({"dtype": Dtype.DTYPE_UNSPECIFIED}, "is DTYPE_UNSPECIFIED"),
        ({"dtype": 77}, "is dtype 77"),
        ({"shape": [4, 4]}, r"another shape than \[4, 4, 1\]"),
        ({"shape": []}, "another shape"),
        ({"shape": [1, 4, 4, 1]}, "another shape"),
        ({"shape": [4, 4, -1]}, "another shape"),
        ({"shape": [2**62, 4, 1]}, "another shape"),
        ({"shape": [1] * 10_000}, "another shape"),
        ({"data": b""}, "has 0 bytes, and its shape says 16"),
        ({"data": bytes(15)}, "has 15 bytes"),
        ({"data": bytes(17)}, "has 17 bytes"),
    ],
)
async def test_a_tensor_that_is_not_what_the_contract_says_is_refused(
    changes: dict[str, object],
    message: str,
    preparation: Preparation,
    version: ServableVersion,
) -> None:
    with pytest.raises(InvalidTensorError, match=message) as caught:
        await preparation.prepare(version, tensor(PIXELS, **changes))

    assert len(caught.value.message) < 200


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
async def test_a_tensor_with_a_value_that_is_no_number_is_refused(
    value: float, preparation: Preparation, make_version: MakeVersion
) -> None:
    version = make_version(change=float_input)
    pixels = PIXELS.astype("<f4")
    assert np.array_equal((await preparation.prepare(version, tensor(pixels)))[0], pixels)
    pixels[3, 2, 0] = value

    with pytest.raises(InvalidTensorError, match="not finite"):
        await preparation.prepare(version, tensor(pixels))


# Models that decode images themselves.


async def test_an_image_for_a_model_that_decodes_is_checked_and_passed_on(
    preparation: Preparation, make_version: MakeVersion, brightness: Brightness
) -> None:
    version = make_version(change=encoded_input)
    encoded = brightness.image()
    prepared = Image(prepared=Tensor(dtype=Dtype.DTYPE_STRING, data=encoded))

    for image in (Image(encoded=encoded), prepared):
        row = await preparation.prepare(version, image)
        assert row.shape == (1,)
        assert row[0] == encoded


@pytest.mark.parametrize("field", ["encoded", "prepared"])
async def test_a_bomb_never_reaches_a_model_that_decodes(
    field: str, preparation: Preparation, make_version: MakeVersion
) -> None:
    version = make_version(change=encoded_input)
    bomb = png_header(30_000, 30_000)
    image = Image(encoded=bomb)
    if field == "prepared":
        image = Image(prepared=Tensor(dtype=Dtype.DTYPE_STRING, data=bomb))

    with pytest.raises(ImageTooLargeError):
        await preparation.prepare(version, image)


# Where images are decoded.


@pytest.fixture
def threads_of_decoding(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the threads in which recipes were applied."""
    from heliograph.preprocessing import Recipe

    names: list[str] = []
    prepare = Recipe.prepare

    def note(
        self: Recipe, encoded: bytes, limits: ImageLimits, header: ImageHeader | None = None
    ) -> object:
        names.append(threading.current_thread().name)
        return prepare(self, encoded, limits, header)

    monkeypatch.setattr(Recipe, "prepare", note)
    return names


def flat_png(side: int) -> bytes:
    """A square PNG of one colour: very few bytes for many pixels."""
    file = io.BytesIO()
    PillowImage.new("1", (side, side)).save(file, "PNG", optimize=True)
    return file.getvalue()


async def test_a_small_image_is_decoded_in_place(
    preparation: Preparation,
    version: ServableVersion,
    brightness: Brightness,
    threads_of_decoding: list[str],
) -> None:
    await preparation.prepare(version, Image(encoded=brightness.image()))

    assert threads_of_decoding == ["MainThread"]


async def test_an_image_of_many_bytes_is_decoded_in_a_thread(
    preparation: Preparation, version: ServableVersion, threads_of_decoding: list[str]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (120, 120, 3), dtype=np.uint8)
    file = io.BytesIO()
    PillowImage.fromarray(noise).save(file, "PNG")

    await preparation.prepare(version, Image(encoded=file.getvalue()))

    assert threads_of_decoding == ["decode_0"]


async def test_an_image_of_few_bytes_and_many_pixels_is_decoded_in_a_thread(
    preparation: Preparation, version: ServableVersion, threads_of_decoding: list[str]
) -> None:
    encoded = flat_png(2000)
    assert len(encoded) < 1000

    await preparation.prepare(version, Image(encoded=encoded))

    assert threads_of_decoding == ["decode_0"]


async def test_a_small_image_that_becomes_a_large_one_is_prepared_in_a_thread(
    preparation: Preparation,
    make_version: MakeVersion,
    brightness: Brightness,
    threads_of_decoding: list[str],
) -> None:
    def enlarge(contract: ModelContract) -> None:
        contract.recipe = "decode(grey) | resize(1000, 1000)"
        contract.input.shape[:] = [1000, 1000, 1]

    version = make_version(change=enlarge)

    await preparation.prepare(version, Image(encoded=brightness.image()))

    assert threads_of_decoding == ["decode_0"]


# Several images.


async def test_several_images_are_prepared_in_their_order_and_each_may_fail(
    preparation: Preparation,
    version: ServableVersion,
    brightness: Brightness,
    threads_of_decoding: list[str],
) -> None:
    images = [Image(encoded=brightness.image(level)) for level in range(100)]
    images[1] = Image(encoded=b"no image")
    images[50] = Image()
    images[70] = Image(encoded=flat_png(2000))
    images[98] = tensor(PIXELS, shape=[4, 4])
    images[99] = tensor(PIXELS)

    prepared = await preparation.prepare_all(version, images)

    assert {index: type(error) for index, error in prepared.errors.items()} == {
        1: UnsupportedImageFormatError,
        50: InvalidImageError,
        98: InvalidTensorError,
    }
    assert prepared.rows.shape == (97, 4, 4, 1)
    kept = [index for index in range(100) if index not in prepared.errors]
    for index, row in zip(kept, prepared.rows, strict=True):
        if index == 99:
            assert np.array_equal(row, PIXELS)
        elif index != 70:
            assert row.max() == index
    # Small images are prepared where they are, the large one among them in a thread.
    assert Counter(threads_of_decoding) == {"MainThread": 95, "decode_0": 1}


async def test_others_get_their_turn_while_many_small_images_are_prepared(
    preparation: Preparation, version: ServableVersion, brightness: Brightness
) -> None:
    images = [Image(encoded=brightness.image(1, width=64, height=64))] * 500
    preparing = asyncio.ensure_future(preparation.prepare_all(version, images))
    turns = 0
    while not preparing.done():
        await asyncio.sleep(0)
        turns += 1

    assert turns > sum(len(image.encoded) for image in images) / (32 * 1024)
    assert len((await preparing).rows) == 500
