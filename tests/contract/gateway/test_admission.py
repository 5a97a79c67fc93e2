"""Admission over the wire: what cannot be finished is refused at once, and nothing is leaked."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from heliograph.errors import BackendUnavailableError, InvalidArgumentError
from heliograph.v1.classifier_pb2 import BatchClassifyRequest, Image

if TYPE_CHECKING:
    from tests.conftest import Brightness
    from tests.contract.gateway.conftest import Eventually, RunningGateway, StartGateway


def inside(gateway: RunningGateway) -> float:
    return gateway.metric("heliograph_inflight")


@pytest.fixture
async def small(
    start_gateway: StartGateway, repository: Path, brightness: Brightness
) -> RunningGateway:
    """A gateway with four places, whose backend answers nothing before it is resumed."""
    brightness.publish(repository)
    gateway = await start_gateway(max_in_flight=4)
    gateway.backend.pause()
    return gateway


async def test_a_full_gateway_refuses_at_once_and_says_when_to_come_back(
    small: RunningGateway, eventually: Eventually
) -> None:
    calls = [small.stub.Classify(small.request()) for _ in range(4)]
    await eventually(lambda: inside(small) == 4)

    start = time.monotonic()
    refusal = await small.refusal(small.stub.Classify(small.request()))

    assert time.monotonic() - start < 1
    assert (refusal.code, refusal.reason) == ("RESOURCE_EXHAUSTED", "OVERLOADED")
    assert refusal.retry_seconds == 0.1
    assert refusal.trailers["grpc-retry-pushback-ms"] == "100"
    assert small.metric("heliograph_admission_rejected_total", reason="overload") == 1
    small.backend.resume()
    for call in calls:
        assert (await call).classification.classes
    assert inside(small) == 0


async def test_a_batch_counts_by_its_images(small: RunningGateway, eventually: Eventually) -> None:
    image = Image(encoded=small.brightness.image())
    call = small.stub.BatchClassify(BatchClassifyRequest(images=[image] * 3))
    await eventually(lambda: inside(small) == 3)

    refusal = await small.refusal(
        small.stub.BatchClassify(BatchClassifyRequest(images=[image] * 2))
    )

    assert refusal.reason == "OVERLOADED"
    small.backend.resume()
    await call


async def test_a_client_that_cancels_frees_its_place_within_100_ms(
    small: RunningGateway, eventually: Eventually
) -> None:
    seconds = []
    for _ in range(5):
        calls = [small.stub.Classify(small.request()) for _ in range(4)]
        await eventually(lambda: inside(small) == 4)
        start = time.monotonic()
        for call in calls:
            call.cancel()
        await eventually(lambda: inside(small) == 0)
        seconds.append(time.monotonic() - start)

    # A machine that is busy with other things may stall once, and not each time.
    assert min(seconds) < 0.1
    small.backend.resume()
    assert (await small.stub.Classify(small.request())).classification.classes


async def test_a_client_that_disconnects_frees_its_place(
    small: RunningGateway, eventually: Eventually
) -> None:
    channel = grpc.aio.insecure_channel(small.gateway.address)
    classify: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
        "/heliograph.v1.Classifier/Classify"
    )
    call = classify(small.request().SerializeToString())
    await eventually(lambda: inside(small) == 1)

    await channel.close()

    with pytest.raises((asyncio.CancelledError, grpc.aio.AioRpcError)):
        await call
    await eventually(lambda: inside(small) == 0)


async def test_a_deadline_that_passes_frees_the_place(
    small: RunningGateway, eventually: Eventually
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await small.stub.Classify(small.request(), timeout=0.05)

    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await eventually(lambda: inside(small) == 0)


@pytest.mark.parametrize(
    "failure", [BackendUnavailableError("away"), InvalidArgumentError("bad"), RuntimeError("bug")]
)
async def test_an_error_frees_the_place(failure: Exception, gateway: RunningGateway) -> None:
    gateway.backend.failures.append(failure)

    await gateway.refusal(gateway.stub.Classify(gateway.request()))
    await gateway.refusal(gateway.stub.Classify(gateway.request(b"no image")))
    await gateway.refusal(gateway.stub.Classify(gateway.request(name="darkness")))

    assert inside(gateway) == 0


async def test_cancelled_work_never_reaches_the_backend(
    start_gateway: StartGateway,
    repository: Path,
    brightness: Brightness,
    eventually: Eventually,
) -> None:
    brightness.publish(repository)
    gateway = await start_gateway(backend_batches_in_flight=1)
    gateway.backend.batches.clear()
    gateway.backend.pause()
    first = gateway.stub.Classify(gateway.request())
    await eventually(lambda: inside(gateway) == 1)
    waiting = [gateway.stub.Classify(gateway.request()) for _ in range(5)]
    await eventually(lambda: inside(gateway) == 6)
    for call in waiting:
        call.cancel()
    await eventually(lambda: inside(gateway) == 1)

    gateway.backend.resume()
    await first
    await gateway.stub.Classify(gateway.request())

    assert [len(rows) for _, rows in gateway.backend.batches] == [1, 1]
