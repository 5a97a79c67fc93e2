"""Augmentation: small random changes of the training images, as layers inside the network.

The layers work only while the network is trained; an exported network does not contain them.
Which changes leave a class what it is depends on the data: a mirrored cat is a cat, a mirrored
digit is not a digit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from heliograph.errors import ConfigurationError


@dataclass(frozen=True)
class Augmentation:
    """How much training images may change."""

    flip: bool = False
    """Mirror left and right, in half of the cases."""
    shift: float = 0.0
    """Largest shift in each direction, as a fraction of the side, rounded to whole pixels."""
    zoom: float = 0.0
    """Largest change of scale, up or down, as a fraction."""
    noise: float = 0.0
    """Standard deviation of Gaussian noise, on pixels in [0, 1]."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense.

        Raises:
            ConfigurationError: A fraction is not in [0, 1).
        """
        for name in ("shift", "zoom", "noise"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigurationError(f"{name} must be at least 0 and below 1")

    def layers(self) -> list[Any]:
        """Return the Keras layers; they take float pixels `[N, H, W, C]` in [0, 1].

        Pixels that are shifted in repeat the edge.
        """
        import keras

        layers = []
        if self.flip:
            layers.append(keras.layers.RandomFlip("horizontal"))
        if self.shift:
            # By whole pixels: interpolation would blur what the network never sees blurred.
            layers.append(
                keras.layers.RandomTranslation(
                    self.shift, self.shift, fill_mode="nearest", interpolation="nearest"
                )
            )
        if self.zoom:
            layers.append(keras.layers.RandomZoom(self.zoom, fill_mode="nearest"))
        if self.noise:
            layers.append(keras.layers.GaussianNoise(self.noise))
        return layers
