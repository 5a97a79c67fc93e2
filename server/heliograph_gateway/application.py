"""The gateway as a whole: one function puts the parts together, in reading order."""

from __future__ import annotations

import asyncio
import signal
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from heliograph.errors import AddressInUseError, ConfigurationError
from heliograph.preprocessing import ImageLimits
from heliograph.repository import Repository
from heliograph.v1 import classifier_pb2_grpc
from heliograph_gateway.admission import Admission
from heliograph_gateway.authentication import TokenAuthenticator
from heliograph_gateway.backends import Backend
from heliograph_gateway.backends.tfs import TensorFlowServing
from heliograph_gateway.batching import ContinuousBatcher
from heliograph_gateway.calls import CallInterceptor
from heliograph_gateway.embedded import EmbeddedModelServer
from heliograph_gateway.health import CLASSIFIER, HealthServicer
from heliograph_gateway.inference import grpc_service_pb2_grpc
from heliograph_gateway.metrics import GatewayMetrics, MetricsServer
from heliograph_gateway.open_inference.servicer import INFERENCE, InferenceServicer
from heliograph_gateway.pipeline import Pipeline
from heliograph_gateway.preparation import Preparation
from heliograph_gateway.proving import Prover
from heliograph_gateway.routing import Router
from heliograph_gateway.servicer import ClassifierServicer
from heliograph_gateway.settings import Settings
from heliograph_gateway.streaming import StreamClassifier
from heliograph_gateway.versions import Host, UnmanagedHost, VersionKeeper

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
        repository = Repository(settings.repository)
        limits = ImageLimits(
            max_bytes=settings.max_image_bytes,
            max_pixels=settings.max_image_pixels,
            formats=settings.image_formats,
        )

        self.metrics = GatewayMetrics()
        self.router = Router()
        self._embedded: EmbeddedModelServer | None = None
        if backend is None and not settings.backend:
            self._embedded = EmbeddedModelServer(
                settings.repository,
                start_timeout=settings.start_timeout,
                load_timeout=settings.start_timeout,
            )
            host = self._embedded
        addresses = settings.backend or ([self._embedded.address] if self._embedded else [])
        self._backend = backend or TensorFlowServing(addresses, self.metrics)

        batcher = ContinuousBatcher(
            self._backend,
            self.metrics,
            max_batch_size=settings.max_batch_size,
            max_in_flight=settings.backend_batches_in_flight,
            max_timeout=settings.backend_timeout,
        )
        self._preparation = Preparation(limits, settings.decode_threads)
        # A larger batch would always find the gateway full.
        max_batch_images = min(settings.max_batch_images, settings.max_in_flight)
        pipeline = Pipeline(
            Admission(settings.max_in_flight, self.metrics),
            self.router,
            self._preparation,
            batcher,
            self.metrics,
            max_batch_images=max_batch_images,
        )
        self._streams = StreamClassifier(
            pipeline,
            window=settings.stream_window,
            max_bytes=settings.max_message_bytes,
            max_message_images=max_batch_images,
            longest_message=settings.backend_timeout,
        )
        self._keeper = VersionKeeper(
            repository,
            self.router,
            Prover(
                repository,
                self._backend,
                batcher,
                limits,
                device=settings.backend_device,
                timeout=settings.backend_timeout,
            ),
            host or UnmanagedHost(),
            auto_promote=settings.auto_promote,
            poll_interval=settings.poll_interval,
        )

        services = [CLASSIFIER, *([INFERENCE] if settings.open_inference else [])]
        self._health = HealthServicer(self.router, services)
        self.metrics.follow(self.router)
        tokens = TokenAuthenticator(settings.token_file) if settings.token_file else None
        self._credentials = _credentials(settings)
        self._calls = CallInterceptor(self.metrics, tokens, access_log=settings.access_log)
        self._server = grpc.aio.server(
            interceptors=[self._calls],
            options=_server_options(settings),
        )
        servicer = ClassifierServicer(
            pipeline, self._streams, self.router, longest_call=settings.backend_timeout
        )
        classifier_pb2_grpc.add_ClassifierServicer_to_server(servicer, self._server)
        if settings.open_inference:
            inference = InferenceServicer(
                pipeline,
                self.router,
                lambda: self._health.serving,
                longest_call=settings.backend_timeout,
            )
            grpc_service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(
                inference, self._server
            )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if settings.reflection:
            health = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
            names = (*services, health, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, self._server)

        self.address = ""
        self.metrics_address = ""
        self._metrics_server: MetricsServer | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Listen, start the model server, and serve what the repository holds.

        Raises:
            AddressInUseError: An address is taken.
            BackendUnavailableError: The embedded model server does not start.
            ConfigurationError: There is no repository, or a certificate cannot be read.
        """
        await asyncio.to_thread(self._check_repository)
        self.address = self._bind()
        if self._settings.metrics_listen:
            self._metrics_server = MetricsServer(self.metrics, self._settings.metrics_listen)
            self.metrics_address = self._metrics_server.address
        await self._server.start()
        if self._embedded:
            await self._embedded.start()
            self._run(self._embedded.supervise)
        await self._keeper.look()
        self._health.started()
        self._run(self._keeper.run)
        self._run(self.metrics.watch_event_loop)
        serving = [model.name for model in self.router.models() if model.serving]
        log.info("ready", address=self.address, metrics=self.metrics_address, models=serving)

    async def run_until_signal(self) -> None:
        """Serve until SIGTERM or SIGINT, then stop; also while it still starts.

        Raises:
            HeliographError: As for `start`.
        """

        async def serve() -> None:
            await self.start()
            # These run for ever: one that ends has failed, and the gateway with it.
            await asyncio.gather(*self._tasks)

        serving = asyncio.create_task(serve())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, serving.cancel)
        try:
            await asyncio.wait([serving])
            if not serving.cancelled():
                await serving
        finally:
            await self.stop()

    async def look(self) -> None:
        """Look at the repository now, instead of at the next interval."""
        await self._keeper.look()

    async def stop(self) -> None:
        """Say NOT_SERVING, finish the calls in flight, end the model server."""
        log.info("draining", seconds=self._settings.drain_timeout)
        self._health.stopping()
        self._calls.drain()
        self._streams.drain()
        # Sends GOAWAY: clients open no new calls here, and those under way finish.
        await self._server.stop(self._settings.drain_timeout)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._backend.close()
        if self._embedded:
            await self._embedded.stop()
        self._preparation.close()
        if self._metrics_server:
            self._metrics_server.close()
        log.info("stopped")

    def _run(self, work: Callable[[], Any]) -> None:
        self._tasks.append(asyncio.create_task(work()))

    def _check_repository(self) -> None:
        path = self._settings.repository
        if not path.is_dir():
            raise ConfigurationError(
                f"{path} is no model repository; `heliograph export` makes one"
            )

    def _bind(self) -> str:
        listen = self._settings.listen
        try:
            if self._credentials:
                port = self._server.add_secure_port(listen, self._credentials)
            else:
                port = self._server.add_insecure_port(listen)
        except RuntimeError as error:
            raise AddressInUseError(
                f"cannot listen on {listen}: is something else listening there? "
                "Choose another address with --listen"
            ) from error
        return listen if listen.startswith("unix:") else f"{listen.rpartition(':')[0]}:{port}"


def _server_options(settings: Settings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.max_concurrent_streams", settings.max_connection_streams),
        # Without this a second server on the same port would take half of the calls, silently.
        ("grpc.so_reuseport", 0),
        # Lax by default (120 s): a connection that does not speak is closed.
        ("grpc.server_handshake_timeout_ms", 10_000),
        ("grpc.max_allowed_incoming_connections", 4096),
        # Clients may ping an idle connection as often as the SDK can be told to.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ]


def _credentials(settings: Settings) -> grpc.ServerCredentials | None:
    certificate, key, client_ca = (
        settings.tls_certificate,
        settings.tls_key,
        settings.tls_client_ca,
    )
    if certificate is None or key is None:
        return None
    chain, private = _read(certificate), _read(key)
    authorities = _read(client_ca) if client_ca else None
    # gRPC would take files that are no certificates, and then refuse to listen without a reason.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise ConfigurationError(
            f"{certificate} and {key} are no PEM certificate and the private key to it, "
            "without a password"
        ) from error
    try:
        if client_ca:
            context.load_verify_locations(client_ca)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigurationError(f"{client_ca} has no PEM certificates") from error
    return grpc.ssl_server_credentials(
        [(private, chain)],
        root_certificates=authorities,
        require_client_auth=authorities is not None,
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
