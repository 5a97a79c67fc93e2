"""Images a client takes, and how each becomes bytes for the wire.

NumPy and Pillow are optional: an object of theirs can only come from a caller who has imported
them, so they are looked up among the loaded modules and never imported to find out.
"""

from __future__ import annotations

import io
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal, TypeAlias, TypeGuard, cast

from heliograph.errors import (
    ImageTooLargeError,
    InvalidImageError,
    InvalidTensorError,
    MissingExtraError,
)
from heliograph.v1 import classifier_pb2, contract_pb2
from heliograph.wire_format import delimited

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image

ImageInput: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | PIL.Image.Image | "
    "np.ndarray[Any, Any] | PreparedImage"
)
"""What a client takes for an image."""

ReadImage: TypeAlias = "bytes | PIL.Image.Image | np.ndarray[Any, Any] | PreparedImage"
"""An image that needs no file any more."""

LoadedImage = tuple[bytes, bytes]
"""A serialized `Image` message in two parts: what precedes the pixels, and the pixels."""

MAX_IMAGE_BYTES: Final = 64 * 1024 * 1024 - 64 * 1024
"""Largest image sent: what fits into a message of 64 MiB. A gateway's own limit is lower."""

_ENCODED: Final = classifier_pb2.Image.ENCODED_FIELD_NUMBER
_PREPARED: Final = classifier_pb2.Image.PREPARED_FIELD_NUMBER
_PNG_MODES: Final = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16"})
_DATA: Final = classifier_pb2.Tensor.DATA_FIELD_NUMBER


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """The result of a recipe, made by the caller: the gateway only checks its shape and dtype."""

    dtype: Literal["uint8", "float32"]
    """Type of the elements, as the contract names it."""
    shape: tuple[int, ...]
    """Height, width and channels, as the contract names them."""
    data: bytes
    """Elements in row-major order, little-endian."""

    @classmethod
    def from_array(cls, array: np.ndarray[Any, Any]) -> PreparedImage:
        """Copy an array, for example one that `heliograph.preprocessing` has prepared.

        Raises:
            InvalidTensorError: The dtype is neither uint8 nor float32.
        """
        name = array.dtype.name
        if name not in ("uint8", "float32"):
            raise InvalidTensorError(f"a prepared image has dtype {name}; use uint8 or float32")
        data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        return cls("uint8" if name == "uint8" else "float32", array.shape, data)


def load_image(image: ImageInput) -> LoadedImage:
    """Return an image as a serialized `Image` message.

    Args:
        image: A path, the bytes of a JPEG or PNG file, a file opened in binary mode, a Pillow
            image, a uint8 array (height × width, alone or with 1, 3 or 4 channels), or a
            PreparedImage. Pillow images and arrays are sent as PNG.

    Raises:
        InvalidImageError: The file cannot be read, or the array is not an image.
        ImageTooLargeError: The image does not fit into a message.
        MissingExtraError: An array needs Pillow, which is not installed.
        TypeError: It is none of these.
    """
    return message_of(read_image(image))


def read_image(image: ImageInput) -> ReadImage:
    """Read an image from where it is: bytes from a path or file, anything else as it is.

    Raises:
        InvalidImageError: The file cannot be read.
        TypeError: It is nothing that a client takes.
    """
    if isinstance(image, bytes | PreparedImage) or is_pillow(image) or is_array(image):
        return image
    if isinstance(image, bytearray | memoryview):
        return bytes(image)
    if isinstance(image, str | os.PathLike):
        return _read_path(image)
    if hasattr(image, "read"):
        return _read_file(image)
    raise TypeError(
        f"cannot classify an object of type {type(image).__name__}: pass a path, bytes, a "
        "binary file, a Pillow image, a uint8 array or a PreparedImage"
    )


def message_of(image: ReadImage) -> LoadedImage:
    """Return an image that was read as a serialized `Image` message; errors as `load_image`."""
    if isinstance(image, PreparedImage):
        return _prepared(image)
    data = encoded(image)
    if len(data) > MAX_IMAGE_BYTES:
        raise ImageTooLargeError(f"the image has more than {MAX_IMAGE_BYTES} bytes")
    return delimited(_ENCODED, len(data)), data


def encoded(image: bytes | PIL.Image.Image | np.ndarray[Any, Any]) -> bytes:
    """Return an image as a file: PNG where it is none yet; errors as `load_image`."""
    if isinstance(image, bytes):
        return image
    return _png(_pillow_image(image) if is_array(image) else image)


def size_of(image: ReadImage) -> int:
    """Return the bytes that an image takes as it is: of the file, or of its pixels."""
    if isinstance(image, bytes):
        return len(image)
    if isinstance(image, PreparedImage):
        return len(image.data)
    if is_pillow(image):
        return image.width * image.height * len(image.getbands())
    return cast("np.ndarray[Any, Any]", image).nbytes


def is_pillow(image: object) -> TypeGuard[PIL.Image.Image]:
    """Return whether an object is a Pillow image."""
    return _is_a("PIL.Image", "Image", image)


def is_array(image: object) -> TypeGuard[np.ndarray[Any, Any]]:
    """Return whether an object is a NumPy array."""
    return _is_a("numpy", "ndarray", image)


def _is_a(module: str, name: str, value: object) -> bool:
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(value, getattr(loaded, name))


def _read_path(path: str | os.PathLike[str]) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(MAX_IMAGE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidImageError(f"cannot read {os.fspath(path)}: {reason}") from error


def _read_file(file: Any) -> bytes:
    try:
        data = file.read(MAX_IMAGE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise InvalidImageError(f"cannot read the image's file: {error}") from error
    if not isinstance(data, bytes):
        raise InvalidImageError("an image's file must be opened in binary mode ('rb')")
    return data


def _pillow_image(array: Any) -> Any:
    try:
        import PIL.Image
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "sending an array needs Pillow, which is not installed: pip install 'heliograph[image]'"
        ) from error
    if array.dtype.name != "uint8":
        raise InvalidImageError(
            f"an image array has dtype {array.dtype.name}; use uint8 pixels from 0 to 255, or "
            "PreparedImage.from_array for what a recipe has made"
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if (array.ndim != 2 and (array.ndim != 3 or array.shape[2] not in (3, 4))) or not array.size:
        raise InvalidImageError(
            f"an image array has shape {list(array.shape)}; use [height, width] or "
            "[height, width, 1, 3 or 4]"
        )
    return PIL.Image.fromarray(array)


def _png(image: Any) -> bytes:
    import PIL.Image
    import PIL.ImageOps

    if image.mode == "F":
        raise InvalidImageError("a Pillow image of mode F has no fixed range; convert it to L")
    buffer = io.BytesIO()
    try:
        # The orientation tag is applied as the gateway would have done with the file itself.
        upright = PIL.ImageOps.exif_transpose(image)
        if upright.mode not in _PNG_MODES:
            upright = upright.convert("RGB")
        # The lowest compression: the connection is usually faster than zlib.
        upright.save(buffer, "PNG", compress_level=1, icc_profile=None)
    except (OSError, SyntaxError, ValueError) as error:
        raise InvalidImageError(f"the Pillow image cannot be sent: {error}") from error
    return buffer.getvalue()


def _prepared(image: PreparedImage) -> LoadedImage:
    dtype = contract_pb2.DTYPE_UINT8 if image.dtype == "uint8" else contract_pb2.DTYPE_FLOAT32
    head = classifier_pb2.Tensor(dtype=dtype, shape=image.shape).SerializeToString()
    tensor = head + delimited(_DATA, len(image.data))
    return delimited(_PREPARED, len(tensor) + len(image.data)) + tensor, image.data
