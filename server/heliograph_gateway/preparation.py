"""Preparation: from the images of a request to rows of the model's input."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

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
_TURN_BYTES = 16 * 1024
"""Bytes of small images that are prepared one after the other, until others get their turn."""


class Prepared(NamedTuple):
    """The images of a request, ready for the model."""

    rows: np.ndarray
    """[N, …] with the dtype and shape of the version's contract: those that could be prepared, in
    their order."""
    errors: dict[int, HeliographError]
    """Why the others could not, by their index among the images."""


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
        row = self._prepare_in_place(version, image)
        return await self._prepare_in_thread(version, image) if row is None else row

    async def prepare_all(self, version: ServableVersion, images: Sequence[Image]) -> Prepared:
        """Prepare images; those for which `prepare` would raise have their error instead."""
        if len(images) == 1:
            try:
                return Prepared(await self.prepare(version, images[0]), {})
            except HeliographError as error:
                return Prepared(version.rows(0), {0: error})
        rows = version.rows(len(images))
        errors: dict[int, HeliographError] = {}

        async def prepare_large(index: int, image: Image) -> None:
            try:
                rows[index : index + 1] = await self._prepare_in_thread(version, image)
            except HeliographError as error:
                errors[index] = error

        async with asyncio.TaskGroup() as large:
            turn = 0
            for index, image in enumerate(images):
                try:
                    row = self._prepare_in_place(version, image)
                except HeliographError as error:
                    errors[index] = error
                    continue
                if row is None:
                    large.create_task(prepare_large(index, image))
                    continue
                rows[index : index + 1] = row
                turn += len(image.encoded)
                if turn >= _TURN_BYTES:
                    turn = 0
                    await asyncio.sleep(0)
        return Prepared(np.delete(rows, list(errors), axis=0) if errors else rows, errors)

    def _prepare_in_place(self, version: ServableVersion, image: Image) -> np.ndarray | None:
        """Prepare an image, unless it is a large one."""
        if image.WhichOneof("content") != "encoded":
            return self._prepare(version, image)
        encoded = image.encoded
        if len(encoded) > _SMALL_BYTES or version.pixels > _SMALL_PIXELS:
            return None
        header = read_header(encoded, self._limits)
        if header.height * header.width > _SMALL_PIXELS:
            return None
        return version.row(version.recipe.prepare(encoded, self._limits, header))

    async def _prepare_in_thread(self, version: ServableVersion, image: Image) -> np.ndarray:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._prepare, version, image)

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

    def close(self) -> None:
        """Stop the threads once they are idle."""
        self._threads.shutdown(wait=False, cancel_futures=True)


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
