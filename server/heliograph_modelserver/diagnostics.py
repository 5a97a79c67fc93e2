"""Health and reflection: streams that take no thread from Predict and do not hold up a stop."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import grpc

_REFLECTION_THREADS = 4
"""Clients that may hold a reflection stream open at once; more wait."""


class Diagnostics:
    """The services `grpc.health.v1.Health` and `grpc.reflection.v1alpha.ServerReflection`."""

    def __init__(self, services: Sequence[str], *, health_names: Sequence[str]) -> None:
        """Create the services.

        Args:
            services: Full names of the services that reflection describes.
            health_names: Names that health reports as serving; without any there is no health
                service.
        """
        self._services = services
        self._health_names = health_names
        self._health = health.HealthServicer()
        self._lock = threading.Lock()
        self._ends: set[Callable[[], object]] = set()
        self._pool = ThreadPoolExecutor(_REFLECTION_THREADS, thread_name_prefix="reflection")

    def add_to(self, server: grpc.Server) -> None:
        """Register both services."""
        names = [*self._services, reflection.SERVICE_NAME]
        if self._health_names:
            for name in self._health_names:
                self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
            self._health.Watch = _Watch(self, self._health.Watch)
            health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
            names.append(health.SERVICE_NAME)
        describe = reflection.ReflectionServicer(names)
        describe.ServerReflectionInfo = _ReflectionInfo(
            self, describe.ServerReflectionInfo, self._pool
        )
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(describe, server)

    def stop(self) -> None:
        """Report NOT_SERVING and end all open streams."""
        self._health.enter_graceful_shutdown()
        with self._lock:
            ends = list(self._ends)
        for end in ends:
            end()

    def keep(self, context: grpc.ServicerContext, end: Callable[[], object]) -> None:
        """Remember how to end a stream, until it has ended."""

        def forget() -> None:
            with self._lock:
                self._ends.discard(end)

        with self._lock:
            self._ends.add(end)
        if not context.add_callback(forget):
            forget()


class _Watch:
    """Health.Watch without a thread of its own, and with an end that a stop can reach."""

    experimental_non_blocking = True
    """Makes grpc pass a callback for the responses instead of waiting for an iterator."""

    def __init__(self, streams: Diagnostics, watch: Callable[..., Any]) -> None:
        self._streams = streams
        self._watch = watch

    def __call__(
        self,
        request: Any,
        context: grpc.ServicerContext,
        send_response_callback: Callable[[Any], None],
    ) -> None:
        """Send the status now and after every change."""
        has_ended = threading.Event()

        def send(response: Any) -> None:
            """None ends the stream; grpc does not expect it twice."""
            if not has_ended.is_set():
                if response is None:
                    has_ended.set()
                send_response_callback(response)

        self._streams.keep(context, lambda: send(None))
        self._watch(request, context, send)


class _ReflectionInfo:
    """The reflection stream, in a thread pool of its own, which grpc finds by its attribute."""

    def __init__(
        self, streams: Diagnostics, describe: Callable[..., Any], pool: ThreadPoolExecutor
    ) -> None:
        self._streams = streams
        self._describe = describe
        self.experimental_thread_pool = pool

    def __call__(self, requests: Any, context: grpc.ServicerContext) -> Any:
        """Answer each request of the stream."""
        self._streams.keep(context, context.cancel)
        return self._describe(requests, context)
