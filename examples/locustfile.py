"""Users for Locust, where a team knows that already: each classifies one image after the other.

    pip install heliograph locust
    locust -f examples/locustfile.py --host 127.0.0.1:9000 --images photos/ --headless -u 16 -t 1m

Locust's users wait for their answers, so that a gateway that stalls is asked less meanwhile, and
each call costs several times the processor time of `heliograph loadtest`, which has neither limit.
"""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import grpc.experimental.gevent
from locust import User, constant_throughput, events, task
from locust.env import Environment

from heliograph import Client, HeliographError, RetryOptions

# gRPC has to know about gevent before the first channel is opened.
grpc.experimental.gevent.init_gevent()


@events.init_command_line_parser.add_listener
def add_arguments(parser: Any) -> None:
    """Add the arguments of these users to those of Locust."""
    parser.add_argument("--images", default="photos", help="folder of JPEG and PNG files")
    parser.add_argument("--model", default="", help="model; not needed where there is only one")
    parser.add_argument("--calls-per-second", type=float, default=10.0, help="of each user")


class Caller(User):
    """Has a connection of its own, and calls at a pace unless answers take longer."""

    def __init__(self, environment: Environment) -> None:
        """Read the images, and prepare to connect."""
        super().__init__(environment)
        options: Any = environment.parsed_options
        self._pace = constant_throughput(options.calls_per_second)
        self.images = [
            path.read_bytes()
            for path in sorted(Path(options.images).rglob("*"))
            if path.suffix.lower() in {".jpg", ".jpeg", ".png"}
        ]
        # Retries would hide failures from the statistics.
        self.client = Client(
            self.host or "127.0.0.1:9000",
            model=options.model or None,
            retry=RetryOptions(attempts=1),
        )

    def wait_time(self) -> float:
        """Return the seconds until the next call."""
        return float(self._pace(self))

    def on_stop(self) -> None:
        """Close the connection."""
        self.client.close()

    @task
    def classify(self) -> None:
        """Classify one image, and tell Locust what became of it."""
        image = random.choice(self.images)  # noqa: S311
        failure: HeliographError | None = None
        started = time.perf_counter()
        try:
            self.client.classify(image)
        except HeliographError as error:
            failure = error
        self.environment.events.request.fire(
            request_type="gRPC",
            name="Classify",
            response_time=(time.perf_counter() - started) * 1e3,
            response_length=0,
            exception=failure,
            context={"reason": failure.reason if failure else ""},
        )
