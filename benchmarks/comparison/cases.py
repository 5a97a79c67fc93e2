"""The cases: which images, which network, how much time each gets."""

from __future__ import annotations

from dataclasses import dataclass

CONCURRENCIES = (1, 16, 64)
"""Callers at once, each on a connection of its own with one request under way."""


@dataclass(frozen=True)
class Case:
    """Images of one kind and the network that they are for."""

    name: str
    title: str
    width: int
    height: int
    bytes: int
    """Size that the JPEG is made to have, roughly."""
    side: int
    """Side of the square that the network takes."""
    shorter: int
    """Shorter side that images are resized to first; 0 where they are served as they are."""
    classes: int
    network: str
    """`guide` or `mobilenet`."""
    tolerance: float
    """How far a score may be from the reference: resampling differs where images are resized."""
    selection: tuple[int, ...]
    """Concurrencies that every setting is measured at; the best at the highest serves the rest."""
    threads: int
    """TensorFlow's threads in an operation and between operations; 0 leaves it to TensorFlow."""
    batch: int
    """Images of a batch in the limits: 64, or as many as a slow network answers in a second."""
    limit_rounds: int
    """Rounds in which the limits are measured as well."""

    @property
    def recipe(self) -> str:
        """The recipe of the contract."""
        if not self.shorter:
            return f"decode(rgb) | resize({self.side}, {self.side})"
        return f"decode(rgb) | resize_shorter({self.shorter}) | center_crop({self.side})"


CASES = {
    case.name: case
    for case in (
        Case(
            "small",
            "the guide's CNN, 32 × 32, JPEGs of about 1 kB",
            *(32, 32, 1_000, 32, 0, 10, "guide", 1e-3, CONCURRENCIES, 0, 64, 3),
        ),
        Case(
            "mobilenet",
            "MobileNetV2 at 224 × 224, 500 × 375 JPEGs of about 100 kB",
            *(500, 375, 100_000, 224, 256, 1000, "mobilenet", 0.1, (16,), 0, 16, 1),
        ),
        Case(
            "photos",
            "MobileNetV2 at 224 × 224, 1600 × 1200 photos",
            *(1600, 1200, 500_000, 224, 256, 1000, "mobilenet", 0.1, (16,), 0, 16, 1),
        ),
    )
}
