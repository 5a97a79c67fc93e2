"""Makes what a case needs: images, a network that tells them apart, its exports, right answers.

    python -m benchmarks.comparison.workload CASE FOLDER

Everything is generated from seeds. The network has random weights; its last layer is set so that
the images differ in their best class, since a network that answers always the same would let every
mistake pass.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.comparison.cases import CASES, Case
from PIL import Image

from heliograph.preprocessing import parse_recipe

MODEL = "images"
EXAMPLES = 32
CHECKED = 4
"""Images whose answers every contestant must give; the first is the one that is sent for time."""

TOP_K = 5
GRAIN = 9.0
"""Standard deviation of the noise in large images, in steps of a pixel."""

SPREAD = 3.0
"""Standard deviation of a logit over the images."""


def make_image(case: Case, seed: int) -> bytes:
    """Return a JPEG with structure at every scale, as photos have, of about the wanted size."""
    random = np.random.default_rng(seed)
    total = np.zeros((case.height, case.width, 3), np.float32)
    cells, weight = 4, 1.0
    while cells <= max(8, min(case.width, case.height) // 2):
        coarse = random.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        layer = Image.fromarray(coarse).resize((case.width, case.height), Image.Resampling.BICUBIC)
        total += weight * (np.asarray(layer, np.float32) - 128)
        cells, weight = cells * 2, weight * 0.6
    if case.shorter:  # the grain of a sensor; an icon has none left
        total += random.normal(0, GRAIN, (case.height, case.width, 1)).astype(np.float32)
    pixels = np.clip(total + 128, 0, 255).astype(np.uint8)
    files = [encode(pixels, quality) for quality in range(50, 98, 4)]
    return min(files, key=lambda file: abs(len(file) - case.bytes))


def encode(pixels: np.ndarray, quality: int) -> bytes:
    """Return pixels as a JPEG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return file.getvalue()


def make_network(case: Case, pixels: np.ndarray) -> Any:
    """Build the network and let its last layer tell the images apart."""
    import keras

    from heliograph_training.architectures import guide_cnn

    keras.utils.set_random_seed(0)
    shape = (case.side, case.side, 3)
    if case.network == "guide":
        model = guide_cnn(shape, case.classes, augmentation=None, dropout=0.0)
    else:
        image = keras.layers.Input(shape, dtype="uint8", name="image")
        scaled = keras.layers.Rescaling(1 / 127.5, offset=-1)(image)
        network = keras.applications.MobileNetV2(
            shape, weights=None, classes=case.classes, include_top=False, pooling="avg"
        )
        scores = keras.layers.Dense(case.classes, activation="softmax")(network(scaled))
        model = keras.Model(image, scores)
    features = keras.Model(model.inputs, model.layers[-1].input).predict(pixels, verbose=0)
    kernel, _ = model.layers[-1].get_weights()
    logits = (features - features.mean(0)) @ kernel
    kernel *= SPREAD / logits.std()
    model.layers[-1].set_weights([kernel, -features.mean(0) @ kernel])
    return model


def prepare(case: Case, folder: Path) -> None:
    """Write everything into a folder."""
    from heliograph_training import LabelledImage, export

    recipe = parse_recipe(case.recipe)
    images = [make_image(case, seed) for seed in range(EXAMPLES)]
    pixels = np.stack([np.asarray(recipe.prepare(image)) for image in images])
    model = make_network(case, pixels)
    names = [f"class-{index}" for index in range(case.classes)]
    version = export(
        model,
        classes=names,
        recipe=case.recipe,
        examples=[LabelledImage(image, names[0]) for image in images],
        repository=folder / "models",
        name=MODEL,
    )
    model.save(folder / "network.keras")
    scores = model.predict(pixels, verbose=0)
    certain = np.argsort(-np.ptp(np.sort(scores)[:, -2:], axis=1), kind="stable")
    distinct: list[int] = []
    for index in certain:  # the clearest images, each of another class
        if scores[index].argmax() not in [scores[other].argmax() for other in distinct]:
            distinct.append(int(index))
    chosen = distinct[:CHECKED]
    if len(chosen) < CHECKED:
        raise SystemExit(f"the network of {case.name} does not tell {CHECKED} images apart")
    reference = []
    for number, index in enumerate(chosen):
        (folder / f"{number}.jpg").write_bytes(images[index])
        order = np.argsort(scores[index])[::-1][:TOP_K]
        reference.append([[names[i], float(scores[index][i])] for i in order])
    document = {
        "class_names": names,
        "saved_model": str(version.path),
        "keras_model": str(folder / "network.keras"),
        "image_bytes": [len(images[index]) for index in chosen],
        "reference": reference,
    }
    (folder / "workload.json").write_text(json.dumps(document))


if __name__ == "__main__":
    prepare(CASES[sys.argv[1]], Path(sys.argv[2]))
