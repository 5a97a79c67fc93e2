"""LitServe: its own batching, worker processes, API processes, and ZeroMQ between them.

Documentation: `max_batch_size` and `batch_timeout` of the API, `workers_per_device`,
`num_api_servers`, and `fast_queue` for high request rates. LitServe reads the annotation of
`decode_request` to see what it shall pass on, so this module has real annotations, not their text.
"""

from typing import Annotated, Any

import litserve
import numpy as np
from benchmarks.comparison.servers.network import Classifier, Task, decode, read_task
from fastapi import Body


class ClassifyAPI(litserve.LitAPI):
    """The steps that LitServe calls one after the other."""

    _task: Task
    _classifier: Classifier

    def setup(self, device: str) -> None:
        """Load the network in a worker process."""
        self._task = read_task()
        self._classifier = Classifier(self._task)

    def decode_request(
        self, request: Annotated[bytes, Body(media_type="image/jpeg")]
    ) -> np.ndarray:
        """Decode one image."""
        return decode(request, self._task)

    def batch(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        """Leave the images in a list."""
        return inputs

    def unbatch(self, output: list[Any]) -> list[Any]:
        """Hand out the answers one by one."""
        return output

    def predict(self, x: Any) -> Any:
        """Classify a batch, or one image where LitServe does not batch."""
        if isinstance(x, list):
            return self._classifier.classify_pixels(x)
        return self._classifier.classify_pixels([x])[0]

    def encode_response(self, output: Any) -> Any:
        """Leave the answer for LitServe to write as JSON."""
        return output


def main() -> None:
    """Serve."""
    task = read_task()
    settings = task.settings
    api = ClassifyAPI(
        max_batch_size=settings["max_batch_size"],
        batch_timeout=settings["batch_timeout"],
        api_path="/classify",
    )
    server = litserve.LitServer(
        api,
        accelerator="cpu",
        workers_per_device=settings["workers"],
        fast_queue=settings["fast_queue"],
    )
    server.run(
        host="127.0.0.1",
        port=task.port,
        num_api_servers=settings["api_servers"],
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )


if __name__ == "__main__":
    main()
