"""Prepared splits: the pixels that a model is trained and evaluated on, in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from heliograph.errors import (
    InvalidDatasetError,
    InvalidImageError,
    InvalidRecipeError,
)
from heliograph.preprocessing import Recipe
from heliograph_training.datasets.dataset import Split

_CHUNK = 64
"""Examples that a thread prepares before it reports: small enough for a lively progress bar."""
_SHOWN = 5
"""Unreadable files named in a message."""
_MEMORY_SHARE = 0.5
"""Of the machine's memory that prepared pixels may fill."""


@dataclass(frozen=True)
class PreparedSplit:
    """A split after its recipe."""

    pixels: npt.NDArray[np.uint8]
    """`[N, H, W, C]`."""
    class_indices: npt.NDArray[np.int64]
    """`[N]`."""
    content: tuple[str, ...]
    """A line per example that tells its class and content, for the fingerprint."""


def prepare_split(
    split: Split,
    recipe: Recipe,
    *,
    indices: Sequence[int] | None = None,
    on_prepared: Callable[[int], None] = lambda count: None,
) -> PreparedSplit:
    """Read, decode and prepare examples exactly as a gateway would.

    Args:
        split: Where the examples come from.
        recipe: What is done to them; it must yield uint8 pixels.
        indices: Which examples; all when None.
        on_prepared: Called with a number of examples that have become ready.

    Raises:
        InvalidDatasetError: Some files cannot be read or decoded (the first are named), or the
            pixels do not fit into memory.
        InvalidRecipeError: The recipe does not yield uint8 pixels.
    """
    check_trainable(recipe)
    chosen = range(len(split.class_indices)) if indices is None else indices
    shape = (len(chosen), *recipe.output.shape)
    _check_memory(shape)
    pixels = np.empty(shape, dtype=np.uint8)
    content = [""] * len(chosen)
    failures: dict[int, str] = {}

    def prepare_chunk(chunk: Sequence[int]) -> int:
        for place in chunk:
            try:
                example = split.read(chosen[place])
            except InvalidDatasetError as error:
                failures[place] = error.message
                continue
            try:
                pixels[place] = recipe.prepare(example.encoded)
            except InvalidImageError as error:
                failures[place] = f"{example.name}: {error.message}"
            content[place] = f"{example.class_index} {example.content_sha256}"
        return len(chunk)

    places = range(len(chosen))
    chunks = [places[start : start + _CHUNK] for start in places[::_CHUNK]]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for done in threads.map(prepare_chunk, chunks):
            on_prepared(done)
    if failures:
        raise InvalidDatasetError(
            _describe([failures[place] for place in sorted(failures)], len(chosen))
        )
    classes = np.array([split.class_indices[index] for index in chosen], dtype=np.int64)
    return PreparedSplit(pixels, classes, tuple(content))


def check_trainable(recipe: Recipe) -> None:
    """Check that a recipe yields what the networks here take.

    Raises:
        InvalidRecipeError: It does not yield uint8 pixels.
    """
    if recipe.output.dtype != "uint8":
        raise InvalidRecipeError(
            f"the recipe {recipe} yields {recipe.output.dtype}; training needs uint8 pixels, which "
            "the network normalises itself: end the recipe in a size, without scale() or bytes"
        )


def _describe(failures: list[str], total: int) -> str:
    more = f"; and {len(failures) - _SHOWN} more" if len(failures) > _SHOWN else ""
    return (
        f"{len(failures)} of {total} images cannot be used: {'; '.join(failures[:_SHOWN])}{more}. "
        "Repair or remove them"
    )


def _check_memory(shape: tuple[int, ...]) -> None:
    needed = int(np.prod(shape, dtype=np.int64))
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > available * _MEMORY_SHARE:
        raise InvalidDatasetError(
            f"the prepared images take {needed / 2**30:.1f} GiB of the machine's "
            f"{available / 2**30:.1f} GiB; use a --recipe with a smaller size"
        )
