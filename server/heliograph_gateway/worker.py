"""A worker: one process of several that answer on the same port, as the supervisor tells them.

    python -m heliograph_gateway.worker --index N --control FD --metrics DIR --settings JSON

It decides nothing. What it serves it is told over the control channel, whose end is the end of the
supervisor: then, as after SIGTERM, the worker finishes its calls and ends.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import socket
import sys
from collections.abc import Mapping

import structlog

from heliograph.errors import HeliographError
from heliograph_gateway.backends.tfs import TensorFlowServing
from heliograph_gateway.catalogue import batcher_of
from heliograph_gateway.control import ControlChannel, Handler, Message
from heliograph_gateway.endpoint import Endpoint
from heliograph_gateway.logs import configure_logging
from heliograph_gateway.metrics import GatewayMetrics
from heliograph_gateway.routing import Router
from heliograph_gateway.routing_messages import from_message
from heliograph_gateway.servables import ServableVersion
from heliograph_gateway.settings import Settings
from heliograph_gateway.shared_metrics import share_metrics

log = structlog.get_logger()


class Worker:
    """The serving half of the gateway, with a router that is told what is served."""

    def __init__(self, settings: Settings) -> None:
        """Build it; nothing listens yet.

        Args:
            settings: Those of the gateway, with the backends and the port that all workers have.

        Raises:
            ConfigurationError: A file that the settings name cannot be used.
        """
        metrics = GatewayMetrics()
        self._router = Router()
        self._backend = TensorFlowServing(settings.backend, metrics)
        batcher = batcher_of(settings, self._backend, metrics)
        self._endpoint = Endpoint(settings, self._router, batcher, metrics)
        self._leaving: list[ServableVersion] = []
        """Versions that are not served any more, and may have requests on them."""
        self.handlers: dict[str, Handler] = {
            "put": self._put,
            "remove": self._remove,
            "let_go": self._let_go,
            "listen": self._listen,
            "ping": self._ping,
        }
        """What is done for each request of the supervisor."""

    async def stop(self) -> None:
        """Say NOT_SERVING, and finish the calls in flight."""
        await self._endpoint.stop()
        await self._backend.close()

    async def _put(self, message: Message) -> None:
        """Serve a model as described from now on."""
        known = self._versions(message["model"])
        model = from_message(message, known)
        self._leave(known, model.versions)
        self._router.put(model)

    async def _remove(self, message: Message) -> None:
        """Serve a model no longer."""
        self._leave(self._versions(message["model"]), {})
        self._router.remove(message["model"])

    async def _let_go(self, message: Message) -> None:
        """Wait until no request is on any version that is not served any more."""
        leaving = list(self._leaving)
        for version in leaving:
            await version.drained()
        self._leaving = [version for version in self._leaving if version not in leaving]

    async def _listen(self, message: Message) -> None:
        """Answer calls: everything that is served is known by now."""
        self._endpoint.bind()
        self._endpoint.open()
        await self._endpoint.start()

    async def _ping(self, message: Message) -> None:
        """Show that the event loop runs."""

    def _versions(self, name: str) -> Mapping[int, ServableVersion]:
        served = next((model for model in self._router.models() if model.name == name), None)
        return served.versions if served else {}

    def _leave(
        self, old: Mapping[int, ServableVersion], new: Mapping[int, ServableVersion]
    ) -> None:
        self._leaving += [each for number, each in old.items() if new.get(number) is not each]


async def work(control: socket.socket, metrics_directory: str, settings: Settings) -> None:
    """Serve until a signal, or until the supervisor has gone."""
    channel = await ControlChannel.over(control)
    worker = Worker(settings)
    following = asyncio.create_task(channel.run(worker.handlers))
    signalled = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signalled.set)
    waiting = asyncio.create_task(signalled.wait())
    await asyncio.wait([following, waiting], return_when=asyncio.FIRST_COMPLETED)
    orphaned = following.done()
    log.info("worker draining", seconds=settings.drain_timeout, orphaned=orphaned)
    # The supervisor is still listened to: a version may have to be let go meanwhile.
    await worker.stop()
    waiting.cancel()
    following.cancel()
    await asyncio.gather(waiting, following, return_exceptions=True)
    await channel.close()
    if orphaned:
        # Nobody else is left to do it.
        await asyncio.to_thread(shutil.rmtree, metrics_directory, ignore_errors=True)


def main() -> int:
    """Run a worker; return its exit code, 0 after an orderly end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--index", type=int, required=True)
    parser.add_argument("--control", type=int, required=True)
    parser.add_argument("--metrics", required=True)
    parser.add_argument("--settings", required=True)
    arguments = parser.parse_args()
    settings = Settings.model_validate_json(arguments.settings)
    configure_logging(settings.log_level, settings.log_format, worker=arguments.index)
    share_metrics(arguments.metrics, arguments.index)
    control = socket.socket(fileno=arguments.control)
    control.set_inheritable(False)
    try:
        asyncio.run(work(control, arguments.metrics, settings))
    except HeliographError as error:
        log.error("worker does not start", error=error.message)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
