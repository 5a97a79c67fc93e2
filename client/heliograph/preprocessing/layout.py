"""What is known of the pixels at a point of a recipe, before there is an image."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Extent:
    """The bounds of a side, in pixels; `most` is None when nothing bounds it."""

    least: int = 1
    most: int | None = None

    @classmethod
    def exactly(cls, side: int) -> Extent:
        """The extent of a side that is the same for every image."""
        return cls(side, side)

    def at_least(self, side: int) -> Extent:
        """This extent after padding to at least `side`."""
        return Extent(max(self.least, side), None if self.most is None else max(self.most, side))

    def reaches(self, side: int) -> bool:
        """Whether some image has at least `side`."""
        return self.most is None or self.most >= side

    @property
    def fixed(self) -> int | None:
        """The length of the side when it is the same for every image."""
        return self.least if self.least == self.most else None


@dataclass(frozen=True, slots=True)
class Layout:
    """Channels and extents of uint8 pixels `[H, W, C]`."""

    channels: int
    height: Extent = Extent()
    width: Extent = Extent()
    shorter: int | None = None
    """Length of the shorter side when that is known and the sides are not."""

    @property
    def fixed(self) -> tuple[int, int] | None:
        """Height and width when they are the same for every image."""
        height, width = self.height.fixed, self.width.fixed
        return None if height is None or width is None else (height, width)
