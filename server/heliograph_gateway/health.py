"""`grpc.health.v1`: overall, per service, and per model, each on its own.

The servicer of grpcio-health-checking holds a lock while it writes to a watcher, so that one who
does not read would hold up the news for all others, and the end of the gateway. Here a change
never waits for anybody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health_pb2 import (
    HealthCheckRequest,
    HealthCheckResponse,
    HealthListRequest,
    HealthListResponse,
)

from heliograph.errors import NotFoundError
from heliograph.v1.classifier_pb2 import DESCRIPTOR
from heliograph_gateway.routing import Router

Context = grpc.aio.ServicerContext[Any, Any]

OVERALL = ""
CLASSIFIER = DESCRIPTOR.services_by_name["Classifier"].full_name


class HealthServicer(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # not annotated
    """Says what the router says: models are healthy while they are served."""

    def __init__(self, router: Router, services: Sequence[str] = (CLASSIFIER,)) -> None:
        """Follow a router; nothing is serving before `started`.

        Args:
            router: Knows the models.
            services: Full names; their health is that of the gateway as a whole.
        """
        self._router = router
        self._services = services
        self._serving = False
        self._changed = asyncio.Event()
        router.subscribe(self._notify)

    def started(self) -> None:
        """Say from now on that the gateway is serving, and its models as the router has them."""
        self._serving = True
        self._notify()

    def stopping(self) -> None:
        """Say from now on that nothing is serving."""
        self._serving = False
        self._notify()

    @property
    def serving(self) -> bool:
        """Whether the gateway as a whole is serving."""
        return self._serving

    def statuses(self) -> dict[str, str]:
        """Return SERVING or NOT_SERVING for every name."""
        serving = dict.fromkeys((OVERALL, *self._services), True) | {
            f"model/{model.name}": model.serving for model in self._router.models()
        }
        return {
            name: "SERVING" if self._serving and serves else "NOT_SERVING"
            for name, serves in serving.items()
        }

    async def Check(  # noqa: N802
        self, request: HealthCheckRequest, context: Context
    ) -> HealthCheckResponse:
        """Answer for one name."""
        status = self.statuses().get(request.service)
        if status is None:
            raise NotFoundError("there is no such service; a model is called model/NAME")
        return HealthCheckResponse(status=status)

    async def List(  # noqa: N802
        self, request: HealthListRequest, context: Context
    ) -> HealthListResponse:
        """Answer for every name."""
        answers = {name: HealthCheckResponse(status=now) for name, now in self.statuses().items()}
        return HealthListResponse(statuses=answers)

    async def Watch(self, request: HealthCheckRequest, context: Context) -> None:  # noqa: N802
        """Send the status of one name now and after every change."""
        sent = None
        while True:
            # Taken before the status is read, so that no change falls between the two.
            changed = self._changed
            status = self.statuses().get(request.service, "SERVICE_UNKNOWN")
            if status != sent:
                await context.write(HealthCheckResponse(status=status))
                sent = status
            await changed.wait()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
