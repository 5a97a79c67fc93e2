"""What a file is by its first bytes, so that a refusal can name what was sent."""

from __future__ import annotations

import codecs

JPEG_SIGNATURE = b"\xff\xd8"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_SIGNATURES = (
    (b"GIF87a", "a GIF image"),
    (b"GIF89a", "a GIF image"),
    (b"BM", "a BMP image"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"II+\0", "a TIFF image"),
    (b"MM\0+", "a TIFF image"),
    (b"8BPS", "a Photoshop image"),
    (b"\0\0\1\0", "an icon"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL image"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (b"\x93NUMPY", "a NumPy array file"),
    (b"%PDF", "a PDF document"),
    (b"PK\3\4", "a ZIP archive"),
    (b"\x1f\x8b", "gzip data"),
    (b"/9j/", "a JPEG image in base64 text"),
    (b"iVBORw0KGgo", "a PNG image in base64 text"),
    (b"data:image/", "an image in a data: URL"),
)
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
_TEXT_WINDOW = 1024


def describe_format(encoded: bytes) -> str:
    """What the bytes look like, for people: for example `a GIF image` or `text`."""
    if not encoded:
        return "empty (0 bytes)"
    for signature, name in _SIGNATURES:
        if encoded.startswith(signature):
            return name
    if encoded.startswith(b"RIFF") and encoded[8:12] == b"WEBP":
        return "a WebP image"
    if encoded[4:8] == b"ftyp":
        if encoded[8:12] in (b"avif", b"avis"):
            return "an AVIF image"
        return "a HEIF image" if encoded[8:12] in _HEIF_BRANDS else "a video or MP4 file"
    return _describe_text(encoded[:_TEXT_WINDOW])


def _describe_text(start: bytes) -> str:
    lower = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in lower:
        return "an SVG drawing"
    if lower.startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    # The window may cut the last character in two.
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        text = decoder.decode(start, final=len(start) < _TEXT_WINDOW)
    except UnicodeDecodeError:
        return "data of an unknown format"
    return "data of an unknown format" if "\0" in text else "text"
