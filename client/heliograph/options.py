"""Options of a client: small frozen values, each checked when it is made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from heliograph.errors import BY_STATUS, ConfigurationError

MAX_ATTEMPTS = 5
"""gRPC makes no more attempts than this, whatever it is asked for."""


@dataclass(frozen=True)
class RetryOptions:
    """When and how often a failed call is tried again, within its deadline.

    gRPC itself does the retrying. It obeys a server that asks for a delay, and stops retrying while
    more than about half of the calls to a target fail, so that retries do not feed an overload.
    """

    attempts: int = 3
    """Attempts in all, from 1 (never try again) to 5."""
    initial_backoff: float = 0.1
    """Seconds before the second attempt, at most; the actual delay is random below it."""
    max_backoff: float = 2.0
    """Seconds that the delay never passes, however many attempts there were."""
    multiplier: float = 2.0
    """Factor by which the delay grows with every attempt, at least 1."""
    statuses: tuple[str, ...] = ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "CANCELLED")
    """Names of the gRPC statuses that are worth another attempt. CANCELLED is what gRPC's core
    gives to a call that reaches a server as it begins to drain; a call that the client itself
    cancels is never tried again."""

    def __post_init__(self) -> None:
        if not 1 <= self.attempts <= MAX_ATTEMPTS:
            raise ConfigurationError(f"attempts is {self.attempts}; use 1 to {MAX_ATTEMPTS}")
        _require_seconds("initial_backoff", self.initial_backoff)
        _require_seconds("max_backoff", self.max_backoff)
        if not 1 <= self.multiplier < math.inf:
            raise ConfigurationError(f"multiplier is {self.multiplier}; use 1 or more")
        unknown = [status for status in self.statuses if status not in BY_STATUS]
        if unknown or not self.statuses:
            raise ConfigurationError(
                f"statuses is {self.statuses}; use one or more of {', '.join(BY_STATUS)}"
            )


@dataclass(frozen=True)
class TlsOptions:
    """Encryption of the connection, and who each side proves to be."""

    ca: str | Path | bytes | None = None
    """PEM file (or its content as bytes) of the authorities that may sign the server's certificate;
    None trusts those that gRPC ships with."""
    certificate: str | Path | bytes | None = None
    """PEM file (or content) of the client's own certificate chain, for servers that ask for one."""
    key: str | Path | bytes | None = None
    """PEM file (or content) of the private key that belongs to `certificate`."""
    server_name: str | None = None
    """Name that the server's certificate must carry, where it differs from the target's host."""

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ConfigurationError("a client certificate needs both certificate and key")


@dataclass(frozen=True)
class KeepaliveOptions:
    """How soon a connection that has gone silent is noticed."""

    interval: float = 30.0
    """Seconds without traffic after which the server is pinged."""
    timeout: float = 10.0
    """Seconds without an answer to a ping after which the connection counts as broken."""
    without_calls: bool = False
    """Whether to ping while no call is waiting for an answer; servers may forbid it."""

    def __post_init__(self) -> None:
        _require_seconds("interval", self.interval)
        _require_seconds("timeout", self.timeout)


def _require_seconds(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ConfigurationError(f"{name} is {value}; use seconds above 0")


DEFAULT_RETRY = RetryOptions()
DEFAULT_KEEPALIVE = KeepaliveOptions()
