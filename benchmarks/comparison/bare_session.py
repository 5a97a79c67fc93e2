"""What the network and the decoder can do by themselves, from one caller.

    python -m benchmarks.comparison.bare_session SAVED_MODEL RECIPE IMAGE

Prints images per second as JSON: of the session for each batch size, of the decoder on one core.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from heliograph.preprocessing import parse_recipe

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SECONDS = 0.7
"""Of each figure."""

SLOWEST = 1.5
"""Seconds of a call, after which larger batches are left out."""


def repeat(call: Callable[[], object]) -> float:
    """Call for a while, at least three times; return seconds per call."""
    call()
    calls, start = 0, time.perf_counter()
    while True:
        call()
        calls += 1
        elapsed = time.perf_counter() - start
        if elapsed > SECONDS and calls >= 3:
            return elapsed / calls


def session_rates(saved_model: str, pixels: np.ndarray) -> dict[str, float]:
    """Return images per second by batch size."""
    import tensorflow as tf

    rates = {}
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], saved_model)
        signature = loaded.signature_def["serving_default"]
        predict = session.make_callable(
            signature.outputs["probabilities"].name, [signature.inputs["image"].name]
        )
        for size in SIZES:
            batch = np.repeat(pixels[None], size, axis=0)
            seconds = repeat(partial(predict, batch))
            rates[str(size)] = round(size / seconds, 1)
            if seconds > SLOWEST:
                break
    return rates


def main(saved_model: str, recipe_text: str, image: Path) -> None:
    """Measure and print."""
    recipe, encoded = parse_recipe(recipe_text), image.read_bytes()
    pixels = np.asarray(recipe.prepare(encoded))
    decoder = 1 / repeat(lambda: recipe.prepare(encoded))
    rates = session_rates(saved_model, pixels)
    print(json.dumps({"session": rates, "decoder_one_core": round(decoder, 1)}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
