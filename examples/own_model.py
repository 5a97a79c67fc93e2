"""Export a Keras model of one's own: it takes floats in [-1, 1] and gives logits.

    pip install 'heliograph[training]'
    python examples/own_model.py models
    heliograph serve --repository models

The model below is a stand-in for yours. What matters is the call of `export` at the end: the
exported version takes uint8 pixels and gives probabilities, whatever the model itself wants.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import keras
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from heliograph_training import LabelledImage, export

CLASSES = ["even", "odd"]
RECIPE = "decode(grey) | resize(8, 8)"


def normalise(pixels: keras.KerasTensor) -> keras.KerasTensor:
    """Turn pixels in 0 to 255 into what the model was trained on."""
    return pixels / 127.5 - 1.0


def train(pixels: np.ndarray, classes: np.ndarray) -> keras.Model:
    """Train any model at all."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.layers.Input((8, 8, 1)),
            keras.layers.Conv2D(16, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(len(CLASSES)),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    model.fit(normalise(pixels.astype("float32")), classes, epochs=5, verbose=2)
    return model


def encode(pixels: np.ndarray) -> bytes:
    """Return pixels as a PNG file; with images of your own, read their files instead."""
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0]).save(file, "PNG")
    return file.getvalue()


def main(repository: Path) -> None:
    """Train, export, and say where the version is."""
    digits = load_digits()
    pixels = (digits.images * (255 / 16)).astype("uint8")[..., np.newaxis]
    classes = digits.target % 2
    model = train(pixels[64:], classes[64:])

    exported = export(
        model,
        classes=CLASSES,
        recipe=RECIPE,
        # Images that the model has not seen; the version must give the same answers to them
        # wherever it is served. Their true classes are optional.
        examples=[
            LabelledImage(encode(image), CLASSES[index])
            for image, index in zip(pixels[:64], classes[:64], strict=True)
        ],
        repository=repository,
        name="parity",
        activation="softmax",
        normalise=normalise,
    )
    print(f"version {exported.version} of {exported.model} in {exported.path}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "models"))
