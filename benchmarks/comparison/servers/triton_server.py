"""Triton through pytriton: Triton batches, Python decodes and predicts.

Documentation: `@batch`, a `DynamicBatcher` with a short queue delay, several inference callables.
"""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Callable
from typing import Any

import numpy as np
from benchmarks.comparison.servers.network import TOP_K, Classifier, read_task
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


def make_callable(classifier: Classifier) -> Callable[..., Any]:
    """Return the function that Triton calls with a batch."""

    @batch
    def classify(image: np.ndarray) -> dict[str, np.ndarray]:
        answers = classifier.classify(list(image[:, 0]))
        names = [[row["class_name"].encode() for row in answer] for answer in answers]
        scores = [[row["score"] for row in answer] for answer in answers]
        return {"labels": np.array(names, dtype=object), "scores": np.array(scores, np.float32)}

    wrapped: Callable[..., Any] = classify
    return wrapped


def main() -> None:
    """Serve."""
    task = read_task()
    settings = task.settings
    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=task.port,
        grpc_address="127.0.0.1",
        grpc_port=task.port + 1,
        allow_metrics=False,
        log_verbose=0,
    )
    # Triton's Python stub must load the library of this interpreter, not another 3.x of the system.
    libraries = [sysconfig.get_config_var("LIBDIR"), os.environ.get("LD_LIBRARY_PATH", "")]
    os.environ["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, libraries))
    classifier = Classifier(task)
    with Triton(config=config) as triton:
        triton.bind(
            model_name="images",
            infer_func=[make_callable(classifier) for _ in range(settings["callables"])],
            inputs=[Tensor(name="image", dtype=bytes, shape=(1,))],
            outputs=[
                Tensor(name="labels", dtype=bytes, shape=(TOP_K,)),
                Tensor(name="scores", dtype=np.float32, shape=(TOP_K,)),
            ],
            config=ModelConfig(
                max_batch_size=settings["max_batch_size"],
                batcher=DynamicBatcher(max_queue_delay_microseconds=settings["queue_delay_us"]),
            ),
            strict=False,
        )
        triton.serve()


if __name__ == "__main__":
    main()
