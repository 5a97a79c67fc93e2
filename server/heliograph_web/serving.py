"""Running the web server: until SIGTERM or Ctrl-C, then to an orderly end."""

from __future__ import annotations

import contextlib
import logging
import signal
import ssl
import sys
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn

from heliograph import AsyncClient
from heliograph.errors import ConfigurationError
from heliograph_web.application import create_application
from heliograph_web.settings import WebSettings

_MAX_CONNECTIONS = 256
"""Connections at once; more are answered with 503."""
_DRAIN_SECONDS = 10
"""Time that requests get to finish after SIGTERM."""


class WebServer:
    """A web server that is built and can be run once."""

    def __init__(self, settings: WebSettings, connect: Callable[[], AsyncClient]) -> None:
        """Prepare; nothing listens yet.

        Args:
            settings: Everything that can be set.
            connect: Makes a client of the gateway; called once, in the server's event loop.
        """
        self._settings = settings
        self._connect = connect
        self._server: uvicorn.Server | None = None
        self._stopping = False

    @contextlib.contextmanager
    def stopped_by_signals(self) -> Iterator[None]:
        """Inside the block, SIGTERM and Ctrl-C end `run`.

        uvicorn catches them while it serves, and raises them again afterwards, when they have been
        dealt with.
        """
        before = {
            number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def run(self) -> None:
        """Listen, print the page's address to stderr, and serve until a signal.

        Raises:
            AddressInUseError: The address is taken.
            ConfigurationError: A certificate cannot be read, or the address makes no sense.
        """
        settings = self._settings
        async with self._connect() as client:
            application = create_application(
                client,
                model=settings.model,
                limits=settings.limits,
                allowed_hosts=settings.allowed_hosts,
            )
            config = uvicorn.Config(
                application,
                loop="asyncio",
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=settings.access_log,
                proxy_headers=False,
                server_header=False,
                limit_concurrency=_MAX_CONNECTIONS,
                timeout_graceful_shutdown=_DRAIN_SECONDS,
                ssl_certfile=settings.tls_certificate,
                ssl_keyfile=settings.tls_key,
                ssl_ca_certs=settings.tls_client_ca,
                ssl_cert_reqs=ssl.CERT_REQUIRED if settings.tls_client_ca else ssl.CERT_NONE,
            )
            if settings.access_log:
                logging.getLogger("uvicorn.access").setLevel(logging.INFO)
            try:
                config.load()
            except OSError as error:  # ssl.SSLError is one.
                reason = error.strerror or error
                raise ConfigurationError(f"cannot use the TLS files: {reason}") from error
            listener, address = settings.listen.bind()
            self._server = uvicorn.Server(config)
            self._server.should_exit = self._stopping
            scheme = "https" if settings.tls_certificate else "http"
            print(f"Listening on {scheme}://{address}", file=sys.stderr, flush=True)
            await self._server.serve(sockets=[listener])

    def _stop(self, _: int, __: FrameType | None) -> None:
        self._stopping = True
        if self._server:
            self._server.should_exit = True
