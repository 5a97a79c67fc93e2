"""Health checks against grpcio-health-checking's own servicer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from heliograph.errors import NotFoundError

Connect = Callable[..., Any]


@pytest.fixture
def health_server() -> Iterator[tuple[str, Any]]:
    """A server whose only service is health, and its servicer."""
    health = pytest.importorskip("grpc_health.v1.health")
    service = pytest.importorskip("grpc_health.v1.health_pb2_grpc")
    servicer = health.HealthServicer()
    with ThreadPoolExecutor(2) as executor:
        server = grpc.server(executor)
        service.add_HealthServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}", servicer
        server.stop(None).wait()


@pytest.mark.parametrize(
    ("status", "healthy"),
    [("SERVING", True), ("NOT_SERVING", False), ("UNKNOWN", False), ("SERVICE_UNKNOWN", False)],
)
def test_the_status_of_a_model_is_read(
    connect: Connect, health_server: tuple[str, Any], status: str, healthy: bool
) -> None:
    health_pb2 = pytest.importorskip("grpc_health.v1.health_pb2")
    target, servicer = health_server
    servicer.set("model/digits", health_pb2.HealthCheckResponse.ServingStatus.Value(status))

    assert connect(target).health("digits") is healthy


def test_the_server_as_a_whole_is_the_empty_name(
    connect: Connect, health_server: tuple[str, Any]
) -> None:
    target, servicer = health_server
    client = connect(target)

    assert client.health()
    servicer.enter_graceful_shutdown()
    assert not client.health()


def test_a_model_without_a_status_is_not_found(
    connect: Connect, health_server: tuple[str, Any]
) -> None:
    with pytest.raises(NotFoundError):
        connect(health_server[0]).health("digits")
