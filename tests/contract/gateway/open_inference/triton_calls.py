"""Everything that tritonclient can ask of the gateway; runs where tritonclient is installed.

    python triton_calls.py HOST:PORT IMAGE IMAGE

Prints one JSON document. The SDK is used in the same process, to show that the two get along.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput, InferResult
from tritonclient.utils import InferenceServerException

from heliograph import Client


def images(*paths: str) -> list[InferInput]:
    """The input `image` of a request."""
    encoded = np.array([Path(path).read_bytes() for path in paths], dtype=np.object_)
    tensor = InferInput("image", [len(paths)], "BYTES")
    return [tensor.set_data_from_numpy(encoded)]


def texts(array: Any) -> Any:
    """A BYTES tensor as nested lists of texts."""
    return [[element.decode() for element in row] for row in array]


def refusal(call: Callable[[], object]) -> list[str]:
    """What a call that must fail says."""
    try:
        call()
    except InferenceServerException as error:
        return [str(error.status()), str(error.message())]
    raise AssertionError("the call succeeded")


def main(target: str, *paths: str) -> None:
    """Ask everything."""
    first = paths[0]
    with InferenceServerClient(target) as client:
        both = client.infer("brightness", images(*paths), model_version="1", request_id="a-7")
        best = client.infer("brightness", images(first), parameters={"top_k": 1})
        classification = InferRequestedOutput("scores", class_count=2)
        classified = client.infer("brightness", images(*paths), outputs=[classification])
        pixels = InferInput("image", [1, 4, 4, 1], "UINT8")
        pixels.set_data_from_numpy(np.full((1, 4, 4, 1), 51, np.uint8))
        prepared = client.infer("brightness", [pixels])
        later = asynchronously(client, first)

        document = {
            "live": client.is_server_live(),
            "ready": client.is_server_ready(),
            "models_ready": [client.is_model_ready(*model) for model in MODELS],
            "server": client.get_server_metadata(as_json=True),
            "metadata": client.get_model_metadata("brightness", as_json=True),
            "config": client.get_model_config("brightness", as_json=True),
            "index": client.get_model_repository_index(as_json=True),
            "both": {
                "version": both.get_response().model_version,
                "id": both.get_response().id,
                "labels": texts(both.as_numpy("labels")),
                "scores": both.as_numpy("scores").tolist(),
                "dtype": str(both.as_numpy("scores").dtype),
            },
            "best": texts(best.as_numpy("labels")),
            "classified": texts(classified.as_numpy("scores")),
            "later": texts(later.as_numpy("labels")),
            "prepared": prepared.as_numpy("scores").tolist(),
            "refusals": {
                "model": refusal(lambda: client.infer("darkness", images(first))),
                "image": refusal(lambda: client.infer("brightness", images(first, __file__))),
                "load": refusal(lambda: client.load_model("brightness")),
                "memory": refusal(client.get_system_shared_memory_status),
                "stream": refusal(lambda: stream(client)),
            },
            "statistics": client.get_inference_statistics("brightness", as_json=True),
        }
        with Client(target) as ours:
            document["sdk"] = [best.class_name for best in ours.classify(first).classes]
    json.dump(document, sys.stdout)


MODELS = [("brightness", ""), ("brightness", "1"), ("brightness", "7"), ("darkness", "")]
"""Names and versions of which it is asked whether they are ready."""


def asynchronously(client: InferenceServerClient, path: str) -> InferResult:
    """Use the call that does not wait for its answer."""
    answers: Queue[Any] = Queue()
    client.async_infer(
        "brightness", images(path), lambda result, error: answers.put(error or result)
    )
    return answers.get(timeout=30)


def stream(client: InferenceServerClient) -> None:
    """Open the stream that is not served."""
    errors: Queue[Any] = Queue()
    client.start_stream(lambda result, error: errors.put(error))
    error = errors.get(timeout=30)
    client.stop_stream()
    raise error


if __name__ == "__main__":
    main(*sys.argv[1:])
