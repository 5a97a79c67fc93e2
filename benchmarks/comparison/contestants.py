"""The contestants and the settings that each may choose its best from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Transport = Literal["body", "multipart", "heliograph", "triton", "triton-http"]
"""How an image travels: the body of a POST, a multipart file, or a message of a gRPC service."""


@dataclass(frozen=True)
class Contestant:
    """One way to serve the network."""

    name: str
    title: str
    way: str
    """What it does with a request, in a sentence for the report."""
    environment: str
    """Name of its environment and of its requirements."""
    module: str
    """Server in `servers/`; empty for Heliograph, which has a command."""
    path: str
    transport: Transport
    settings: Mapping[str, Mapping[str, Any]]

    def transport_of(self, setting: str) -> Transport:
        """Return how a setting is asked, which may differ from the others'."""
        transport: Transport = self.settings[setting].get("transport", self.transport)
        return transport

    def path_of(self, setting: str) -> str:
        """Return where a setting is asked."""
        path: str = self.settings[setting].get("path", self.path)
        return path


def _heliograph(*flags: str) -> dict[str, Any]:
    return {"flags": list(flags)}


def _mosec(workers: int, size: int, wait: int, decoders: int = 0) -> dict[str, Any]:
    return {
        "workers": workers,
        "max_batch_size": size,
        "max_wait_time": wait,
        "decoders": decoders,
    }


def _triton(callables: int, size: int, delay: int) -> dict[str, Any]:
    return {"callables": callables, "max_batch_size": size, "queue_delay_us": delay}


def _litserve(workers: int, servers: int, size: int, timeout: float, fast: bool) -> dict[str, Any]:
    return {
        "workers": workers,
        "api_servers": servers,
        "max_batch_size": size,
        "batch_timeout": timeout,
        "fast_queue": fast,
    }


def _bentoml(workers: int, size: int, latency: int, batch: bool) -> dict[str, Any]:
    alone: dict[str, Any] = {"transport": "body", "path": "/classify"}
    return {
        "workers": workers,
        "max_batch_size": size,
        "max_latency_ms": latency,
        **({} if batch else alone),
    }


def _flask(server: str, workers: int, threads: int) -> dict[str, Any]:
    return {"server": server, "workers": workers, "threads": threads}


_TRITON_SETTINGS = {
    "1 callable, batch 64, no delay": _triton(1, 64, 0),
    "1 callable, batch 64, 1 ms": _triton(1, 64, 1000),
    "1 callable, batch 16, 2 ms": _triton(1, 16, 2000),
    "2 callables, batch 32, no delay": _triton(2, 32, 0),
}

CONTESTANTS = {
    contestant.name: contestant
    for contestant in (
        Contestant(
            "heliograph",
            "Heliograph",
            "gRPC; the gateway decodes and batches, its model server predicts in another process",
            *("heliograph", "", "/heliograph.v1.Classifier/Classify", "heliograph"),
            {
                "1 worker, 1 batch in flight": _heliograph(
                    "--workers=1", "--backend-batches-in-flight=1"
                ),
                "1 worker, 2 batches in flight": _heliograph(
                    "--workers=1", "--backend-batches-in-flight=2"
                ),
                "2 workers, 1 batch in flight": _heliograph(
                    "--workers=2", "--backend-batches-in-flight=1"
                ),
                "2 workers, 2 batches in flight": _heliograph(
                    "--workers=2", "--backend-batches-in-flight=2"
                ),
                "4 workers, 1 batch in flight": _heliograph(
                    "--workers=4", "--backend-batches-in-flight=1"
                ),
            },
        ),
        Contestant(
            "mosec",
            "mosec",
            "HTTP/1.1; a server in Rust batches, Python processes decode and predict",
            *("mosec", "mosec_server", "/inference", "body"),
            {
                "1 worker, batch 16, 1 ms": _mosec(1, 16, 1),
                "1 worker, batch 64, 1 ms": _mosec(1, 64, 1),
                "1 worker, batch 64, 5 ms": _mosec(1, 64, 5),
                "2 workers, batch 32, 1 ms": _mosec(2, 32, 1),
                "2 workers, no batches": _mosec(2, 1, 1),
                "1 worker and 1 decoder, batch 32, 1 ms": _mosec(1, 32, 1, decoders=1),
            },
        ),
        Contestant(
            "triton",
            "Triton (pytriton)",
            "gRPC; Triton batches, a Python callable decodes and predicts",
            *("triton", "triton_server", "/inference.GRPCInferenceService/ModelInfer", "triton"),
            _TRITON_SETTINGS,
        ),
        Contestant(
            "triton-http",
            "Triton (pytriton), HTTP",
            "HTTP/1.1; as above, over Triton's HTTP endpoint with the binary extension",
            *("triton", "triton_server", "/v2/models/images/infer", "triton-http"),
            _TRITON_SETTINGS,
        ),
        Contestant(
            "litserve",
            "LitServe",
            "HTTP/1.1; FastAPI processes, batches in worker processes",
            *("litserve", "litserve_server", "/classify", "body"),
            {
                "1 worker, batch 16, 2 ms": _litserve(1, 1, 16, 0.002, False),
                "1 worker, batch 64, 5 ms": _litserve(1, 1, 64, 0.005, False),
                "1 worker, batch 16, 2 ms, fast queue": _litserve(1, 1, 16, 0.002, True),
                "2 workers, 2 API servers, no batches": _litserve(2, 2, 1, 0.0, False),
                "1 worker, 2 API servers, batch 32, 2 ms": _litserve(1, 2, 32, 0.002, False),
            },
        ),
        Contestant(
            "bentoml",
            "BentoML",
            "HTTP/1.1; adaptive batching in the service's processes",
            *("bentoml", "bentoml_server", "/classify_batch", "multipart"),
            {
                "1 worker, adaptive batch 64": _bentoml(1, 64, 1000, True),
                "2 workers, adaptive batch 64": _bentoml(2, 64, 1000, True),
                "1 worker, no batches": _bentoml(1, 64, 1000, False),
                "2 workers, no batches": _bentoml(2, 64, 1000, False),
            },
        ),
        Contestant(
            "fastapi",
            "FastAPI + signature",
            "HTTP/1.1; uvicorn, one call of the signature per request",
            *("fastapi", "fastapi_server", "/classify", "body"),
            {
                "1 worker, on the event loop": {"workers": 1, "threads": 0},
                "1 worker, 4 threads": {"workers": 1, "threads": 4},
                "2 workers, on the event loop": {"workers": 2, "threads": 0},
                "2 workers, 2 threads": {"workers": 2, "threads": 2},
            },
        ),
        Contestant(
            "flask",
            "Flask + model.predict",
            "HTTP/1.1; the guide's own way, one call of model.predict per request",
            *("flask", "flask_server", "/classify", "body"),
            {
                "gunicorn, 1 process of 4 threads": _flask("gunicorn", 1, 4),
                "gunicorn, 2 processes of 1 thread": _flask("gunicorn", 2, 1),
                "gunicorn, 2 processes of 2 threads": _flask("gunicorn", 2, 2),
                "waitress, 4 threads": _flask("waitress", 1, 4),
            },
        ),
    )
}
