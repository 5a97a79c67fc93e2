"""Foreign SavedModels and Keras models, made once per session."""

from __future__ import annotations

import io
import resource
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from heliograph_training.golden_recording import LabelledImage

CLASSES = ("dark", "middle", "bright")
SIDE = 6


@pytest.fixture(scope="session")
def examples() -> list[LabelledImage]:
    """Return 32 images, JPEG and PNG, of all brightnesses and sizes."""
    generator = np.random.default_rng(0)
    images = []
    for number in range(32):
        level = number * 8
        size = (SIDE + number, SIDE + 40 - number, 3)
        pixels = np.clip(generator.integers(level - 5, level + 5, size), 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG" if number % 2 else "JPEG")
        images.append(LabelledImage(file.getvalue(), CLASSES[min(level // 86, 2)]))
    return images


@pytest.fixture(scope="session")
def examples_folder(
    examples: Sequence[LabelledImage], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return a folder with the examples, one folder per class."""
    root = tmp_path_factory.mktemp("examples")
    for number, image in enumerate(examples):
        suffix = "jpg" if image.encoded.startswith(b"\xff\xd8") else "png"
        path = root / image.class_name / f"{number}.{suffix}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(image.encoded)
    return root


@pytest.fixture(scope="session")
def keras_model() -> Callable[..., Any]:
    """Return a function that builds a small Keras model with float input."""

    def build(activation: str | None = None, *, classes: int = 3) -> Any:
        import keras

        keras.utils.set_random_seed(1)
        return keras.Sequential(
            [
                keras.layers.Input((SIDE, SIDE, 3)),
                keras.layers.Conv2D(4, 3, activation="relu"),
                keras.layers.BatchNormalization(),
                keras.layers.GlobalAveragePooling2D(),
                keras.layers.Dropout(0.5),
                keras.layers.Dense(classes, activation=activation),
            ]
        )

    return build


@pytest.fixture(scope="session")
def save_foreign(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that saves a function of TensorFlow as somebody else would."""

    def save(function: Callable[[Any], Any], *specs: Any, **signatures: Any) -> Path:
        import tensorflow as tf

        directory = tmp_path_factory.mktemp("foreign")
        module = tf.Module()
        module.serve = tf.function(function, input_signature=list(specs))
        tf.saved_model.save(
            module, str(directory), signatures=signatures or {"serving_default": module.serve}
        )
        return directory

    return save


@pytest.fixture
def full_disk() -> Callable[[int], AbstractContextManager[None]]:
    """Return a context manager in which no file can grow beyond a number of bytes.

    It stands for a full disk, and needs no file system of its own.
    """

    @contextmanager
    def limit(size: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limit
