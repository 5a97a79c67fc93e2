"""The gateway as a whole, in one process: deciding and serving with one router between them.

With several workers, supervisor.py and worker.py put the same two halves into processes.
"""

from __future__ import annotations

import asyncio

import structlog

from heliograph_gateway.backends import Backend
from heliograph_gateway.catalogue import Catalogue, check_repository
from heliograph_gateway.endpoint import Endpoint
from heliograph_gateway.metrics import GatewayMetrics, MetricsServer
from heliograph_gateway.routing import Router
from heliograph_gateway.settings import Settings
from heliograph_gateway.versions import Host, OwnRequests

log = structlog.get_logger()


class Gateway:
    """A gateway that is built and can be started, run and stopped."""

    def __init__(
        self,
        settings: Settings,
        *,
        backend: Backend | None = None,
        host: Host | None = None,
    ) -> None:
        """Build a gateway; nothing listens and no process runs yet.

        Args:
            settings: Everything that can be set.
            backend: Instead of the one that the settings name, for tests.
            host: Likewise.

        Raises:
            ConfigurationError: A file that the settings name cannot be used.
        """
        self._settings = settings
        self.metrics = GatewayMetrics()
        self.router = Router()
        self._catalogue = Catalogue(
            settings, self.router, self.metrics, OwnRequests(), backend=backend, host=host
        )
        self._endpoint = Endpoint(settings, self.router, self._catalogue.batcher, self.metrics)
        self._metrics_server: MetricsServer | None = None
        self.address = ""
        self.metrics_address = ""

    @property
    def serving(self) -> bool:
        """Whether health says so."""
        return self._endpoint.serving

    async def start(self) -> None:
        """Listen, start the model server, and serve what the repository holds.

        Raises:
            AddressInUseError: An address is taken.
            BackendUnavailableError: The embedded model server does not start.
            ConfigurationError: There is no repository, or a certificate cannot be read.
        """
        await check_repository(self._settings)
        self.address = self._endpoint.bind()
        if self._settings.metrics_listen:
            self._metrics_server = MetricsServer(
                self.metrics.registry, self._settings.metrics_listen
            )
            self.metrics_address = self._metrics_server.address
        await self._endpoint.start()
        await self._catalogue.start()
        self._endpoint.open()
        serving = [model.name for model in self.router.models() if model.serving]
        log.info("ready", address=self.address, metrics=self.metrics_address, models=serving)

    async def run(self) -> None:
        """Go on until cancelled, or until something fails that should go on for ever."""
        await asyncio.gather(self._catalogue.run(), self._endpoint.run())

    async def look(self) -> None:
        """Look at the repository now, instead of at the next interval."""
        await self._catalogue.look()

    async def stop(self) -> None:
        """Say NOT_SERVING, finish the calls in flight, end the model server."""
        log.info("draining", seconds=self._settings.drain_timeout)
        await self._endpoint.stop()
        await self._catalogue.stop()
        if self._metrics_server:
            self._metrics_server.close()
        log.info("stopped")
