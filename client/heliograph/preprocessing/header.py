"""What is known of an encoded image before a pixel is decoded."""

from __future__ import annotations

from dataclasses import dataclass

from heliograph.preprocessing.exif import swaps_sides


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """Format and size of an encoded image, as its header states them."""

    format: str
    """`JPEG` or `PNG`."""
    height: int
    """Rows as stored in the file, at least 1."""
    width: int
    """Pixels per row as stored in the file, at least 1."""
    orientation: int
    """Exif orientation, 1 (upright) to 8."""

    @property
    def upright_height(self) -> int:
        """Rows after the image is turned upright."""
        return self.width if swaps_sides(self.orientation) else self.height

    @property
    def upright_width(self) -> int:
        """Pixels per row after the image is turned upright."""
        return self.height if swaps_sides(self.orientation) else self.width
