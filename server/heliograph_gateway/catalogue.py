"""The deciding half of the gateway: which models and versions are served.

It owns the model server, looks at the repository, proves versions, and writes what it decides into
a router, which the serving half reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from heliograph.errors import ConfigurationError
from heliograph.repository import Repository
from heliograph_gateway.backends import Backend
from heliograph_gateway.backends.tfs import TensorFlowServing
from heliograph_gateway.batching import BatchLimits, ContinuousBatcher
from heliograph_gateway.embedded import EmbeddedModelServer
from heliograph_gateway.endpoint import limits_of
from heliograph_gateway.metrics import GatewayMetrics
from heliograph_gateway.proving import Prover
from heliograph_gateway.routing import Router
from heliograph_gateway.settings import Settings
from heliograph_gateway.versions import Followers, Host, UnmanagedHost, VersionKeeper


class Catalogue:
    """The model server, what it holds, and what is served of it."""

    def __init__(
        self,
        settings: Settings,
        router: Router,
        metrics: GatewayMetrics,
        followers: Followers,
        *,
        backend: Backend | None = None,
        host: Host | None = None,
    ) -> None:
        """Prepare everything; no process runs yet.

        Args:
            settings: Everything that can be set.
            router: Where is written what is served.
            metrics: Where the backend's state and batches are counted.
            followers: Those who answer by the router.
            backend: Instead of the one that the settings name, for tests.
            host: Likewise.
        """
        self._settings = settings
        self._embedded: EmbeddedModelServer | None = None
        if backend is None and not settings.backend:
            self._embedded = EmbeddedModelServer(
                settings.repository,
                start_timeout=settings.start_timeout,
                load_timeout=settings.start_timeout,
                threads=settings.model_server_threads,
            )
            host = self._embedded
        self.addresses: Sequence[str] = settings.backend or (
            [self._embedded.address] if self._embedded else []
        )
        """Where the models compute: `tfs://…`, one or more."""
        self._backend = backend or TensorFlowServing(self.addresses, metrics)
        self.batcher = batcher_of(settings, self._backend, metrics)
        """Computes, for whoever is in the same process."""
        repository = Repository(settings.repository)
        self._keeper = VersionKeeper(
            repository,
            router,
            Prover(
                repository,
                self._backend,
                self.batcher,
                limits_of(settings),
                device=settings.backend_device,
                timeout=settings.backend_timeout,
            ),
            host or UnmanagedHost(),
            followers,
            auto_promote=settings.auto_promote,
            poll_interval=settings.poll_interval,
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start the model server, and decide what is served.

        Raises:
            BackendUnavailableError: The model server does not start.
        """
        if self._embedded:
            await self._embedded.start()
            self._tasks.append(asyncio.create_task(self._embedded.supervise()))
        await self._keeper.look()
        self._tasks.append(asyncio.create_task(self._keeper.run()))

    async def run(self) -> None:
        """Keep the model server going and follow the repository; ends only with an error."""
        await asyncio.gather(*self._tasks)

    async def look(self) -> None:
        """Look at the repository now, instead of at the next interval."""
        await self._keeper.look()

    async def stop(self) -> None:
        """Decide no more, and end the model server."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._backend.close()
        if self._embedded:
            await self._embedded.stop()


def batcher_of(settings: Settings, backend: Backend, metrics: GatewayMetrics) -> ContinuousBatcher:
    """Return what gathers rows for a backend."""
    return ContinuousBatcher(
        backend,
        metrics,
        BatchLimits(
            max_batch_size=settings.max_batch_size,
            max_in_flight=settings.backend_batches_in_flight,
            max_queued=settings.max_queued,
            allowed_sizes=settings.allowed_batch_sizes,
        ),
        max_timeout=settings.backend_timeout,
    )


async def check_repository(settings: Settings) -> None:
    """Look whether there is a repository.

    Raises:
        ConfigurationError: There is none.
    """
    path = settings.repository
    if not await asyncio.to_thread(path.is_dir):
        raise ConfigurationError(f"{path} is no model repository; `heliograph export` makes one")
