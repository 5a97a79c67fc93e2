"""What a data set is to the rest of training: class names, a recipe, and encoded images.

Training reads images as a client would send them, as the bytes of JPEG or PNG files, and prepares
them by the recipe that the exported version carries. Nothing can differ between the two sides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from heliograph.preprocessing import Recipe

SplitName = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Example:
    """One image with its true class."""

    name: str
    """Unique in the data set, with `/`, for example `test/cat/0012.jpg`."""
    class_index: int
    encoded: bytes
    """A whole JPEG or PNG file."""
    content_sha256: str
    """Of the file, or of the pixels where the data set holds pixels; enters the fingerprint."""


class Split(Protocol):
    """Some of a data set's examples in a fixed order. An example is read when it is asked for."""

    @property
    def class_indices(self) -> tuple[int, ...]:
        """The class of every example, known without reading any."""

    def read(self, index: int) -> Example:
        """Read an example.

        Raises:
            InvalidDatasetError: Its file cannot be read.
        """


@dataclass(frozen=True)
class Dataset:
    """A data set. Class `i` is called `class_names[i]`."""

    name: str
    class_names: tuple[str, ...]
    recipe: Recipe
    """Turns an encoded image into the model's input."""
    splits: Mapping[SplitName, Split]
    """`train` and `test`; `validation` where the data set brings one of its own."""


def read_all(split: Split, indices: Sequence[int] | None = None) -> Iterator[Example]:
    """Read examples one after the other; all of them when no indices are given."""
    for index in range(len(split.class_indices)) if indices is None else indices:
        yield split.read(index)


def spread_over_classes(class_indices: Sequence[int], count: int) -> list[int]:
    """Choose examples of as many classes as possible, as evenly as possible.

    Takes the first example of every class, then the second, and so on.

    Returns:
        At most `count` indices into `class_indices`, in the order they were taken.
    """
    by_class: dict[int, list[int]] = {}
    for index, class_index in enumerate(class_indices):
        by_class.setdefault(class_index, []).append(index)
    queues = [by_class[class_index] for class_index in sorted(by_class)]
    rounds = max(map(len, queues), default=0)
    taken = [queue[turn] for turn in range(rounds) for queue in queues if turn < len(queue)]
    return taken[:count]


def spread_evenly(size: int, count: int | None) -> list[int]:
    """Choose `count` of `size` indices at equal distances, in ascending order; all for None."""
    if count is None or count >= size:
        return list(range(size))
    return [int(position) for position in np.arange(count) * size // count]


def fingerprint(class_names: Sequence[str], examples: Mapping[SplitName, Sequence[str]]) -> str:
    """Return the SHA-256 over classes and examples, in hexadecimal.

    Args:
        class_names: Names in order of index.
        examples: For each split, a line per example that tells its class and content.
    """
    digest = hashlib.sha256()
    for class_name in class_names:
        digest.update(f"class {class_name}\n".encode())
    for split in sorted(examples):
        for line in examples[split]:
            digest.update(f"{split} {line}\n".encode())
    return digest.hexdigest()
