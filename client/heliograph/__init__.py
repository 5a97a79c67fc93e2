"""Heliograph: image classifiers from a training run to a production gRPC endpoint.

    from heliograph import Client

    with Client("localhost:9000") as client:
        result = client.classify("cat.jpg", top_k=3)
        print(result.class_name, result.score, result.version)

Public names are imported when they are first used (PEP 562): `import heliograph` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heliograph.aio import AsyncClient
    from heliograph.client import Client
    from heliograph.errors import HeliographError
    from heliograph.images import PreparedImage
    from heliograph.options import KeepaliveOptions, RetryOptions, TlsOptions
    from heliograph.results import ClassScore, Failure, ModelDetails, ModelInfo, Result
    from heliograph.tracing import trace_context
    from heliograph.version import __version__

__all__ = [
    "AsyncClient",
    "ClassScore",
    "Client",
    "Failure",
    "HeliographError",
    "KeepaliveOptions",
    "ModelDetails",
    "ModelInfo",
    "PreparedImage",
    "Result",
    "RetryOptions",
    "TlsOptions",
    "__version__",
    "trace_context",
]

_MODULES = {
    "AsyncClient": "heliograph.aio",
    "ClassScore": "heliograph.results",
    "Client": "heliograph.client",
    "Failure": "heliograph.results",
    "HeliographError": "heliograph.errors",
    "KeepaliveOptions": "heliograph.options",
    "ModelDetails": "heliograph.results",
    "ModelInfo": "heliograph.results",
    "PreparedImage": "heliograph.images",
    "Result": "heliograph.results",
    "RetryOptions": "heliograph.options",
    "TlsOptions": "heliograph.options",
    "__version__": "heliograph.version",
    "trace_context": "heliograph.tracing",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
