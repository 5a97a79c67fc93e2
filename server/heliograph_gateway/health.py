"""`grpc.health.v1`: overall, for the service, and per model, each on its own."""

from __future__ import annotations

import asyncio

from grpc_health.v1.health import aio
from grpc_health.v1.health_pb2 import HealthCheckResponse

from heliograph.v1.classifier_pb2 import DESCRIPTOR
from heliograph_gateway.routing import Router

OVERALL = ""
CLASSIFIER = DESCRIPTOR.services_by_name["Classifier"].full_name


class HealthReporter:
    """Keeps the health of the services equal to what the router says."""

    def __init__(self, router: Router) -> None:
        self.servicer = aio.HealthServicer()
        self._router = router
        self._changed = asyncio.Event()
        self._models: set[str] = set()
        router.subscribe(self._changed.set)

    async def report(self) -> None:
        """Publish the state of the router now; the gateway as a whole is serving."""
        for name in (OVERALL, CLASSIFIER):
            await self.servicer.set(name, HealthCheckResponse.SERVING)
        models = self._router.models()
        for model in models:
            status = (
                HealthCheckResponse.SERVING if model.serving else HealthCheckResponse.NOT_SERVING
            )
            await self.servicer.set(f"model/{model.name}", status)
        names = {model.name for model in models}
        for name in self._models - names:
            await self.servicer.set(f"model/{name}", HealthCheckResponse.SERVICE_UNKNOWN)
        self._models = names

    async def run(self) -> None:
        """Publish every change until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self.report()

    async def starting(self) -> None:
        """Say that nothing is served yet."""
        for name in (OVERALL, CLASSIFIER):
            await self.servicer.set(name, HealthCheckResponse.NOT_SERVING)

    async def stopping(self) -> None:
        """Say for good that nothing is served any more."""
        await self.servicer.enter_graceful_shutdown()
