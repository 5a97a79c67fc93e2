"""The gateway as a whole, in several processes: this one decides, and its workers serve.

    supervisor      model server, versions, golden checks, /metrics; accepts no calls
    ├── worker 0    gRPC services on the shared port, with a router that the supervisor fills
    ├── worker 1    likewise
    └── model server, unless there is a --backend

Each worker has a control channel (control.py). Whichever process dies, the others either replace
it or end in order; docs/gateway.md has the table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from heliograph_gateway.catalogue import Catalogue, check_repository
from heliograph_gateway.endpoint import read_secrets
from heliograph_gateway.fleet import WorkerFleet
from heliograph_gateway.metrics import GatewayMetrics, MetricsServer
from heliograph_gateway.routing import Router
from heliograph_gateway.settings import Settings
from heliograph_gateway.shared_metrics import SharedMetrics
from heliograph_gateway.shared_port import SharedPort
from heliograph_gateway.versions import Host
from heliograph_gateway.worker_process import ACKNOWLEDGE_TIMEOUT, COMMAND

log = structlog.get_logger()


class Supervisor:
    """A gateway of several workers that can be started, run and stopped."""

    def __init__(
        self,
        settings: Settings,
        *,
        host: Host | None = None,
        command: Sequence[str] = COMMAND,
        acknowledge_timeout: float = ACKNOWLEDGE_TIMEOUT,
    ) -> None:
        """Prepare everything; nothing listens and no process runs yet.

        Args:
            settings: Everything that can be set.
            host: Whoever decides what the backends hold, for tests.
            command: What is started as a worker.
            acknowledge_timeout: Seconds that a worker gets to do what it is told.

        Raises:
            ConfigurationError: A file that the settings name cannot be used.
        """
        self._settings = settings
        # The workers read them too; what is wrong with them is said once, before anything runs.
        read_secrets(settings)
        self.router = Router()
        self._fleet = WorkerFleet(
            self.router, command=command, acknowledge_timeout=acknowledge_timeout
        )
        # What the golden checks count here is nobody's request, and stays here.
        self._catalogue = Catalogue(settings, self.router, GatewayMetrics(), self._fleet, host=host)
        self._port: SharedPort | None = None
        self._metrics: SharedMetrics | None = None
        self._metrics_server: MetricsServer | None = None
        self.address = ""
        self.metrics_address = ""

    async def start(self) -> None:
        """Take the port, decide what is served, then start the workers.

        Raises:
            AddressInUseError: An address is taken.
            BackendUnavailableError: The embedded model server does not start.
            ConfigurationError: There is no repository.
            UnavailableError: A worker does not start.
        """
        settings = self._settings
        await check_repository(settings)
        self._port = SharedPort(settings.listen)
        self.address = self._port.address
        self._metrics = SharedMetrics(lambda: self._fleet.listening)
        if settings.metrics_listen:
            self._metrics_server = MetricsServer(self._metrics.registry, settings.metrics_listen)
            self.metrics_address = self._metrics_server.address
        await self._catalogue.start()
        of_worker = {"listen": self.address, "backend": tuple(self._catalogue.addresses)}
        await self._fleet.start(settings.model_copy(update=of_worker), self._metrics)
        log.info(
            "ready",
            address=self.address,
            metrics=self.metrics_address,
            models=[model.name for model in self.router.models() if model.serving],
            workers=self._fleet.listening,
        )

    async def run(self) -> None:
        """Go on until cancelled, or until something fails that should go on for ever."""
        await asyncio.gather(self._catalogue.run(), self._fleet.run())

    async def look(self) -> None:
        """Look at the repository now, instead of at the next interval."""
        await self._catalogue.look()

    async def stop(self) -> None:
        """Have the workers finish their calls and end, then end the model server."""
        log.info("draining", seconds=self._settings.drain_timeout)
        await self._fleet.stop(self._settings.drain_timeout)
        await self._catalogue.stop()
        if self._metrics_server:
            self._metrics_server.close()
        if self._metrics:
            self._metrics.close()
        if self._port:
            self._port.close()
        log.info("stopped")
