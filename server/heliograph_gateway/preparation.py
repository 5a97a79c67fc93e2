"""Preparation: from an image in a request to a row of the model's input."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from heliograph.errors import HeliographError, InvalidImageError, InvalidTensorError
from heliograph.preprocessing import ImageLimits, read_header
from heliograph.v1.classifier_pb2 import Image, Tensor
from heliograph.v1.contract_pb2 import Dtype
from heliograph_gateway.servables import ServableVersion

_SMALL_BYTES = 16 * 1024
_SMALL_PIXELS = 128 * 128
"""Size of a file, and of its pixels before and after the recipe, up to which preparing it (below
0.3 ms) costs less in place than in a thread. Few bytes alone prove nothing: a PNG of 16 kB can hold
four million pixels."""


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
        if self._is_small(version, image):
            return self._prepare(version, image)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._prepare, version, image)

    async def prepare_all(
        self, version: ServableVersion, images: Sequence[Image]
    ) -> list[np.ndarray | HeliographError]:
        """Return each image as a batch of one, or what `prepare` would raise for it.

        Several go to the threads: many small images, one after the other, would hold up the calls
        of others for as long as a large one does.
        """
        if len(images) == 1:
            try:
                return [await self.prepare(version, images[0])]
            except HeliographError as error:
                return [error]
        loop = asyncio.get_running_loop()
        parts = await asyncio.gather(
            *(
                loop.run_in_executor(self._threads, self._prepare_part, version, part)
                for part in _parts(images)
            )
        )
        return [row for part in parts for row in part]

    def _is_small(self, version: ServableVersion, image: Image) -> bool:
        if image.WhichOneof("content") != "encoded":
            return True
        if len(image.encoded) > _SMALL_BYTES or math.prod(version.shape[:2]) > _SMALL_PIXELS:
            return False
        header = read_header(image.encoded, self._limits)
        return header.height * header.width <= _SMALL_PIXELS

    def _prepare(self, version: ServableVersion, image: Image) -> np.ndarray:
        content = image.WhichOneof("content")
        if content is None:
            raise InvalidImageError("the image is empty: set `encoded` or `prepared`")
        if content == "encoded":
            return version.row(version.recipe.prepare(image.encoded, self._limits))
        _check_tensor(version, image.prepared)
        if version.contract.input.dtype == Dtype.DTYPE_STRING:
            # An image that the graph decodes: it is checked like any other.
            return version.row(version.recipe.prepare(image.prepared.data, self._limits))
        return version.row(_array_of(version, image.prepared))

    def _prepare_part(
        self, version: ServableVersion, images: Sequence[Image]
    ) -> list[np.ndarray | HeliographError]:
        rows: list[np.ndarray | HeliographError] = []
        for image in images:
            try:
                rows.append(self._prepare(version, image))
            except HeliographError as error:
                rows.append(error)
        return rows

    def close(self) -> None:
        """Stop the threads once they are idle."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _parts(images: Iterable[Image]) -> Iterator[list[Image]]:
    """Split images so that small ones share a way to a thread, and large ones go alone."""
    part: list[Image] = []
    size = 0
    for image in images:
        part.append(image)
        size += len(image.encoded)
        if size >= _SMALL_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


def _check_tensor(version: ServableVersion, tensor: Tensor) -> None:
    expected = version.contract.input.dtype
    if tensor.dtype != expected:
        raise InvalidTensorError(
            f"the prepared tensor is {_dtype_name(tensor.dtype)}, and model {version.servable} "
            f"takes {Dtype.Name(expected)}"
        )
    if tuple(tensor.shape) != version.shape:
        raise InvalidTensorError(
            f"the prepared tensor has another shape than {list(version.shape)}, which model "
            f"{version.servable} takes"
        )


def _array_of(version: ServableVersion, tensor: Tensor) -> np.ndarray:
    size = math.prod(version.shape) * version.dtype.itemsize
    if len(tensor.data) != size:
        raise InvalidTensorError(
            f"the prepared tensor has {len(tensor.data)} bytes, and its shape says {size}"
        )
    array = np.frombuffer(tensor.data, version.dtype).reshape(version.shape)
    if version.dtype.kind == "f" and not np.isfinite(array).all():
        raise InvalidTensorError("the prepared tensor holds numbers that are not finite")
    return array


def _dtype_name(number: int) -> str:
    return next((name for name, value in Dtype.items() if value == number), f"dtype {number}")
