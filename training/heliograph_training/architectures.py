"""Networks for images: uint8 pixels in, probabilities out, normalised inside."""

from __future__ import annotations

import math
from typing import Any

from heliograph_training.augmentation import Augmentation

_LARGEST_MAP = 8
"""Side of the feature map that the dense layers see at most."""


def guide_cnn(
    input_shape: tuple[int, ...],
    classes: int,
    *,
    augmentation: Augmentation | None = None,
    dropout: float = 0.5,
) -> Any:
    """Build the guide's network: three convolutions, two pools, two dense layers, dropout.

    The pools are 2x2 for images of up to 32 pixels, as in the guide, and wider for larger images,
    so that the first dense layer does not grow with the image.

    Args:
        input_shape: Height, width and channels of the uint8 input.
        classes: Number of probabilities.
        augmentation: Applied while training; nothing when None.
        dropout: Fraction of the dense layer's outputs dropped while training.

    Returns:
        A Keras model, not compiled.
    """
    import keras

    layers = keras.layers
    first, second = pool_sizes(max(input_shape[:2]))
    return keras.Sequential(
        [
            layers.Input(input_shape, dtype="uint8", name="image"),
            layers.Rescaling(1 / 255),
            *(augmentation or Augmentation()).layers(),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(first, padding="same"),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(second, padding="same"),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dropout(dropout),
            layers.Dense(classes, activation="softmax", name="probabilities"),
        ],
        name="guide_cnn",
    )


def pool_sizes(side: int) -> tuple[int, int]:
    """Return the windows of the two pools for images of a side in pixels."""
    first = max(2, math.ceil(math.sqrt(side / _LARGEST_MAP)))
    return first, max(2, math.ceil(math.ceil(side / first) / _LARGEST_MAP))
