"""The serving half of the gateway: gRPC services on an address, answering by a router.

Built by one function in reading order. What the router knows is decided by the catalogue, in this
process or, with several workers, in the supervisor's.
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from heliograph.errors import AddressInUseError, ConfigurationError
from heliograph.preprocessing import ImageLimits
from heliograph.v1 import classifier_pb2_grpc
from heliograph_gateway.admission import Admission
from heliograph_gateway.authentication import TokenAuthenticator
from heliograph_gateway.batching import Batcher
from heliograph_gateway.calls import CallInterceptor
from heliograph_gateway.health import CLASSIFIER, HealthServicer
from heliograph_gateway.inference import grpc_service_pb2_grpc
from heliograph_gateway.metrics import GatewayMetrics
from heliograph_gateway.open_inference.servicer import INFERENCE, InferenceServicer
from heliograph_gateway.pipeline import Pipeline
from heliograph_gateway.preparation import Preparation
from heliograph_gateway.routing import Router
from heliograph_gateway.servicer import ClassifierServicer
from heliograph_gateway.settings import Settings
from heliograph_gateway.streaming import StreamClassifier


class Endpoint:
    """The gRPC services, and the path of a request behind them."""

    def __init__(
        self, settings: Settings, router: Router, batcher: Batcher, metrics: GatewayMetrics
    ) -> None:
        """Build the services; nothing listens yet.

        Args:
            settings: Everything that can be set.
            router: Says which version answers.
            batcher: Computes.
            metrics: Where calls are counted.

        Raises:
            ConfigurationError: A file that the settings name cannot be used.
        """
        self._settings = settings
        self._metrics = metrics
        self._preparation = Preparation(limits_of(settings), settings.decode_threads)
        # A larger batch would always find the gateway full.
        max_batch_images = min(settings.max_batch_images, settings.max_in_flight)
        pipeline = Pipeline(
            Admission(settings.max_in_flight, metrics),
            router,
            self._preparation,
            batcher,
            metrics,
            max_batch_images=max_batch_images,
        )
        self._streams = StreamClassifier(
            pipeline,
            window=settings.stream_window,
            max_bytes=settings.max_message_bytes,
            max_message_images=max_batch_images,
            longest_message=settings.backend_timeout,
        )

        services = [CLASSIFIER, *([INFERENCE] if settings.open_inference else [])]
        self._health = HealthServicer(router, services)
        metrics.follow(router)
        self._credentials, tokens = read_secrets(settings)
        self._calls = CallInterceptor(metrics, tokens, access_log=settings.access_log)
        self._server = grpc.aio.server(
            interceptors=[self._calls], options=_server_options(settings)
        )
        servicer = ClassifierServicer(
            pipeline, self._streams, router, longest_call=settings.backend_timeout
        )
        classifier_pb2_grpc.add_ClassifierServicer_to_server(servicer, self._server)
        if settings.open_inference:
            inference = InferenceServicer(
                pipeline,
                router,
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
        self._watching: asyncio.Task[None] | None = None

    @property
    def serving(self) -> bool:
        """Whether health says so."""
        return self._health.serving

    def bind(self) -> str:
        """Take the address and return it, with the port that was taken.

        Raises:
            AddressInUseError: It is taken.
        """
        listen = self._settings.listen
        try:
            if self._credentials:
                port = self._server.add_secure_port(listen, self._credentials)
            else:
                port = self._server.add_insecure_port(listen)
        except RuntimeError as error:
            raise address_in_use(listen) from error
        return listen if listen.startswith("unix:") else f"{listen.rpartition(':')[0]}:{port}"

    async def start(self) -> None:
        """Answer calls; health says NOT_SERVING."""
        await self._server.start()
        self._watching = asyncio.create_task(self._metrics.watch_event_loop())

    def open(self) -> None:
        """Say that the gateway is serving, and its models as the router has them."""
        self._health.started()

    async def run(self) -> None:
        """Watch the event loop; ends only with an error."""
        if self._watching:
            await self._watching

    async def stop(self) -> None:
        """Say NOT_SERVING, and finish the calls in flight."""
        self._health.stopping()
        self._calls.drain()
        self._streams.drain()
        # Sends GOAWAY: clients open no new calls here, and those under way finish.
        await self._server.stop(self._settings.drain_timeout)
        self._preparation.close()
        if self._watching:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)


def limits_of(settings: Settings) -> ImageLimits:
    """Return what an encoded image may be."""
    return ImageLimits(
        max_bytes=settings.max_image_bytes,
        max_pixels=settings.max_image_pixels,
        formats=settings.image_formats,
    )


def address_in_use(listen: str) -> AddressInUseError:
    """Return the error for an address that cannot be listened on."""
    return AddressInUseError(
        f"cannot listen on {listen}: is something else listening there? "
        "Choose another address with --listen"
    )


def _server_options(settings: Settings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.max_concurrent_streams", settings.max_connection_streams),
        # Where the port is shared, a second gateway on it would take half of the calls, silently.
        # With several workers the supervisor keeps others away.
        ("grpc.so_reuseport", int(settings.workers > 1)),
        # Lax by default (120 s): a connection that does not speak is closed.
        ("grpc.server_handshake_timeout_ms", 10_000),
        ("grpc.max_allowed_incoming_connections", 4096),
        # Clients may ping an idle connection as often as the SDK can be told to.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ]


def read_secrets(
    settings: Settings,
) -> tuple[grpc.ServerCredentials | None, TokenAuthenticator | None]:
    """Read certificates and tokens, as far as the settings name files of them.

    Raises:
        ConfigurationError: A file cannot be read, or holds something else.
    """
    tokens = TokenAuthenticator(settings.token_file) if settings.token_file else None
    return _credentials(settings), tokens


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
