"""What a step of a recipe is: the kinds there are, and what each promises."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from heliograph.errors import ImageTooLargeError
from heliograph.preprocessing.arguments import MAX_PIXELS, Argument, argument_text
from heliograph.preprocessing.layout import Extent, Layout
from heliograph.preprocessing.pixels import Pixels, UInt8Array, as_image, size_of

Float32Array: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True)
class Step(ABC):
    """One step of a recipe; steps are values and compare as such."""

    name: ClassVar[str]
    usage: ClassVar[str]

    @classmethod
    @abstractmethod
    def from_arguments(cls, arguments: Sequence[Argument]) -> Self:
        """The step with these arguments; InvalidRecipeError when they do not fit."""

    def arguments(self) -> tuple[Argument, ...]:
        """The arguments that give the step back, without those at their defaults."""
        return tuple(
            getattr(self, field.name)
            for field in fields(self)
            if getattr(self, field.name) != field.default
        )

    def __str__(self) -> str:
        text = ", ".join(argument_text(argument) for argument in self.arguments())
        return f"{self.name}({text})" if text else self.name


class PixelStep(Step):
    """A step from uint8 pixels to uint8 pixels."""

    keeps_geometry: ClassVar[bool] = False
    """Whether every pixel stays where it is."""

    @abstractmethod
    def infer(self, layout: Layout) -> Layout:
        """The layout after the step; InvalidRecipeError when the step can never work."""

    @abstractmethod
    def apply(self, pixels: Pixels) -> Pixels:
        """The pixels after the step; may share memory with those before."""


class Resizing(PixelStep):
    """A step that scales with Pillow's bilinear filter, which averages when it makes smaller."""

    @abstractmethod
    def target(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that an image of this size gets."""

    @abstractmethod
    def covers(self, height: int, width: int, oversampling: int) -> bool:
        """Whether an image of this size is `oversampling` times what the step asks for."""

    @abstractmethod
    def extents(self) -> Layout:
        """The layout after the step when the size before it is not fixed; one channel."""

    def infer(self, layout: Layout) -> Layout:
        """A fixed size stays fixed."""
        if layout.fixed is None:
            after = self.extents()
            return Layout(layout.channels, after.height, after.width, after.shorter)
        height, width = self.target(*layout.fixed)
        return Layout(layout.channels, Extent.exactly(height), Extent.exactly(width))

    def apply(self, pixels: Pixels) -> Pixels:
        """Resize, unless the image has the size already."""
        size = size_of(pixels)
        height, width = self.target(*size)
        if (height, width) == size:
            return pixels
        check_result(self, size, (height, width))
        return as_image(pixels).resize((width, height), Image.Resampling.BILINEAR)


class FloatStep(Step):
    """A last step, from uint8 pixels to float32."""

    def check(self, layout: Layout) -> None:
        """Raise InvalidRecipeError when the step does not fit the pixels."""

    @abstractmethod
    def apply(self, pixels: UInt8Array) -> Float32Array:
        """The values, `[H, W, C]`, C-contiguous, in memory of their own."""


def check_result(step: Step, before: tuple[int, int], after: tuple[int, int]) -> None:
    """Raise ImageTooLargeError when a step would make more than MAX_PIXELS of an image."""
    if math.prod(after) > MAX_PIXELS:
        raise ImageTooLargeError(
            f"{step} would make {after[1]} x {after[0]} pixels of an image of "
            f"{before[1]} x {before[0]}; send an image that is less elongated"
        )
