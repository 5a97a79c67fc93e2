"""What the contestants written in Python share: decoder, network, and shape of the answer.

All of them get the same fast decoder, so that the comparison is one of servers. Nothing here
batches or starts threads: that is what they are compared in.
"""

from __future__ import annotations

import io
import json
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image

VARIABLE = "HELIOGRAPH_COMPARISON"
"""Environment variable with the task as JSON; servers that start processes pass it on."""

TOP_K = 5


@dataclass(frozen=True)
class Task:
    """What a contestant is asked to serve, and how."""

    port: int
    saved_model: str
    """Folder of the SavedModel: uint8 `[N, H, W, 3]` in, probabilities out."""
    keras_model: str
    """File of the same network as Keras saves it."""
    class_names: list[str]
    shorter: int
    """Shorter side that images are resized to; 0 where they are served as they are."""
    crop: int
    """Side of the square that is cut from the middle."""
    settings: dict[str, Any]


def read_task() -> Task:
    """Return the task of this process."""
    return Task(**json.loads(os.environ[VARIABLE]))


def decode(encoded: bytes, task: Task) -> np.ndarray:
    """Return the pixels `[H, W, 3]` that the network takes.

    A large JPEG is decoded at the smallest of libjpeg's scales that is not below the target.
    """
    if not task.shorter:
        return np.asarray(simplejpeg.decode_jpeg(encoded, "RGB"))
    pixels = simplejpeg.decode_jpeg(
        encoded, "RGB", min_height=task.shorter, min_width=task.shorter, min_factor=1
    )
    height, width = pixels.shape[:2]
    scale = task.shorter / min(height, width)
    size = (round(width * scale), round(height * scale))
    # The resampling filter of every torchvision recipe.
    resized = Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR)
    left, top = (size[0] - task.crop) // 2, (size[1] - task.crop) // 2
    return np.asarray(resized.crop((left, top, left + task.crop, top + task.crop)))


class Network:
    """The SavedModel, called by its signature."""

    def __init__(self, task: Task) -> None:
        import tensorflow as tf

        self._constant = tf.constant
        self._model = tf.saved_model.load(task.saved_model)
        self._signature = self._model.signatures["serving_default"]

    def scores(self, pixels: np.ndarray) -> np.ndarray:
        """Return the probabilities `[N, classes]` of uint8 pixels `[N, H, W, 3]`."""
        answer = self._signature(image=self._constant(pixels))["probabilities"]
        return np.asarray(answer)


class Classifier:
    """Images to answers: decoder, network and class names together."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self._network = Network(task)

    def classify(self, images: list[bytes]) -> list[list[dict[str, Any]]]:
        """Return the best classes of each image of a batch."""
        return self.classify_pixels([decode(image, self.task) for image in images])

    def classify_pixels(self, pixels: list[np.ndarray]) -> list[list[dict[str, Any]]]:
        """Return the best classes of each decoded image of a batch."""
        return [best(row, self.task) for row in self._network.scores(np.stack(pixels))]


def best(scores: np.ndarray, task: Task) -> list[dict[str, Any]]:
    """Return names and scores of the best classes of one image."""
    order = np.argsort(scores)[::-1][:TOP_K].tolist()
    return [{"class_name": task.class_names[i], "score": float(scores[i])} for i in order]


def blank_jpeg(task: Task) -> bytes:
    """Return an image to warm up with."""
    side = task.shorter or task.crop
    file = io.BytesIO()
    Image.new("RGB", (side, side)).save(file, "JPEG")
    return file.getvalue()
