"""What can answer: a version of a model, ready to be asked."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from heliograph.contract import recipe_of
from heliograph.errors import InvalidTensorError
from heliograph.preprocessing import Recipe
from heliograph.v1.contract_pb2 import Dtype, ModelContract
from heliograph_gateway.statistics import Statistics

_NUMPY_DTYPES: dict[Dtype.ValueType, np.dtype[Any]] = {
    Dtype.DTYPE_UINT8: np.dtype(np.uint8),
    Dtype.DTYPE_FLOAT32: np.dtype("<f4"),
    Dtype.DTYPE_STRING: np.dtype(object),
}


class Servable(NamedTuple):
    """A version of a model, as TensorFlow Serving's word has it."""

    model: str
    version: int

    def __str__(self) -> str:
        return f"{self.model}:{self.version}"


@dataclass(eq=False)
class ServableVersion:
    """A version whose contract was read and fits: all that a request needs to know of it."""

    servable: Servable
    contract: ModelContract
    recipe: Recipe
    class_names: tuple[str, ...]
    dtype: np.dtype[Any]
    """Element type of the input."""
    shape: tuple[int, ...]
    """Shape of the input without the batch dimension."""
    statistics: Statistics = field(default_factory=Statistics)
    """What requests have asked of it."""
    _images: int = 0
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    def of(cls, servable: Servable, contract: ModelContract) -> ServableVersion:
        """Make one from its contract.

        Raises:
            ContractError: The recipe does not parse, or does not yield the input.
        """
        return cls(
            servable=servable,
            contract=contract,
            recipe=recipe_of(contract),
            class_names=tuple(contract.class_names),
            dtype=_NUMPY_DTYPES[contract.input.dtype],
            shape=tuple(contract.input.shape),
        )

    @cached_property
    def pixels(self) -> int:
        """Pixels of the input; 1 where the model decodes images itself."""
        return math.prod(self.shape[:2])

    def rows(self, count: int) -> np.ndarray:
        """Return room for so many prepared images, [count, …]; what it holds is undefined."""
        return np.empty((count, *self.shape), self.dtype)

    def row(self, prepared: np.ndarray | bytes) -> np.ndarray:
        """Return a prepared image as a batch of one.

        The contract is enforced here, whatever the way the pixels came: a tensor of the wrong rank
        would abort TensorFlow Serving as a whole.

        Raises:
            InvalidTensorError: It has another dtype or shape than the contract says.
        """
        if isinstance(prepared, bytes):
            row = np.empty(1, dtype=object)
            row[0] = prepared
        else:
            row = prepared[np.newaxis]
        if row.dtype != self.dtype or row.shape[1:] != self.shape:
            raise InvalidTensorError(
                f"the image is {row.dtype} {list(row.shape[1:])}, and model {self.servable} takes "
                f"{self.dtype} {list(self.shape)}"
            )
        return row

    @property
    def images(self) -> int:
        """Images that are on their way through the version."""
        return self._images

    def enter(self, images: int) -> None:
        """Keep the version from being drained until these images `leave`."""
        self._images += images

    def leave(self, images: int) -> None:
        """End what `enter` began."""
        self._images -= images
        if not self._images:
            self._idle.set()

    async def drained(self) -> None:
        """Wait until no request is on the version. It must not be routed to any more."""
        while self._images:
            self._idle.clear()
            await self._idle.wait()
