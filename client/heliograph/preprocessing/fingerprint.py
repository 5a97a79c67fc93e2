"""Proof that two sides prepare the same pixels: a hash of them, and the decoder's name."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import PIL
import simplejpeg
from numpy.typing import NDArray


def pixels_sha256(prepared: NDArray[Any] | bytes) -> str:
    """Lower-case hexadecimal SHA-256 of a prepared image.

    Of an array it covers the values, row-major and little-endian; of an encoded image its bytes.
    """
    if isinstance(prepared, bytes):
        return hashlib.sha256(prepared).hexdigest()
    little_endian = prepared.dtype.newbyteorder("<")
    return hashlib.sha256(np.ascontiguousarray(prepared, little_endian).data).hexdigest()


def decoder_build() -> str:
    """Libraries that decode, with versions: for example `simplejpeg 1.9.0, pillow 13.0.0`."""
    jpeg = ".".join(simplejpeg.__version_info__)
    return f"simplejpeg {jpeg}, pillow {PIL.__version__}"
