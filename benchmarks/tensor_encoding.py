"""What encoding a batch for TensorFlow Serving costs, and reading its answer.

    python benchmarks/tensor_encoding.py [--rounds 9] [--json]

`message` fills a PredictRequest and serializes it; `joined` is heliograph.tfserving's own way. The
two take turns, and figures are medians of microseconds per call. `scores` reads a response with
1000 float scores per image, in the typed field that TensorFlow Serving answers with by default.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from heliograph.tfserving.prediction import predict_request, prediction
from heliograph.tfserving.tensors import to_tensor_proto
from heliograph.tfserving.v1 import tensor_pb2
from heliograph.tfserving.v1.prediction_pb2 import PredictRequest, PredictResponse

BATCHES = ((1, 32, 32, 3), (32, 32, 32, 3), (1, 224, 224, 3), (32, 224, 224, 3))


def message(pixels: Any) -> bytes:
    """Encode by way of the generated classes."""
    request = PredictRequest()
    request.model_spec.name = "model"
    request.model_spec.version.value = 1
    request.inputs["image"].CopyFrom(to_tensor_proto(pixels))
    return request.SerializeToString()


def joined(pixels: Any) -> bytes:
    """Encode as the SDK does."""
    return predict_request("model", {"image": pixels}, version=1)


def scores(batch: int) -> bytes:
    """Return a response as TensorFlow Serving would send it."""
    response = PredictResponse()
    tensor = response.outputs["scores"]
    tensor.dtype = tensor_pb2.DT_FLOAT
    tensor.tensor_shape.dim.add(size=batch)
    tensor.tensor_shape.dim.add(size=1000)
    tensor.float_val.extend(np.random.default_rng(0).random(batch * 1000).tolist())
    return response.SerializeToString()


def microseconds(run: Callable[[], object]) -> float:
    """Time one call, repeated for about 20 ms."""
    count, elapsed = 0, 0.0
    started = time.perf_counter()
    while elapsed < 0.02:
        run()
        count += 1
        elapsed = time.perf_counter() - started
    return elapsed / count * 1e6


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results: list[dict[str, Any]] = []
    for shape in BATCHES:
        pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        response = scores(shape[0])
        ways: dict[str, Callable[[], object]] = {
            "message": lambda pixels=pixels: message(pixels),  # type: ignore[misc]
            "joined": lambda pixels=pixels: joined(pixels),  # type: ignore[misc]
            "scores": lambda raw=response: prediction(PredictResponse.FromString(raw)),  # type: ignore[misc]
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(arguments.rounds):
            for name, way in ways.items():
                times[name].append(microseconds(way))
        medians = {name: round(statistics.median(found), 1) for name, found in times.items()}
        results.append({"batch": list(shape), **medians})
    if arguments.json:
        print(json.dumps(results, indent=2))
        return
    print(f"{'batch':<18}  {'message':>11}  {'joined':>10}  {'scores':>9}")
    for row in results:
        name = "×".join(map(str, row["batch"]))
        print(f"{name:<18}  {row['message']:>8} µs  {row['joined']:>7} µs  {row['scores']:>6} µs")


if __name__ == "__main__":
    main()
