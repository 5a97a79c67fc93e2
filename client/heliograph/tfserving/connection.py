"""Where TensorFlow Serving is, and how it is connected to."""

from __future__ import annotations

from typing import Final

from heliograph.endpoint import Endpoint
from heliograph.options import KeepaliveOptions, RetryOptions, TlsOptions

SERVICES: Final = ("tensorflow.serving.PredictionService",)
"""Services whose calls may be tried again. A reload may not: its outcome has to be looked up."""

DEFAULT_TARGET: Final = "localhost:8500"
"""Where TensorFlow Serving listens unless it is told otherwise."""


def endpoint(
    target: str,
    *,
    timeout: float,
    retry: RetryOptions,
    tls: TlsOptions | None,
    keepalive: KeepaliveOptions,
    channels: int,
    wait_for_ready: bool,
) -> Endpoint:
    """Return the endpoint of a model server.

    Messages have no limit, as on TFS's own side, and a proxy of the environment is never used: it
    would be asked for a backend that only this network knows.
    """
    return Endpoint(
        target,
        SERVICES,
        timeout=timeout,
        retry=retry,
        tls=tls,
        keepalive=keepalive,
        channels=channels,
        wait_for_ready=wait_for_ready,
        max_message_bytes=-1,
        http_proxy=False,
    )
