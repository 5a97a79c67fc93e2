"""mosec: one stage that decodes and predicts, or a stage of decoders before it.

Documentation: a worker class per stage, dynamic batching by `max_batch_size` and `max_wait_time`,
`deserialize` replaced so that a body of bytes is not taken for JSON.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
from benchmarks.comparison.servers.network import Classifier, decode, read_task
from mosec import Server, Worker


class Decode(Worker):
    """Turns one JPEG into pixels, for the stage after it."""

    def __init__(self) -> None:
        super().__init__()
        self._task = read_task()

    def deserialize(self, data: bytes) -> bytes:
        """Take the body as it is."""
        return data

    def forward(self, data: bytes) -> np.ndarray:
        """Decode."""
        return decode(data, self._task)


class Predict(Worker):
    """Predicts a batch, of JPEGs where it is the only stage, else of pixels."""

    def __init__(self) -> None:
        super().__init__()
        self._classifier = Classifier(read_task())

    def deserialize(self, data: bytes) -> bytes:
        """Take the body as it is."""
        return data

    def serialize(self, data: Any) -> bytes:
        """Write compact JSON."""
        return json.dumps(data).encode()

    def forward(self, data: Any) -> Any:
        """Classify; mosec gives a list where it may batch, else one item."""
        batch = data if isinstance(data, list) else [data]
        if isinstance(batch[0], np.ndarray):
            answers = self._classifier.classify_pixels(batch)
        else:
            answers = self._classifier.classify(batch)
        return answers if isinstance(data, list) else answers[0]


def main() -> None:
    """Serve."""
    task = read_task()
    settings = task.settings
    sys.argv[1:] = ["--address=127.0.0.1", f"--port={task.port}", "--timeout=30000"]
    sys.argv.append("--log-level=warning")
    server = Server()
    if settings["decoders"]:
        server.append_worker(Decode, num=settings["decoders"])
    server.append_worker(
        Predict,
        num=settings["workers"],
        max_batch_size=settings["max_batch_size"],
        max_wait_time=settings["max_wait_time"],
    )
    server.run()


if __name__ == "__main__":
    main()
