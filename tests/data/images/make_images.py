"""Writes the images beside it, which the tests of preprocessing read.

The images are committed, because encoders change from version to version and the hashes of decoded
pixels must not. `python tests/data/images/make_images.py` writes what is missing, so this file says
where every image comes from and is the place to add one. The pictures are fixed formulas, and PNG
files are written byte by byte, so that every kind of PNG can be had.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

HERE = Path(__file__).parent
SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, COLOUR, INDEXED, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 3, 4, 6
ADAM7 = (
    (0, 0, 8, 8),
    (0, 4, 8, 8),
    (4, 0, 8, 4),
    (0, 2, 4, 4),
    (2, 0, 4, 2),
    (0, 1, 2, 2),
    (1, 0, 2, 1),
)

Samples = NDArray[np.uint16]


def photo(height: int, width: int) -> NDArray[np.uint8]:
    """A smooth scene with a few edges: waves of colour behind three discs, uint8 `[H, W, 3]`."""
    y, x = np.mgrid[0:height, 0:width] / min(height, width)
    waves = [np.sin(2.1 * x + 1.3 * y), np.cos(1.7 * x - 2.2 * y), np.sin(0.9 * x + 2.8 * y + 1)]
    scene = 128 + 90 * np.stack(waves, axis=-1)
    for row, column, radius, colour in (
        (0.3, 0.4, 0.2, (230, 40, 30)),
        (0.6, 0.9, 0.25, (30, 60, 210)),
        (0.75, 0.35, 0.12, (250, 230, 60)),
    ):
        scene[(y - row) ** 2 + (x - column) ** 2 < radius**2] = colour
    return scene.round().astype(np.uint8)


def corners(height: int = 24, width: int = 40) -> NDArray[np.uint8]:
    """Four quarters of different colours, so that every way to turn it differs."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = 220, 30, 30
    image[: height // 2, width // 2 :] = 30, 200, 40
    image[height // 2 :, : width // 2] = 40, 50, 230
    image[height // 2 :, width // 2 :] = 240, 240, 240
    return image


def ramp(channels: int, bits: int, height: int = 13, width: int = 19) -> Samples:
    """Samples `[H, W, channels]` over the whole range of the bits, each channel in its own way."""
    y, x = np.mgrid[0:height, 0:width]
    index = y * width + x
    steps = (1, 5, 7, 11)[:channels]
    total = height * width
    planes = [(index * step % total) * (2**bits - 1) // (total - 1) for step in steps]
    return np.stack(planes, axis=-1).astype(np.uint16)


def jpeg(image: Image.Image, **options: Any) -> bytes:
    """A JPEG file by Pillow."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def exif(orientation: int) -> bytes:
    """An Exif block with nothing but an orientation."""
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    return b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 1) + entry + bytes(4)


def chunk(kind: bytes, content: bytes) -> bytes:
    """One chunk of a PNG file."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def rows(samples: Samples, bits: int) -> Iterator[bytes]:
    """The rows of an image, packed, each with filter type 0 in front."""
    for row in samples.reshape(len(samples), -1):
        if bits == 16:
            packed = row.astype(">u2").tobytes()
        elif bits == 8:
            packed = row.astype(np.uint8).tobytes()
        else:
            binary = "".join(f"{sample:0{bits}b}" for sample in row)
            packed = int(binary.ljust(-(-len(binary) // 8) * 8, "0"), 2).to_bytes(
                -(-len(binary) // 8)
            )
        yield b"\0" + packed


def png(
    samples: Samples,
    colour_type: int,
    bits: int,
    *,
    interlaced: bool = False,
    before: Sequence[bytes] = (),
    after: Sequence[bytes] = (),
) -> bytes:
    """A PNG file with extra chunks before and after its image data."""
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    data = b"".join(
        row
        for top, left, down, right in passes
        if samples[top::down, left::right].size
        for row in rows(samples[top::down, left::right], bits)
    )
    height, width = samples.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, interlaced)
    return b"".join(
        (
            SIGNATURE,
            chunk(b"IHDR", header),
            *before,
            chunk(b"IDAT", zlib.compress(data, 9)),
            *after,
            chunk(b"IEND", b""),
        )
    )


def palette(entries: int) -> bytes:
    """Colours of a palette."""
    return bytes(
        value
        for i in range(entries)
        for value in (i * 255 // (entries - 1), 255 - i * 3 % 256, i * 37 % 256)
    )


def jpegs() -> Iterator[tuple[str, bytes]]:
    """The JPEG files."""
    scene = Image.fromarray(photo(1200, 1600))
    yield "photo_420.jpg", jpeg(scene, quality=80, subsampling=2, optimize=True)
    yield "photo_444.jpg", jpeg(scene, quality=80, subsampling=0, optimize=True)
    yield "photo_progressive.jpg", jpeg(scene, quality=80, subsampling=2, progressive=True)
    turned = Image.fromarray(photo(1801, 1351)).transpose(Image.Transpose.ROTATE_90)
    yield "photo_portrait.jpg", jpeg(turned, quality=75, subsampling=1, optimize=True, exif=exif(6))
    small = Image.fromarray(photo(90, 121))
    yield "photo_grey.jpg", jpeg(small.convert("L"), quality=90)
    yield "photo_rgb.jpg", jpeg(small, quality=90, keep_rgb=True)
    yield "photo_cmyk.jpg", jpeg(small.convert("CMYK"), quality=90)
    inks = 255 - np.asarray(small.convert("CMYK"))
    yield (
        "photo_ycck.jpg",
        simplejpeg.encode_jpeg(np.ascontiguousarray(inks), 90, "CMYK", "420"),
    )
    yield "one_pixel.jpg", jpeg(Image.new("RGB", (1, 1), (200, 100, 50)), quality=95)
    for orientation in range(1, 9):
        stored = Image.fromarray(corners())
        undo = {
            2: Image.Transpose.FLIP_LEFT_RIGHT,
            3: Image.Transpose.ROTATE_180,
            4: Image.Transpose.FLIP_TOP_BOTTOM,
            5: Image.Transpose.TRANSPOSE,
            6: Image.Transpose.ROTATE_90,
            7: Image.Transpose.TRANSVERSE,
            8: Image.Transpose.ROTATE_270,
        }.get(orientation)
        if undo is not None:
            stored = stored.transpose(undo)
        yield (
            f"orientation_{orientation}.jpg",
            jpeg(stored, quality=90, subsampling=0, exif=exif(orientation)),
        )


def pngs() -> Iterator[tuple[str, bytes]]:
    """The PNG files."""
    for bits in (1, 2, 4, 8, 16):
        yield f"grey_{bits}bit.png", png(ramp(1, bits), GREY, bits)
        transparent = chunk(b"tRNS", struct.pack(">H", int(ramp(1, bits)[5, 7, 0])))
        yield (
            f"grey_{bits}bit_transparent.png",
            png(ramp(1, bits), GREY, bits, before=[transparent]),
        )
    for bits in (8, 16):
        yield f"rgb_{bits}bit.png", png(ramp(3, bits), COLOUR, bits)
        transparent = chunk(b"tRNS", struct.pack(">HHH", *ramp(3, bits)[5, 7].tolist()))
        yield (
            f"rgb_{bits}bit_transparent.png",
            png(ramp(3, bits), COLOUR, bits, before=[transparent]),
        )
        yield f"grey_alpha_{bits}bit.png", png(ramp(2, bits), GREY_ALPHA, bits)
        yield f"rgba_{bits}bit.png", png(ramp(4, bits), COLOUR_ALPHA, bits)
    for bits in (1, 2, 4, 8):
        colours = chunk(b"PLTE", palette(2**bits))
        yield f"palette_{bits}bit.png", png(ramp(1, bits), INDEXED, bits, before=[colours])
    alpha = chunk(b"tRNS", bytes(range(0, 200, 2)))
    colours = chunk(b"PLTE", palette(256))
    yield "palette_transparent.png", png(ramp(1, 8), INDEXED, 8, before=[colours, alpha])
    colours = chunk(b"PLTE", palette(100))
    yield "palette_short.png", png(ramp(1, 8), INDEXED, 8, before=[colours])
    yield "interlaced_rgb.png", png(ramp(3, 8), COLOUR, 8, interlaced=True)
    yield "interlaced_grey_1bit.png", png(ramp(1, 1), GREY, 1, interlaced=True)
    yield "interlaced_rgba_16bit.png", png(ramp(4, 16), COLOUR_ALPHA, 16, interlaced=True)
    yield "one_pixel.png", png(np.array([[[200, 100, 50]]], np.uint16), COLOUR, 8)
    turned = np.rot90(corners()).astype(np.uint16)
    block = chunk(b"eXIf", exif(6).removeprefix(b"Exif\0\0"))
    yield "orientation_6_before.png", png(turned, COLOUR, 8, before=[block])
    yield "orientation_6_after.png", png(turned, COLOUR, 8, after=[block])
    profile = chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(3000)))
    metadata = [
        chunk(b"gAMA", struct.pack(">I", 100_000)),
        profile,
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a comment " * 50)),
        chunk(b"tEXt", b"Author\0nobody"),
        chunk(b"bKGD", struct.pack(">HHH", 9, 9, 9)),
    ]
    yield (
        "metadata.png",
        png(ramp(3, 8), COLOUR, 8, before=metadata, after=[chunk(b"tEXt", b"a\0b")]),
    )
    yield "animated.png", animated_png(ramp(3, 8), 255 - ramp(3, 8), first_is_default=True)
    yield "animated_default.png", animated_png(ramp(3, 8), 255 - ramp(3, 8), first_is_default=False)


def animated_png(default: Samples, other: Samples, *, first_is_default: bool) -> bytes:
    """An animation that ends with another image; its first frame is the default image or not."""
    height, width = default.shape[:2]
    frames = 2 if first_is_default else 1
    control = [
        chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, width, height, 0, 0, 1, 10, 0, 0))
        for number in range(frames)
    ]
    data = zlib.compress(b"".join(rows(other, 8)), 9)
    last = chunk(b"fdAT", struct.pack(">I", frames) + data)
    before = [chunk(b"acTL", struct.pack(">II", frames, 0)), *control[:-1]]
    return png(default, COLOUR, 8, before=before, after=[control[-1], last])


def main() -> None:
    """Write every image that is missing."""
    for name, content in (*jpegs(), *pngs()):
        path = HERE / name
        if not path.exists():
            path.write_bytes(content)
            print(f"{name}: {len(content)} bytes")


if __name__ == "__main__":
    main()
