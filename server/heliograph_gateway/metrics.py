"""The gateway's metrics, in a registry of its own. Names follow OpenTelemetry's RPC conventions.

Label values are bounded: models that are configured, classes of their contracts, codes, methods.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter as Counts
from collections.abc import Callable, Sequence
from functools import cache
from threading import Thread
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from heliograph.errors import AddressInUseError
from heliograph_gateway.routing import Router
from heliograph_gateway.servables import ServableVersion
from heliograph_gateway.statistics import RequestTimes

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_STAGE_SECONDS = (0.0001, 0.00025, 0.0005, *_SECONDS)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_LAG_INTERVAL = 0.5
"""Seconds between two measurements of the event loop's lag."""


class GatewayMetrics:
    """What is counted and measured."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._calls = Histogram(
            "rpc_server_call_duration_seconds",
            "Time of a call in the gateway.",
            ["rpc_method", "rpc_response_status_code", "model", "role"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._stages = Histogram(
            "heliograph_stage_duration_seconds",
            "Time of one stage of a request.",
            ["stage"],
            buckets=_STAGE_SECONDS,
            registry=self.registry,
        )
        self._rejected = Counter(
            "heliograph_admission_rejected",
            "Requests refused before any work, by reason.",
            ["reason"],
            registry=self.registry,
        )
        self._in_flight = Gauge(
            "heliograph_inflight",
            "Images inside the gateway.",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self._batch_size = Histogram(
            "heliograph_batch_size",
            "Rows per batch sent to a backend.",
            buckets=_ROWS,
            registry=self.registry,
        )
        self._padding = Counter(
            "heliograph_batch_padding",
            "Rows that were added to batches to give them an allowed size.",
            registry=self.registry,
        )
        self._lag = Gauge(
            "heliograph_event_loop_lag_seconds",
            "How late the event loop last was.",
            registry=self.registry,
            multiprocess_mode="livemax",
        )
        self._backend_up = Gauge(
            "heliograph_backend_up",
            "Whether the last call to a backend reached it.",
            ["backend"],
            registry=self.registry,
            multiprocess_mode="livemostrecent",
        )
        self._routed = Gauge(
            "heliograph_routed_version",
            "Version behind a role; 0 when there is none.",
            ["model", "role"],
            registry=self.registry,
            multiprocess_mode="livemostrecent",
        )
        self._classes = Counter(
            "heliograph_class",
            "Images per class with the highest score.",
            ["model", "class_name"],
            registry=self.registry,
        )
        # Looking up a labelled child costs more than counting does, and these are counted by every
        # request.
        self._observe_call = cache(lambda *labels: self._calls.labels(*labels).observe)
        self._count_class = cache(lambda *labels: self._classes.labels(*labels).inc)
        self._observe_stage: list[tuple[str, Callable[[float], None]]] = [
            (stage, self._stages.labels(stage).observe)
            for stage in ("prepare", "queue", "predict", "rank")
        ]

    def call(self, method: str, code: str, model: str, role: str, seconds: float) -> None:
        """Record a finished call."""
        self._observe_call(method, code, model, role)(seconds)

    def stages(self, times: RequestTimes) -> None:
        """Record the stages of a request, as far as it got."""
        for stage, observe in self._observe_stage:
            if nanoseconds := getattr(times, stage):
                observe(nanoseconds / 1e9)

    def rejected(self, reason: str) -> None:
        """Count a request that was refused before any work."""
        self._rejected.labels(reason).inc()

    def in_flight(self, images: int) -> None:
        """Say how many images are inside the gateway."""
        self._in_flight.set(images)

    def batch(self, rows: int, padding: int) -> None:
        """Record the size of a batch, and how many rows it got to have an allowed size."""
        self._batch_size.observe(rows)
        if padding:
            self._padding.inc(padding)

    def backend_up(self, backend: str, up: bool) -> None:
        """Say whether a backend could be reached."""
        self._backend_up.labels(backend).set(up)

    def classified(self, version: ServableVersion, indices: Sequence[int]) -> None:
        """Count images by the class with the highest score."""
        model = version.servable.model
        counts = Counts(indices).items() if len(indices) > 1 else [(index, 1) for index in indices]
        for index, images in counts:
            self._count_class(model, version.class_names[index])(images)

    def follow(self, router: Router) -> None:
        """Keep the routed versions up to date; a model that has gone keeps a 0."""
        seen: set[str] = set()

        def publish() -> None:
            models = {model.name: model for model in router.models()}
            seen.update(models)
            for name in seen:
                model = models.get(name)
                table = model.table if model and model.serving else None
                self._routed.labels(name, "stable").set(table.stable if table else 0)
                self._routed.labels(name, "candidate").set((table.candidate or 0) if table else 0)

        router.subscribe(publish)

    async def watch_event_loop(self) -> None:
        """Measure the event loop's lag until cancelled."""
        while True:
            start = time.perf_counter()
            await asyncio.sleep(_LAG_INTERVAL)
            self._lag.set(max(0.0, time.perf_counter() - start - _LAG_INTERVAL))


class MetricsServer:
    """Serves `/metrics` over HTTP from a thread."""

    def __init__(self, registry: CollectorRegistry, listen: str) -> None:
        """Start to listen.

        Args:
            registry: What to serve.
            listen: HOST:PORT; port 0 takes a free one.

        Raises:
            AddressInUseError: The address is taken.
        """
        host, _, port = listen.rpartition(":")
        try:
            server: tuple[WSGIServer, Thread] = start_http_server(
                int(port), host.strip("[]"), registry=registry
            )
        except OSError as error:
            raise AddressInUseError(
                f"cannot serve metrics on {listen}: {error.strerror}; "
                "choose another with --metrics-listen"
            ) from error
        self._server, self._thread = server
        self.address = f"{host}:{self._server.server_port}"

    def close(self) -> None:
        """Stop to listen."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
