"""BentoML: adaptive batching over multipart files, or one image at a time as the body.

Documentation: a batchable API takes a list and gives a list; a file alone is the body of a request
where the only parameter is positional. `workers` processes run the service.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import bentoml
from benchmarks.comparison.servers.network import Classifier, blank_jpeg, read_task
from bentoml.validators import ContentType

TASK = read_task()


@bentoml.service(
    workers=TASK.settings["workers"], traffic={"timeout": 60}, metrics={"enabled": False}
)
class Images:
    """The service."""

    def __init__(self) -> None:
        self._classifier = Classifier(TASK)
        self._classifier.classify([blank_jpeg(TASK)])

    @bentoml.api(
        batchable=True,
        max_batch_size=TASK.settings["max_batch_size"],
        max_latency_ms=TASK.settings["max_latency_ms"],
    )
    def classify_batch(self, images: list[Path]) -> list[Any]:
        """Classify a batch of files."""
        return self._classifier.classify([image.read_bytes() for image in images])

    @bentoml.api
    def classify(self, image: Annotated[Path, ContentType("image/jpeg")], /) -> list[Any]:
        """Classify one file."""
        return self._classifier.classify([image.read_bytes()])[0]


def main() -> None:
    """Serve."""
    serve = [
        *(sys.executable, "-m", "bentoml", "serve", f"{__spec__.name}:Images"),
        *("--host", "127.0.0.1", "--port", str(TASK.port)),
    ]
    os.execv(sys.executable, serve)  # BentoML's own process takes the place of this one


if __name__ == "__main__":
    main()
