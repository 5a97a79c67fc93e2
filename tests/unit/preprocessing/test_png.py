"""PNG files of every kind give the pixels of docs/recipes.md, by formulas written out again."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from heliograph.errors import CorruptImageError, UnsupportedImageFormatError
from heliograph.preprocessing import parse_recipe, read_header
from heliograph.preprocessing.png import MAX_CHUNKS

UInt8 = NDArray[np.uint8]
BuildPng = Callable[..., bytes]
Chunk = Callable[..., bytes]

HEIGHT, WIDTH = 13, 19
COLOUR = parse_recipe(f"decode(rgb) | resize({HEIGHT}, {WIDTH})")
GREY = parse_recipe(f"decode(grey) | resize({HEIGHT}, {WIDTH})")


def ramp(channels: int, bits: int) -> NDArray[np.int64]:
    """The samples of the committed images, as tests/data/images/make_images.py draws them."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    index = y * WIDTH + x
    total = HEIGHT * WIDTH
    steps = (1, 5, 7, 11)[:channels]
    planes = [(index * step % total) * (2**bits - 1) // (total - 1) for step in steps]
    return np.stack(planes, axis=-1).astype(np.int64)


def on_white(colour: NDArray[np.int64], alpha: NDArray[np.int64]) -> NDArray[np.int64]:
    """Exact rounding to the nearest integer; there are no ties because 255 is odd."""
    return (2 * (colour * alpha + 255 * (255 - alpha)) + 255) // 510


def palette(entries: int) -> NDArray[np.int64]:
    table = [(i * 255 // (entries - 1), 255 - i * 3 % 256, i * 37 % 256) for i in range(entries)]
    return np.array(table + [(0, 0, 0)] * (256 - entries), np.int64)


def expected_of(name: str) -> NDArray[np.int64]:
    """RGB or grey pixels of a committed image by the rules of docs/recipes.md."""
    bits = next((bits for bits in (16, 1, 2, 4, 8) if f"_{bits}bit" in name), 8)
    shift = 8 if bits == 16 else 0
    if name.startswith(("grey_alpha", "rgba", "interlaced_rgba")):
        samples = ramp(2 if name.startswith("grey") else 4, bits) >> shift
        return on_white(samples[:, :, :-1], samples[:, :, -1:])
    if "grey" in name:
        samples = ramp(1, bits)
        grey = samples >> 8 if bits == 16 else samples * 255 // (2**bits - 1)
        return np.where(samples == samples[5, 7, 0], 255, grey) if "transparent" in name else grey
    if name.startswith("palette"):
        indices = ramp(1, bits)[:, :, 0]
        colours = palette(100 if "short" in name else 2**bits)
        if "transparent" in name:
            alpha = np.array([*range(0, 200, 2), *[255] * 156])[:, np.newaxis]
            colours = on_white(colours, alpha)
        return colours[indices]
    samples = ramp(3, bits) >> shift
    if "transparent" in name:
        samples = np.where((samples == samples[5, 7]).all(axis=2, keepdims=True), 255, samples)
    return samples


NAMES = [
    *[f"grey_{bits}bit{kind}.png" for bits in (1, 2, 4, 8, 16) for kind in ("", "_transparent")],
    *[f"rgb_{bits}bit{kind}.png" for bits in (8, 16) for kind in ("", "_transparent")],
    *[f"{kind}_{bits}bit.png" for bits in (8, 16) for kind in ("grey_alpha", "rgba")],
    *[f"palette_{bits}bit.png" for bits in (1, 2, 4, 8)],
    "palette_transparent.png",
    "palette_short.png",
    "interlaced_rgb.png",
    "interlaced_grey_1bit.png",
    "interlaced_rgba_16bit.png",
    "metadata.png",
    "animated.png",
    "animated_default.png",
]


@pytest.mark.parametrize("name", NAMES)
def test_colour_and_grey_of(name: str, images: Path) -> None:
    encoded = (images / name).read_bytes()
    pixels = expected_of(name)
    red, green, blue = np.moveaxis(np.broadcast_to(pixels, (HEIGHT, WIDTH, 3)), -1, 0)
    luma = (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16
    assert np.array_equal(COLOUR.prepare(encoded), np.stack([red, green, blue], axis=-1))
    assert np.array_equal(GREY.prepare(encoded), luma[:, :, np.newaxis])


def test_every_colour_with_every_alpha_is_laid_on_white_exactly(build_png: BuildPng) -> None:
    colour, alpha = np.mgrid[0:256, 0:256]
    rows = np.stack([colour, alpha], axis=-1).astype(np.uint8).reshape(256, -1)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    encoded = build_png(256, 256, 4, data=data)
    prepared = parse_recipe("decode(grey) | resize(256, 256)").prepare(encoded)
    for c, a in ((0, 0), (0, 127), (0, 128), (0, 255), (1, 1), (200, 3), (254, 254), (255, 0)):
        assert isinstance(prepared, np.ndarray)
        assert prepared[c, a, 0] == round(Fraction(c * a + 255 * (255 - a), 255))
    assert np.array_equal(prepared, on_white(colour, alpha)[:, :, np.newaxis])


def test_chunks_that_do_not_make_pixels_do_not_change_them(images: Path) -> None:
    plain, decorated = ((images / name).read_bytes() for name in ("rgb_8bit.png", "metadata.png"))
    assert np.array_equal(COLOUR.prepare(plain), COLOUR.prepare(decorated))


def test_a_palette_and_alpha_that_do_not_belong_are_ignored(
    build_png: BuildPng, chunk: Chunk
) -> None:
    recipe = parse_recipe("decode(rgb) | resize(2, 3)")
    stray = [chunk(b"PLTE", bytes(range(6))), chunk(b"tRNS", b"\7" * 5)]
    data = zlib.compress(b"".join(b"\0" + bytes(range(row, row + 12)) for row in (0, 40)))
    plain = build_png(3, 2, 6, data=data)
    assert np.array_equal(
        recipe.prepare(build_png(3, 2, 6, data=data, before=stray)), recipe.prepare(plain)
    )


def test_of_a_transparent_colour_only_the_bits_of_a_sample_count(
    build_png: BuildPng, chunk: Chunk
) -> None:
    recipe = parse_recipe("decode(grey) | resize(1, 2)")
    for colour_type, data, transparent in (
        (0, b"\0\5\7", b"\1\5"),
        (2, b"\0\5\5\5\7\7\7", b"\1\5\2\5\3\5"),
    ):
        encoded = build_png(
            2, 1, colour_type, data=zlib.compress(data), before=[chunk(b"tRNS", transparent)]
        )
        assert np.array_equal(recipe.prepare(encoded), [[[255], [7]]])


def test_image_data_in_many_chunks_is_one_image(build_png: BuildPng, chunk: Chunk) -> None:
    data = zlib.compress(b"\0" + bytes(range(200)) + b"\1" + bytes(range(200)))
    encoded = build_png(
        200, 2, data=data[:1], after=[chunk(b"IDAT", bytes((byte,))) for byte in data[1:]]
    )
    recipe = parse_recipe("decode(grey) | resize(2, 200)")
    assert np.array_equal(recipe.prepare(encoded), recipe.prepare(build_png(200, 2, data=data)))


def test_what_follows_the_end_is_ignored(build_png: BuildPng) -> None:
    recipe = parse_recipe("decode(grey) | resize(2, 3)")
    encoded = build_png()
    assert np.array_equal(recipe.prepare(encoded + b"PK\3\4" + encoded), recipe.prepare(encoded))


def header_chunk(chunk: Chunk, *values: int) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", *values))


@pytest.mark.parametrize(
    "values",
    [
        (3, 2, 3, 0, 0, 0, 0),
        (3, 2, 4, 2, 0, 0, 0),
        (3, 2, 16, 3, 0, 0, 0),
        (3, 2, 8, 1, 0, 0, 0),
        (3, 2, 8, 7, 0, 0, 0),
        (3, 2, 8, 0, 1, 0, 0),
        (3, 2, 8, 0, 0, 1, 0),
        (3, 2, 8, 0, 0, 0, 2),
    ],
)
def test_a_kind_of_png_that_does_not_exist_is_corrupt(
    values: Sequence[int], build_png: BuildPng, chunk: Chunk
) -> None:
    encoded = build_png()
    with pytest.raises(CorruptImageError, match="no kind of PNG"):
        read_header(encoded[:8] + header_chunk(chunk, *values) + encoded[33:])


@pytest.mark.parametrize(
    ("complaint", "options"),
    [
        ("its size twice", {"before": ["IHDR"]}),
        ("PLTE is repeated", {"before": ["PLTE", "PLTE"]}),
        ("tRNS is repeated", {"before": ["tRNS", "tRNS"]}),
        ("eXIf is repeated", {"before": ["eXIf"], "after": ["eXIf"]}),
        ("PLTE is out of place", {"after": ["PLTE"]}),
        ("tRNS is out of place", {"after": ["tRNS"]}),
        ("not in one piece", {"after": ["tEXt", "IDAT"]}),
        ("truncated: it ends between its chunks", {"end": False}),
        ("transparent colour is incomplete", {"before": ["short tRNS"]}),
        ("palette is missing", {"colour_type": 3}),
        ("palette is missing", {"colour_type": 3, "before": ["short PLTE"]}),
        ("palette is missing", {"colour_type": 3, "before": ["long PLTE"]}),
        ("more alpha values than colours", {"colour_type": 3, "before": ["PLTE", "long tRNS"]}),
    ],
)
def test_chunks_that_do_not_make_sense_are_corrupt(
    complaint: str, options: dict[str, Any], build_png: BuildPng, chunk: Chunk
) -> None:
    chunks = {
        "IHDR": header_chunk(chunk, 30_000, 30_000, 8, 0, 0, 0, 0),
        "PLTE": chunk(b"PLTE", bytes(6)),
        "short PLTE": chunk(b"PLTE", bytes(5)),
        "long PLTE": chunk(b"PLTE", bytes(257 * 3)),
        "tRNS": chunk(b"tRNS", b"\0\1"),
        "short tRNS": chunk(b"tRNS", b"\0"),
        "long tRNS": chunk(b"tRNS", bytes(3)),
        "eXIf": chunk(b"eXIf", b"MM\0*"),
        "tEXt": chunk(b"tEXt", b"a\0b"),
        "IDAT": chunk(b"IDAT", b"more"),
    }
    for place in ("before", "after"):
        options = options | {place: [chunks[name] for name in options.get(place, ())]}
    with pytest.raises(CorruptImageError, match=complaint):
        read_header(build_png(**options))


def test_a_png_without_image_data_is_corrupt(build_png: BuildPng, chunk: Chunk) -> None:
    with pytest.raises(CorruptImageError, match="no image data"):
        read_header(build_png()[:33] + chunk(b"IEND"))


def test_an_unknown_critical_chunk_is_refused(build_png: BuildPng, chunk: Chunk) -> None:
    with pytest.raises(UnsupportedImageFormatError, match="critical chunk ABCD"):
        read_header(build_png(before=[chunk(b"ABCD", b"")]))
    assert read_header(build_png(before=[chunk(b"abCD", b"")])).width == 3


def test_a_png_of_another_kind_is_named(build_png: BuildPng, chunk: Chunk) -> None:
    encoded = build_png()
    with pytest.raises(CorruptImageError, match="CgBI"):
        read_header(encoded[:8] + chunk(b"CgBI", bytes(4)) + encoded[8:])


@pytest.mark.parametrize("place", [12, 29, 40, -8, -2])
def test_a_wrong_checksum_is_corrupt(place: int, build_png: BuildPng) -> None:
    encoded = bytearray(build_png())
    encoded[place] ^= 1
    with pytest.raises(CorruptImageError, match="damaged"):
        COLOUR.prepare(bytes(encoded))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not deflated",
        zlib.compress(b""),
        zlib.compress(bytes(7)),
        zlib.compress(bytes(8))[:-6],
        zlib.compress(b"\7" + bytes(7)),
    ],
)
def test_image_data_that_cannot_be_inflated_is_corrupt(data: bytes, build_png: BuildPng) -> None:
    with pytest.raises(CorruptImageError):
        COLOUR.prepare(build_png(data=data))


def test_too_many_chunks_are_refused(build_png: BuildPng, chunk: Chunk) -> None:
    with pytest.raises(CorruptImageError, match=f"more than {MAX_CHUNKS} chunks"):
        read_header(build_png(before=[chunk(b"teXt", b"")] * MAX_CHUNKS))
