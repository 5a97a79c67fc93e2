"""The settings of the web server: checked when they are made, frozen, passed down."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from heliograph.errors import ConfigurationError
from heliograph_web.listening import ListenAddress
from heliograph_web.protection import LOOPBACK_HOSTS
from heliograph_web.upload import UploadLimits


@dataclass(frozen=True)
class WebSettings:
    """Everything that can be set."""

    listen: ListenAddress
    """Address of the page."""
    model: str | None = None
    """Model asked where a request names none; None for the only one served."""
    limits: UploadLimits = field(default_factory=UploadLimits)
    """Limits of an upload."""
    allow_hosts: tuple[str, ...] = ()
    """Names under which the page may be called, beside those of loopback."""
    insecure: bool = False
    """Allow an address beyond loopback without TLS."""
    tls_certificate: Path | None = None
    """PEM file with the server's certificate chain."""
    tls_key: Path | None = None
    """PEM file with the server's private key."""
    tls_client_ca: Path | None = None
    """PEM file with the authorities of client certificates, which are then required."""
    access_log: bool = False
    """Log every request."""

    def __post_init__(self) -> None:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ConfigurationError("--tls-certificate and --tls-key go together")
        if self.tls_client_ca and not self.tls_certificate:
            raise ConfigurationError("--tls-client-ca needs --tls-certificate and --tls-key")
        if not (self.listen.is_loopback or self.tls_certificate or self.insecure):
            raise ConfigurationError(
                f"{self.listen} can be reached from other machines: give --tls-certificate and "
                "--tls-key, or --insecure"
            )

    @property
    def allowed_hosts(self) -> frozenset[str] | None:
        """Names that a Host header may carry; None allows all.

        Beyond loopback it is for the operator to say which: unasked, all are allowed.
        """
        if not self.listen.is_loopback and not self.allow_hosts:
            return None
        return LOOPBACK_HOSTS | {host.lower() for host in self.allow_hosts} | {self.listen.host}
