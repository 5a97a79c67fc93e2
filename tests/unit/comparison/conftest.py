"""Makes the benchmarks importable, which are no installed package, and a document to report on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))


def measured(rate: float, concurrency: int, setting: str, **others: Any) -> dict[str, Any]:
    """One measurement; latencies follow from the rate, as in a closed loop."""
    latency = concurrency / rate * 1000
    return {
        "setting": setting,
        "concurrency": concurrency,
        "requests_per_second": rate,
        "p50_ms": latency,
        "p95_ms": latency * 1.5,
        "p99_ms": latency * 2,
        "server_cpu_ms": 0.5,
        "generator_cpu_ms": 0.05,
        "resident_mb": 700.0,
        **others,
    }


def contestant(title: str, transport: str, rates: list[float]) -> dict[str, Any]:
    """A contestant with a good and a bad setting, and one rate for each round at 16 callers."""
    return {
        "title": title,
        "way": f"{transport}; as it does",
        "transport": transport,
        "settings": {"good": {"workers": 2}, "bad": {"workers": 1}},
        "selection": [measured(rates[0], 16, "good"), measured(rates[0] / 2, 16, "bad")],
        "chosen": {"16": "good"},
        "rounds": [measured(rate, 16, "good", round=number) for number, rate in enumerate(rates)],
    }


@pytest.fixture
def document() -> dict[str, Any]:
    """A run of three rounds: mosec is faster than Heliograph, Triton slower, Flask failed."""
    flask = contestant("Flask", "HTTP/1.1", [20.0, 20.0, 20.0])
    flask["rounds"][1] = {
        "setting": "good",
        "concurrency": 16,
        "round": 1,
        "failure": "2 of 40 requests failed",
    }
    return {
        "schema": 1,
        "date": "2026-11-24",
        "commit": "0123abc",
        "machine": {
            "processor": "A processor",
            "cores": 2,
            "memory_gb": 25,
            "system": "Linux",
            "python": "3.11.7",
            "h2load": "h2load nghttp2/1.52.0",
        },
        "options": {"rounds": 3, "seconds": 4.0, "selecting": 2.0},
        "versions": {"mosec": {"mosec": "0.9.8", "Pillow": "13.0.0", "six": "1.17.0"}},
        "cases": {
            "small": {
                "title": "the guide's CNN",
                "recipe": "decode(rgb) | resize(32, 32)",
                "image_bytes": 1002,
                "contestants": {
                    "heliograph": contestant("Heliograph", "gRPC", [1000.0, 900.0, 1100.0]),
                    "mosec": contestant("mosec", "HTTP/1.1", [2000.0, 1500.0, 2200.0]),
                    "triton": contestant("Triton", "gRPC", [500.0, 300.0, 500.0]),
                    "flask": flask,
                },
                "batch": 64,
                "limits": [],
            }
        },
    }


@pytest.fixture
def root() -> Path:
    """The top folder of the repository."""
    return ROOT
