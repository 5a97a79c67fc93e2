"""A real gateway on a free port, with a fake backend, called over gRPC."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from heliograph.repository import Repository
from heliograph.v1.classifier_pb2 import ClassifyRequest, Image, ModelSelector
from heliograph.v1.classifier_pb2_grpc import ClassifierStub
from heliograph_gateway.application import Gateway
from heliograph_gateway.backends.fake import FakeBackend
from heliograph_gateway.settings import Settings
from heliograph_gateway.versions import Host

if TYPE_CHECKING:
    from tests.conftest import Brightness

    from heliograph.v1.classifier_pb2_grpc import ClassifierAsyncStub


@dataclass(frozen=True)
class Refusal:
    """What a failed call says, each part read from where clients read it."""

    code: str
    message: str
    reason: str
    domain: str
    request_id: str
    retry_seconds: float | None
    trailers: dict[str, str | bytes]


@dataclass(frozen=True)
class RunningGateway:
    """A gateway and what is around it."""

    gateway: Gateway
    backend: FakeBackend
    channel: grpc.aio.Channel
    stub: ClassifierAsyncStub
    """The generated stub."""
    brightness: Brightness

    def request(self, image: bytes | None = None, /, **model: Any) -> ClassifyRequest:
        """A request with an image, by default a good one, and fields of the model selector."""
        encoded = self.brightness.image() if image is None else image
        return ClassifyRequest(model=ModelSelector(**model), image=Image(encoded=encoded))

    def raw(self, method: str) -> grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]:
        """A method of the service Classifier that takes and gives bytes."""
        return self.channel.unary_unary(f"/heliograph.v1.Classifier/{method}")

    async def refusal(self, call: Awaitable[Any]) -> Refusal:
        """What a call that must fail says."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        return read_refusal(caught.value)

    def metric(self, name: str, **labels: str) -> float:
        """The value of a metric; 0 when there is no such sample."""
        return self.gateway.metrics.registry.get_sample_value(name, labels) or 0.0


def read_refusal(error: grpc.aio.AioRpcError) -> Refusal:
    """Take a failed call apart."""
    trailers: dict[str, str | bytes] = dict(error.trailing_metadata() or ())
    details = trailers.get("grpc-status-details-bin", b"")
    assert isinstance(details, bytes)
    status = status_pb2.Status.FromString(details)
    found = read_details(status)
    if status.code:
        assert (status.code, status.message) == (error.code().value[0], error.details())
    return Refusal(
        code=error.code().name,
        message=error.details() or "",
        trailers=trailers,
        **found,
    )


def read_details(status: status_pb2.Status) -> dict[str, Any]:
    """Read ErrorInfo and RetryInfo of a status."""
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    unpacked: list[Message] = []
    for detail in status.details:
        unpacked.extend(kind for kind in (info, retry) if detail.Unpack(kind))
    return {
        "reason": info.reason,
        "domain": info.domain,
        "request_id": info.metadata.get("request_id", ""),
        "retry_seconds": retry.retry_delay.ToNanoseconds() / 1e9 if retry in unpacked else None,
    }


ReadDetails = Callable[[status_pb2.Status], dict[str, Any]]


@pytest.fixture(name="read_details")
def read_details_fixture() -> ReadDetails:
    """Read ErrorInfo and RetryInfo of the error of an image."""
    return read_details


StartGateway = Callable[..., Awaitable[RunningGateway]]


@pytest.fixture
async def start_gateway(repository: Path, brightness: Brightness) -> AsyncIterator[StartGateway]:
    """Start gateways on the repository; settings by name."""
    running: list[RunningGateway] = []

    async def start(
        *, backend: FakeBackend | None = None, host: Host | None = None, **settings: Any
    ) -> RunningGateway:
        free = "127.0.0.1:0"
        defaults: dict[str, Any] = {
            "listen": free,
            "metrics_listen": "",
            "poll_interval": 0.02,
            "drain_timeout": 5,
        }
        backend = backend or FakeBackend(Repository(repository), brightness.compute)
        gateway = Gateway(
            Settings(repository=repository, **(defaults | settings)), backend=backend, host=host
        )
        await gateway.start()
        channel = grpc.aio.insecure_channel(gateway.address)
        running.append(
            RunningGateway(
                gateway,
                backend,
                channel,
                cast("ClassifierAsyncStub", ClassifierStub(channel)),
                brightness,
            )
        )
        return running[-1]

    yield start
    for each in running:
        each.backend.resume()
        await each.channel.close()
        await each.gateway.stop()


@pytest.fixture
async def gateway(
    start_gateway: StartGateway, repository: Path, brightness: Brightness
) -> RunningGateway:
    """A gateway that serves one version of the model `brightness`."""
    brightness.publish(repository)
    return await start_gateway()


Eventually = Callable[[Callable[[], Any]], Awaitable[None]]


@pytest.fixture
def eventually() -> Eventually:
    """Wait for a condition to hold; fail the test when it does not come to hold."""

    async def wait(condition: Callable[[], Any]) -> None:
        end = time.monotonic() + 10.0
        while not condition():
            assert time.monotonic() < end, "the condition did not come to hold"
            await asyncio.sleep(0.002)

    return wait
