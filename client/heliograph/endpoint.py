"""Where a client connects, and how: from options to gRPC channels."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from heliograph.errors import ConfigurationError, InvalidArgumentError
from heliograph.options import KeepaliveOptions, RetryOptions, TlsOptions
from heliograph.version import __version__

MIB = 1024 * 1024

Token = str | Callable[[], str] | None
"""A bearer token, or a function that returns the one in force now."""


@dataclass(frozen=True)
class Endpoint:
    """Everything that decides how a client's channels are made; checked when it is made."""

    target: str
    """gRPC target: `host:port`, `dns:///host:port`, `unix:/path` and so on."""
    services: tuple[str, ...]
    """Full names of the services whose calls may be tried again."""
    streams: tuple[str, ...] = ()
    """Paths of calls that gRPC does not try again: streams, as `/<service>/<method>`."""
    timeout: float = 10.0
    """Seconds that a call may take unless it says otherwise."""
    retry: RetryOptions = field(default_factory=RetryOptions)
    """Retries of failed calls."""
    tls: TlsOptions | None = None
    """Encryption; None speaks plain text."""
    token: Token = None
    """Bearer token of every call; only over TLS, a unix socket or loopback."""
    keepalive: KeepaliveOptions = field(default_factory=KeepaliveOptions)
    """Pings of a silent connection."""
    channels: int = 1
    """Connections, used in turn; one HTTP/2 connection reaches one worker of the server."""
    wait_for_ready: bool = False
    """Whether a call waits for an unreachable server until its deadline instead of failing."""
    max_message_bytes: int = 64 * MIB
    """Largest message sent or received; -1 sets no limit."""
    http_proxy: bool = True
    """Whether a proxy that the environment names is used; never for loopback and unix sockets."""

    def __post_init__(self) -> None:
        if not self.target:
            raise ConfigurationError("the target is empty; use host:port or unix:/path")
        if self.channels < 1:
            raise ConfigurationError(f"channels is {self.channels}; use 1 or more")
        seconds(self.timeout)
        if self.token is not None and self.tls is None and not is_local(self.target):
            raise ConfigurationError(
                f"a token would travel to {self.target} in plain text; pass tls=TlsOptions(...)"
            )

    def open(self) -> list[grpc.Channel]:
        """Open the channels; they connect with the first call."""
        arguments, credentials = self.arguments(), self.credentials()
        return [
            grpc.insecure_channel(self.target, arguments)
            if credentials is None
            else grpc.secure_channel(self.target, credentials, arguments)
            for _ in range(self.channels)
        ]

    def open_aio(self) -> list[grpc.aio.Channel]:
        """Open the channels for the running event loop; they connect with the first call."""
        arguments, credentials = self.arguments(), self.credentials()
        return [
            grpc.aio.insecure_channel(self.target, arguments)
            if credentials is None
            else grpc.aio.secure_channel(self.target, credentials, arguments)
            for _ in range(self.channels)
        ]

    def arguments(self) -> list[tuple[str, Any]]:
        """Return the arguments of each channel."""
        retries = self.retry.attempts > 1
        arguments: list[tuple[str, Any]] = [
            ("grpc.primary_user_agent", f"heliograph-python/{__version__}"),
            (
                "grpc.service_config",
                json.dumps(service_config(self.services, self.retry, self.streams)),
            ),
            ("grpc.enable_retries", int(retries)),
            ("grpc.max_send_message_length", self.max_message_bytes),
            ("grpc.max_receive_message_length", self.max_message_bytes),
            ("grpc.keepalive_time_ms", round(self.keepalive.interval * 1000)),
            ("grpc.keepalive_timeout_ms", round(self.keepalive.timeout * 1000)),
            ("grpc.keepalive_permit_without_calls", int(self.keepalive.without_calls)),
            # A server that comes back is found again within seconds, not two minutes.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 5000),
        ]
        if retries:
            # A call is only tried again while all of it is still held. gRPC's own 256 KiB would
            # silently leave large images without retries.
            held = self.max_message_bytes if self.max_message_bytes > 0 else 1024 * MIB
            arguments.append(("grpc.per_rpc_retry_buffer_size", held + MIB))
        if is_local(self.target) or not self.http_proxy:
            # With `http_proxy` set, gRPC would ask the proxy for the proxy's own loopback.
            arguments.append(("grpc.enable_http_proxy", 0))
        if self.channels > 1:
            # Otherwise channels to one target share one connection.
            arguments.append(("grpc.use_local_subchannel_pool", 1))
        if self.tls is not None and self.tls.server_name is not None:
            arguments.append(("grpc.ssl_target_name_override", self.tls.server_name))
        return arguments

    def credentials(self) -> grpc.ChannelCredentials | None:
        """Read the certificates; None for a plain connection.

        Raises:
            ConfigurationError: A file cannot be read.
        """
        if self.tls is None:
            return None
        return grpc.ssl_channel_credentials(
            root_certificates=_pem("ca", self.tls.ca),
            private_key=_pem("key", self.tls.key),
            certificate_chain=_pem("certificate", self.tls.certificate),
        )

    def authorization(self) -> tuple[tuple[str, str], ...]:
        """Return the metadata that carries the token in force now.

        Raises:
            ConfigurationError: The token is empty or cannot be sent in a header.
        """
        if self.token is None:
            return ()
        token = self.token if isinstance(self.token, str) else self.token()
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise ConfigurationError("the token is empty or has blanks or control characters")
        return (("authorization", f"Bearer {token}"),)


