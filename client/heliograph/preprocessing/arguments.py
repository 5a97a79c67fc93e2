"""The arguments of a step: their canonical text, and the checks that every step shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from heliograph.errors import InvalidRecipeError

Argument: TypeAlias = int | float | str

MAX_SIDE = 16_384
"""Largest side that a recipe may ask for, in pixels."""
MAX_PIXELS = 50_000_000
"""Largest image that a step may make, height times width."""

SMALLEST_NUMBER, LARGEST_NUMBER = 1e-12, 1e12
"""Bounds of a number other than 0: no pixel computed with such numbers overflows float32."""


def argument_text(argument: Argument) -> str:
    """The canonical text: integral numbers without a point, others as short as they read back."""
    if isinstance(argument, float) and argument.is_integer() and abs(argument) < 1e15:
        return str(int(argument))
    return str(argument)


def expect(usage: str, arguments: Sequence[Argument], least: int, most: int) -> None:
    """Raise InvalidRecipeError when there are too few or too many arguments."""
    if not least <= len(arguments) <= most:
        raise InvalidRecipeError(f"a step has {len(arguments)} arguments; write {usage}")


def side(name: str, argument: Argument) -> int:
    """A height, width or side in pixels, 1 to MAX_SIDE."""
    if not isinstance(argument, int) or not 1 <= argument <= MAX_SIDE:
        raise InvalidRecipeError(
            f"{name} cannot make a side of {argument}; give an integer from 1 to {MAX_SIDE}"
        )
    return argument


def area(name: str, height: Argument, width: Argument) -> tuple[int, int]:
    """A height and width of at most MAX_PIXELS together."""
    rows, columns = side(name, height), side(name, width)
    if rows * columns > MAX_PIXELS:
        raise InvalidRecipeError(
            f"{name}({rows}, {columns}) is more than {MAX_PIXELS} pixels; ask for fewer"
        )
    return rows, columns


def number(name: str, argument: Argument) -> float:
    """A number: 0, or of a size from SMALLEST_NUMBER to LARGEST_NUMBER."""
    if isinstance(argument, str):
        raise InvalidRecipeError(f"{name} cannot compute with {argument!r}; give a number")
    value = float(argument)
    if value and not SMALLEST_NUMBER <= abs(value) <= LARGEST_NUMBER:
        raise InvalidRecipeError(
            f"{name} cannot compute with {value:.3g}; "
            f"give 0 or a number from {SMALLEST_NUMBER:g} to {LARGEST_NUMBER:g}"
        )
    return value
