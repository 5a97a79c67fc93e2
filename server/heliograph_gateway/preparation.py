"""Preparation: from an image in a request to a row of the model's input."""

from __future__ import annotations

import asyncio
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from heliograph.errors import InvalidImageError, InvalidTensorError
from heliograph.preprocessing import ImageLimits
from heliograph.v1.classifier_pb2 import Image, Tensor
from heliograph.v1.contract_pb2 import Dtype
from heliograph_gateway.servables import ServableVersion

_SMALL = 16 * 1024
"""Encoded bytes up to which decoding (below 0.3 ms) costs less in place than in a thread."""


class Preparation:
    """Applies the recipe of a version; small images in place, large ones in threads."""

    def __init__(self, limits: ImageLimits, threads: int) -> None:
        self._limits = limits
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="decode")

    async def prepare(self, version: ServableVersion, image: Image) -> np.ndarray:
        """Return an image as a batch of one.

        Returns:
            Array [1, …] with the dtype and shape of the version's contract.

        Raises:
            InvalidImageError: The image cannot be decoded, or is over a limit.
            InvalidTensorError: The prepared tensor is not what the contract says.
        """
        content = image.WhichOneof("content")
        if content is None:
            raise InvalidImageError("the image is empty: set `encoded` or `prepared`")
        if content == "prepared":
            return _batch(version, _array_of(version, image.prepared))
        encoded = image.encoded
        if len(encoded) <= _SMALL:
            prepared = version.recipe.prepare(encoded, self._limits)
        else:
            prepared = await asyncio.get_running_loop().run_in_executor(
                self._threads, version.recipe.prepare, encoded, self._limits
            )
        return _batch(version, prepared)

    def close(self) -> None:
        """Stop the threads once they are idle."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _batch(version: ServableVersion, prepared: np.ndarray | bytes) -> np.ndarray:
    if isinstance(prepared, bytes):
        row = np.empty(1, dtype=object)
        row[0] = prepared
        return row
    # The contract is enforced here, whatever the way the pixels came: a tensor of the wrong rank
    # would abort TensorFlow Serving as a whole.
    if prepared.shape != version.shape or prepared.dtype != version.dtype:
        raise InvalidTensorError(
            f"the image is {prepared.dtype} {list(prepared.shape)}, and model {version.servable} "
            f"takes {version.dtype} {list(version.shape)}"
        )
    return prepared[np.newaxis]


def _array_of(version: ServableVersion, tensor: Tensor) -> np.ndarray | bytes:
    expected = version.contract.input.dtype
    if tensor.dtype != expected:
        raise InvalidTensorError(
            f"the prepared tensor is {_dtype_name(tensor.dtype)}, and model {version.servable} "
            f"takes {Dtype.Name(expected)}"
        )
    if tuple(tensor.shape) != version.shape:
        raise InvalidTensorError(
            f"the prepared tensor has shape {list(tensor.shape)}, and model {version.servable} "
            f"takes {list(version.shape)}"
        )
    if expected == Dtype.DTYPE_STRING:
        return tensor.data
    if len(tensor.data) != math.prod(version.shape) * version.dtype.itemsize:
        raise InvalidTensorError(
            f"the prepared tensor has {len(tensor.data)} bytes, and its shape says "
            f"{math.prod(version.shape) * version.dtype.itemsize}"
        )
    array = np.frombuffer(tensor.data, version.dtype).reshape(version.shape)
    if expected == Dtype.DTYPE_FLOAT32 and not np.isfinite(array).all():
        raise InvalidTensorError("the prepared tensor holds numbers that are not finite")
    return array


def _dtype_name(number: int) -> str:
    return next((name for name, value in Dtype.items() if value == number), f"dtype {number}")
