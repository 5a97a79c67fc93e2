"""Recipes: one string that says how an encoded image becomes the tensor a model takes.

    recipe   = step { "|" step }
    step     = name [ "(" [ argument { "," argument } ] ")" ]
    argument = integer | float | word

The first step is `decode(...)`, the last may turn pixels into float32, and the shape must be fixed
at the end; or the recipe is `bytes` alone.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from heliograph.errors import InvalidRecipeError, InvalidTensorError
from heliograph.preprocessing.arguments import Argument
from heliograph.preprocessing.decoding import decode, read_header
from heliograph.preprocessing.header import ImageHeader
from heliograph.preprocessing.layout import Layout
from heliograph.preprocessing.limits import DEFAULT_LIMITS, ImageLimits
from heliograph.preprocessing.pixels import Pixels, UInt8Array, as_array, to_channels
from heliograph.preprocessing.reduction import reduction
from heliograph.preprocessing.step import FloatStep, PixelStep, Step
from heliograph.preprocessing.steps import STEPS, Bytes, Decode

RECIPE_VERSION = 1
"""Version of what the steps mean. It changes when any image would give other pixels."""

MAX_LENGTH = 1000
"""Characters of a recipe."""

_STEP = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*(?:\(([^()]*)\)\s*)?", re.ASCII)
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_FLOAT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """Dtype and shape of what a recipe makes of one image."""

    dtype: Literal["uint8", "float32", "bytes"]
    """Type of the values; `bytes` when the encoded image is passed on."""
    shape: tuple[int, ...]
    """Height, width, channels; `()` for `bytes`."""


@dataclass(frozen=True)
class Recipe:
    """A parsed recipe. `str(recipe)` is its canonical text; equal steps make equal recipes."""

    steps: tuple[Step, ...]
    """The steps in order. InvalidRecipeError when they do not fit together."""
    output: ArraySpec = field(init=False, compare=False)
    """What comes out, the same for every image."""
    _channels: int = field(init=False, compare=False, repr=False)
    _pixel_steps: tuple[PixelStep, ...] = field(init=False, compare=False, repr=False)
    _float_step: FloatStep | None = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        channels, pixel_steps, float_step = _split(self.steps)
        object.__setattr__(self, "_channels", channels)
        object.__setattr__(self, "_pixel_steps", pixel_steps)
        object.__setattr__(self, "_float_step", float_step)
        object.__setattr__(self, "output", _infer(channels, pixel_steps, float_step))

    def __str__(self) -> str:
        return " | ".join(str(step) for step in self.steps)

    def prepare(
        self,
        encoded: bytes,
        limits: ImageLimits = DEFAULT_LIMITS,
        header: ImageHeader | None = None,
    ) -> NDArray[Any] | bytes:
        """Make the input of the model out of one encoded image.

        Args:
            encoded: A whole JPEG or PNG file.
            limits: What is refused before it is decoded.
            header: What `read_header` said of the image with these limits, for who has asked.

        Returns:
            A C-contiguous array `[H, W, C]` of the dtype and shape of `output`, possibly read-only;
            or the encoded image itself when the recipe is `bytes`.

        Raises:
            InvalidImageError: One of its family, for whatever is wrong with the image.
        """
        if header is None:
            header = read_header(encoded, limits)
        if not self._channels:
            return encoded
        denominator = 1
        if header.format == "JPEG":
            denominator = reduction(header.upright_height, header.upright_width, self._pixel_steps)
        return self._finish(decode(encoded, header, self._channels, denominator))

    def prepare_pixels(self, pixels: UInt8Array) -> NDArray[Any]:
        """Make the input of the model out of decoded pixels: the same steps but the decoding.

        Args:
            pixels: uint8, `[H, W, 3]` (RGB), `[H, W, 1]` or `[H, W]` (grey).

        Returns:
            As `prepare`; it may share memory with the pixels.

        Raises:
            InvalidTensorError: The array is none of these, or the recipe is `bytes`.
            InvalidImageError: A step cannot work on an image of this size.
        """
        if not self._channels:
            raise InvalidTensorError(
                "the model takes encoded images; send a JPEG or PNG file, not pixels"
            )
        if pixels.dtype != np.uint8:
            raise InvalidTensorError(
                f"pixels must be uint8, not {pixels.dtype}; convert them to 0 to 255"
            )
        if pixels.ndim == 2:
            pixels = pixels[:, :, np.newaxis]
        if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or not pixels.size:
            raise InvalidTensorError(
                f"pixels must have the shape [H, W, 3], [H, W, 1] or [H, W], "
                f"not {list(pixels.shape)}"
            )
        return self._finish(to_channels(pixels, self._channels))

    def _finish(self, pixels: Pixels) -> NDArray[Any]:
        for step in self._pixel_steps:
            pixels = step.apply(pixels)
        array = as_array(pixels)
        if self._float_step is not None:
            return self._float_step.apply(array)
        return np.ascontiguousarray(array)


def parse_recipe(text: str) -> Recipe:
    """Parse a recipe, for example `decode(rgb) | resize_shorter(256) | center_crop(224)`.

    `str(parse_recipe(text))` is the canonical text, and parses to an equal recipe.

    Raises:
        InvalidRecipeError: It does not parse, a step is unknown or has wrong arguments, or the
            steps do not fit together.
    """
    if len(text) > MAX_LENGTH:
        raise InvalidRecipeError(
            f"the recipe has {len(text)} characters; write at most {MAX_LENGTH}"
        )
    if not text.strip():
        raise InvalidRecipeError("the recipe is empty; begin with decode(rgb), for example")
    return Recipe(tuple(_parse_step(part) for part in text.split("|")))


def _parse_step(text: str) -> Step:
    match = _STEP.fullmatch(text)
    if match is None:
        raise InvalidRecipeError(
            f"cannot read the step {_quote(text)}; write name(argument, ...), with | between steps"
        )
    name, arguments = match.groups(default="")
    step = STEPS.get(name)
    if step is None:
        close = difflib.get_close_matches(name, STEPS, n=1)
        meant = f"did you mean {close[0]}?" if close else f"the steps are {', '.join(STEPS)}"
        raise InvalidRecipeError(f"there is no step {_quote(name)}; {meant}")
    if not arguments.strip():
        return step.from_arguments(())
    return step.from_arguments([_parse_argument(name, part) for part in arguments.split(",")])


def _parse_argument(step: str, text: str) -> Argument:
    text = text.strip()
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _WORD.fullmatch(text):
        return text
    raise InvalidRecipeError(
        f"cannot read the argument {_quote(text)} of {step}; write a number, or a word such as rgb"
    )


def _quote(text: str) -> str:
    text = text.strip()
    return repr(text if len(text) <= 40 else text[:40] + "...")


def _split(steps: Sequence[Step]) -> tuple[int, tuple[PixelStep, ...], FloatStep | None]:
    """Channels, the steps on pixels, and the step to float32; `bytes` has 0 channels."""
    if not steps:
        raise InvalidRecipeError("the recipe has no steps; begin with decode(rgb), for example")
    first, *rest = steps
    if isinstance(first, Bytes):
        if rest:
            raise InvalidRecipeError("bytes passes the encoded image on; nothing can follow it")
        return 0, (), None
    if not isinstance(first, Decode):
        raise InvalidRecipeError(
            f"the recipe begins with {first}; begin with decode(rgb), decode(grey) or bytes"
        )
    last = rest[-1] if rest else None
    float_step = last if isinstance(last, FloatStep) else None
    if float_step is not None:
        rest.pop()
    pixel_steps = []
    for step in rest:
        if isinstance(step, FloatStep):
            raise InvalidRecipeError(f"{step} gives float32, on which no step works; put it last")
        if not isinstance(step, PixelStep):
            raise InvalidRecipeError(f"{step} can only be the first step; leave it out")
        pixel_steps.append(step)
    return first.channels, tuple(pixel_steps), float_step


def _infer(
    channels: int, pixel_steps: Sequence[PixelStep], float_step: FloatStep | None
) -> ArraySpec:
    if not channels:
        return ArraySpec("bytes", ())
    layout = Layout(channels)
    for step in pixel_steps:
        layout = step.infer(layout)
    if layout.fixed is None:
        raise InvalidRecipeError(
            "the recipe leaves images of different sizes; end it with resize(height, width) or "
            "center_crop(height, width)"
        )
    if float_step is not None:
        float_step.check(layout)
    return ArraySpec("float32" if float_step else "uint8", (*layout.fixed, channels))
