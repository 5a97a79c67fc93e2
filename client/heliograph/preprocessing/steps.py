"""The steps of a recipe. A new one is a class here and a line in the table at the end.

Every step checks its arguments when a recipe is parsed, says then what it does to the size of an
image (`infer`), and does it when an image comes (`apply`). What it does belongs to RECIPE_VERSION.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from heliograph.errors import InvalidImageError, InvalidRecipeError
from heliograph.preprocessing.arguments import (
    Argument,
    area,
    expect,
    number,
    side,
)
from heliograph.preprocessing.layout import Extent, Layout
from heliograph.preprocessing.pixels import Pixels, UInt8Array, as_array, size_of
from heliograph.preprocessing.step import (
    Float32Array,
    FloatStep,
    PixelStep,
    Resizing,
    Step,
    check_result,
)

_CHANNELS = {"grey": 1, "rgb": 3}


@dataclass(frozen=True)
class Decode(Step):
    """Decode the image, turn it upright, and convert it to colour or grey."""

    name: ClassVar[str] = "decode"
    usage: ClassVar[str] = "decode(rgb) or decode(grey)"

    colour: str

    @classmethod
    def from_arguments(cls, arguments: Sequence[Argument]) -> Self:
        """Take `rgb` or `grey`."""
        expect(cls.usage, arguments, 1, 1)
        colour = arguments[0]
        if not isinstance(colour, str) or colour not in _CHANNELS:
            raise InvalidRecipeError(f"decode cannot give {colour!r}; write {cls.usage}")
        return cls(colour)

    @property
    def channels(self) -> int:
        """3 for rgb, 1 for grey."""
        return _CHANNELS[self.colour]


@dataclass(frozen=True)
class Bytes(Step):
    """Check header and size, and pass the encoded image on as it is."""

    name: ClassVar[str] = "bytes"
    usage: ClassVar[str] = "bytes"

    @classmethod
    def from_arguments(cls, arguments: Sequence[Argument]) -> Self:
        """Take nothing."""
        expect(cls.usage, arguments, 0, 0)
        return cls()


@dataclass(frozen=True)
class Resize(Resizing):
    """Resize to a height and width, whatever the aspect was."""

    name: ClassVar[str] = "resize"
    usage: ClassVar[str] = "resize(height, width)"

    height: int
    width: int

    @classmethod
    def from_arguments(cls, arguments: Sequence[Argument]) -> Self:
        """Take height and width."""
        expect(cls.usage, arguments, 2, 2)
        return cls(*area(cls.name, arguments[0], arguments[1]))

    def target(self, height: int, width: int) -> tuple[int, int]:
        """The same for every image."""
        return self.height, self.width

    def covers(self, height: int, width: int, oversampling: int) -> bool:
        """In both directions."""
        return height >= oversampling * self.height and width >= oversampling * self.width

    def extents(self) -> Layout:
        """A fixed size."""
        return Layout(1, Extent.exactly(self.height), Extent.exactly(self.width))


@dataclass(frozen=True)
class ResizeShorter(Resizing):
    """Give the shorter side a length and keep the aspect; the longer side is rounded down."""

    name: ClassVar[str] = "resize_shorter"
    usage: ClassVar[str] = "resize_shorter(side)"

    side: int

    @classmethod
    def from_arguments(cls, arguments: Sequence[Argument]) -> Self:
        """Take the length of the shorter side."""
        expect(cls.usage, arguments, 1, 1)
        return cls(side(cls.name, arguments[0]))

    def target(self, height: int, width: int) -> tuple[int, int]:
        """The shorter side becomes `side`."""
        if height <= width:
            return self.side, self.side * width // height
        return self.side * height // width, self.side

    def covers(self, height: int, width: int, oversampling: int) -> bool:
        """By the shorter side."""
        return min(height, width) >= oversampling * self.side

    def extents(self) -> Layout:
        """Both sides are at least the shorter one."""
        return Layout(1, Extent(self.side), Extent(self.side), shorter=self.side)


@dataclass(frozen=True)
class ResizeLonger(Resizing):
    """Give the longer side a length and keep the aspect; the shorter is rounded down, not to 0."""

    name: ClassVar[str] = "resize_longer"
    usage: ClassVar[str] = "resize_longer(side)"

    side: int

    @classmethod
    def from_arguments(cls, arguments: Sequence[Argument]) -> Self:
        """Take the length of the longer side."""
        expect(cls.usage, arguments, 1, 1)
        return cls(side(cls.name, arguments[0]))

    def target(self, height: int, width: int) -> tuple[int, int]:
        """The longer side becomes `side`."""
        if height >= width:
            return self.side, max(1, self.side * width // height)
        return max(1, self.side * height // width), self.side

    def covers(self, height: int, width: int, oversampling: int) -> bool:
        """By the longer side."""
        return max(height, width) >= oversampling * self.side

    def extents(self) -> Layout:
        """No side is more than the longer one."""
        return Layout(1, Extent(1, self.side), Extent(1, self.side))


@dataclass(frozen=True)
class CenterCrop(PixelStep):
    """Cut a rectangle out of the middle; of an odd margin the smaller part is at top and left."""

    name: ClassVar[str] = "center_crop"
    usage: ClassVar[str] = "center_crop(height, width) or center_crop(side)"

    height: int
    width: int

    @classmethod
    def from_arguments(cls, arguments: Sequence[Argument]) -> Self:
        """Take height and width, or one side of a square."""
        expect(cls.usage, arguments, 1, 2)
        return cls(*area(cls.name, arguments[0], arguments[-1]))

    def infer(self, layout: Layout) -> Layout:
        """The size is fixed; what comes before must be able to reach it."""
        too_large = layout.shorter is not None and min(self.height, self.width) > layout.shorter
        if too_large or not (
            layout.height.reaches(self.height) and layout.width.reaches(self.width)
        ):
            raise InvalidRecipeError(
                f"{self} asks for more than the steps before it leave; crop less, resize larger, "
                f"or put pad({self.height}, {self.width}) before it"
            )
        return Layout(layout.channels, Extent.exactly(self.height), Extent.exactly(self.width))

    def apply(self, pixels: Pixels) -> Pixels:
        """Crop; InvalidImageError when the image is smaller."""
        height, width = size_of(pixels)
        if height < self.height or width < self.width:
            raise InvalidImageError(
                f"{self} needs at least {self.width} x {self.height} pixels and the image leaves "
                f"{width} x {height}; send a larger image"
            )
        top, left = (height - self.height) // 2, (width - self.width) // 2
        return as_array(pixels)[top : top + self.height, left : left + self.width]


@dataclass(frozen=True)
class Pad(PixelStep):
    """Put a smaller image in the middle of a plain ground; a side that is large enough stays.

    Of an odd margin the smaller part is at top and left.
    """

    name: ClassVar[str] = "pad"
    usage: ClassVar[str] = "pad(height, width) or pad(height, width, value)"

    height: int
    width: int
    value: int = 0

    @classmethod
    def from_arguments(cls, arguments: Sequence[Argument]) -> Self:
        """Take height, width, and the value of the ground in every channel, by default black."""
        expect(cls.usage, arguments, 2, 3)
        value = arguments[2] if len(arguments) == 3 else 0
        if not isinstance(value, int) or not 0 <= value <= 255:
            raise InvalidRecipeError(f"pad cannot fill with {value}; give an integer from 0 to 255")
        return cls(*area(cls.name, arguments[0], arguments[1]), value)

    def infer(self, layout: Layout) -> Layout:
        """Both sides become at least what was asked for."""
        height, width = layout.height.at_least(self.height), layout.width.at_least(self.width)
        return Layout(layout.channels, height, width)

    def apply(self, pixels: Pixels) -> Pixels:
        """Pad, unless the image is large enough already."""
        size = size_of(pixels)
        height, width = max(size[0], self.height), max(size[1], self.width)
        if (height, width) == size:
            return pixels
        check_result(self, size, (height, width))
        array = as_array(pixels)
        padded = np.full((height, width, array.shape[2]), self.value, np.uint8)
        top, left = (height - size[0]) // 2, (width - size[1]) // 2
        padded[top : top + size[0], left : left + size[1]] = array
        return padded


@dataclass(frozen=True)
class Bgr(PixelStep):
    """Reverse the channels, for models that take blue first."""

    name: ClassVar[str] = "bgr"
    usage: ClassVar[str] = "bgr"
    keeps_geometry: ClassVar[bool] = True

    @classmethod
    def from_arguments(cls, arguments: Sequence[Argument]) -> Self:
        """Take nothing."""
        expect(cls.usage, arguments, 0, 0)
        return cls()

    def infer(self, layout: Layout) -> Layout:
        """The size stays; there must be three channels."""
        if layout.channels != 3:
            raise InvalidRecipeError("bgr needs colour; begin the recipe with decode(rgb)")
        return layout

    def apply(self, pixels: Pixels) -> Pixels:
        """Reverse the last axis."""
        return as_array(pixels)[:, :, ::-1]


@dataclass(frozen=True)
class Scale(FloatStep):
    """float32(pixel) * factor + offset, each operation rounded to float32."""

    name: ClassVar[str] = "scale"
    usage: ClassVar[str] = "scale(factor) or scale(factor, offset)"

    factor: float
    offset: float = 0.0

    @classmethod
    def from_arguments(cls, arguments: Sequence[Argument]) -> Self:
        """Take the factor and, unless it is 0, the offset."""
        expect(cls.usage, arguments, 1, 2)
        numbers = [number(cls.name, argument) for argument in arguments]
        if numbers[0] == 0:
            raise InvalidRecipeError("scale cannot multiply by 0; give another factor")
        return cls(*numbers)

    def apply(self, pixels: UInt8Array) -> Float32Array:
        """Multiply, then add."""
        values = pixels.astype(np.float32, order="C")
        values *= np.float32(self.factor)
        if self.offset:
            values += np.float32(self.offset)
        return values


@dataclass(frozen=True)
class Normalize(FloatStep):
    """(float32(pixel) - mean) / std of each channel, each operation rounded to float32."""

    name: ClassVar[str] = "normalize"
    usage: ClassVar[str] = "normalize(mean, ..., std, ...) with a mean and a std for every channel"

    means: tuple[float, ...]
    deviations: tuple[float, ...]

    @classmethod
    def from_arguments(cls, arguments: Sequence[Argument]) -> Self:
        """Take the means of the channels, then their deviations, in pixel values (0 to 255)."""
        numbers = tuple(number(cls.name, argument) for argument in arguments)
        channels, rest = divmod(len(numbers), 2)
        if rest or channels not in _CHANNELS.values():
            raise InvalidRecipeError(f"a step has {len(numbers)} arguments; write {cls.usage}")
        if min(numbers[channels:]) <= 0:
            raise InvalidRecipeError("normalize cannot divide by 0 or less; give stds above 0")
        return cls(numbers[:channels], numbers[channels:])

    def arguments(self) -> tuple[Argument, ...]:
        """Means, then deviations."""
        return self.means + self.deviations

    def check(self, layout: Layout) -> None:
        """There is a mean for every channel."""
        if len(self.means) != layout.channels:
            raise InvalidRecipeError(
                f"normalize has means for {len(self.means)} channels and the pixels have "
                f"{layout.channels}; write {self.usage}"
            )

    def apply(self, pixels: UInt8Array) -> Float32Array:
        """Subtract, then divide."""
        values = pixels.astype(np.float32, order="C")
        values -= np.array(self.means, np.float32)
        values /= np.array(self.deviations, np.float32)
        return values


STEPS: dict[str, type[Step]] = {
    step.name: step
    for step in (
        Decode,
        Bytes,
        Resize,
        ResizeShorter,
        ResizeLonger,
        CenterCrop,
        Pad,
        Bgr,
        Scale,
        Normalize,
    )
}
"""Every step by its name."""