def service_config(
    services: tuple[str, ...], retry: RetryOptions, streams: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return gRPC's service config: round robin over the target's addresses, and retries.

    `heliograph/service_config.json` is this for the gateway and the default options, to be handed
    to gRPC in other languages.
    """
    balancing: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
    if retry.attempts == 1:
        return balancing
    policy = {
        "maxAttempts": retry.attempts,
        "initialBackoff": f"{retry.initial_backoff:.3f}s",
        "maxBackoff": f"{retry.max_backoff:.3f}s",
        "backoffMultiplier": retry.multiplier,
        "retryableStatusCodes": list(retry.statuses),
    }
    methods = [{"name": [{"service": name} for name in services], "retryPolicy": policy}]
    if streams:
        # What names a method goes before what names its service. Whoever sends on a stream knows
        # what was answered; gRPC would keep all that is sent, to send all of it again.
        names = [path.strip("/").split("/") for path in streams]
        methods.append({"name": [{"service": name, "method": method} for name, method in names]})
    return balancing | {
        "methodConfig": methods,
        # A failed attempt takes 1 token, a call that succeeds gives 0.1 back, and there are no
        # retries while half of the tokens are gone.
        "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1},
    }


def is_local(target: str) -> bool:
    """Return whether a target stays on this machine: a unix socket, or nothing but loopback."""
    scheme, separator, rest = target.partition(":")
    if separator and scheme in {"unix", "unix-abstract"}:
        return True
    if separator and scheme in {"dns", "ipv4", "ipv6"}:
        addresses = rest.rpartition("/")[2] if scheme == "dns" else rest
    else:
        addresses = target
    return all(_is_loopback(address) for address in addresses.split(","))


def seconds(timeout: float) -> float:
    """Return a timeout that makes sense.

    Raises:
        InvalidArgumentError: It is not a finite number of seconds above 0.
    """
    if not 0 < timeout < math.inf:
        raise InvalidArgumentError(f"timeout is {timeout}; use seconds above 0")
    return timeout


def _is_loopback(address: str) -> bool:
    if address.startswith("["):
        host = address[1:].partition("]")[0]
    else:
        host = address.rpartition(":")[0] if address.count(":") == 1 else address
    return (
        host.lower() == "localhost"
        or host == "::1"
        or (host.startswith("127.") and host.replace(".", "").isdigit())
    )


def _pem(name: str, source: str | Path | bytes | None) -> bytes | None:
    if source is None or isinstance(source, bytes):
        return source
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read tls {name} {source}: {error.strerror}") from error
