"""`grpc.health.v1` and reflection: overall, per service, per model, each on its own."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from heliograph.contract import CONTRACT_PATH

if TYPE_CHECKING:
    from tests.conftest import Brightness
    from tests.contract.gateway.conftest import Eventually, RunningGateway, StartGateway

SERVICE = "heliograph.v1.Classifier"
INFERENCE = "inference.GRPCInferenceService"


async def check(gateway: RunningGateway, name: str) -> str:
    """The status of a name, or the code with which the check fails."""
    stub = health_pb2_grpc.HealthStub(gateway.channel)
    try:
        response = await stub.Check(health_pb2.HealthCheckRequest(service=name))
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(response.status))


class Watcher:
    """Follows the status of one name."""

    def __init__(self, gateway: RunningGateway, name: str) -> None:
        stub = health_pb2_grpc.HealthStub(gateway.channel)
        self.call = stub.Watch(health_pb2.HealthCheckRequest(service=name))
        self.seen: list[str] = []
        self._task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        async for response in self.call:
            name = health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)
            self.seen.append(name)

    async def end(self) -> grpc.StatusCode:
        """Wait for the end that the server gives the stream."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self._task
        return caught.value.code()

    async def cancel(self) -> None:
        self.call.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@pytest.fixture
async def watch(gateway: RunningGateway) -> AsyncIterator[Any]:
    """Watch names of the gateway."""
    watchers: list[Watcher] = []

    def start(name: str) -> Watcher:
        watchers.append(Watcher(gateway, name))
        return watchers[-1]

    yield start
    for watcher in watchers:
        await watcher.cancel()


def break_contract(version: Path) -> None:
    (version / CONTRACT_PATH).unlink()


async def test_every_name_has_its_own_health(
    start_gateway: StartGateway, repository: Path, brightness: Brightness
) -> None:
    brightness.publish(repository)
    brightness.publish(repository, name="broken", spoil=break_contract)
    gateway = await start_gateway()

    assert await check(gateway, "") == "SERVING"
    assert await check(gateway, SERVICE) == "SERVING"
    assert await check(gateway, INFERENCE) == "SERVING"
    assert await check(gateway, "model/brightness") == "SERVING"
    assert await check(gateway, "model/broken") == "NOT_SERVING"
    assert await check(gateway, "model/darkness") == "NOT_FOUND"
    assert await check(gateway, "another.Service") == "NOT_FOUND"
    everything = await health_pb2_grpc.HealthStub(gateway.channel).List(
        health_pb2.HealthListRequest()
    )
    models = {"model/brightness", "model/broken"}
    assert set(everything.statuses) == {"", SERVICE, INFERENCE, *models}
    assert everything.statuses["model/broken"].status == 2


async def test_a_watcher_sees_a_model_come_and_go(
    gateway: RunningGateway,
    watch: Any,
    repository: Path,
    brightness: Brightness,
    eventually: Eventually,
) -> None:
    watcher = watch("model/later")
    await eventually(lambda: watcher.seen == ["SERVICE_UNKNOWN"])

    brightness.publish(repository, name="later", spoil=break_contract)
    await eventually(lambda: watcher.seen[1:] == ["NOT_SERVING"])

    brightness.publish(repository, name="later")
    shutil.rmtree(repository / "later" / "1")
    await eventually(lambda: watcher.seen[2:] == ["SERVING"])

    shutil.rmtree(repository / "later")
    await eventually(lambda: watcher.seen[3:] == ["SERVICE_UNKNOWN"])


async def test_a_gateway_that_stops_says_so_before_it_goes(
    gateway: RunningGateway, watch: Any, eventually: Eventually
) -> None:
    watchers = [watch(name) for name in ("", SERVICE, "model/brightness")]
    await eventually(lambda: all(watcher.seen == ["SERVING"] for watcher in watchers))

    await gateway.gateway.stop()

    for watcher in watchers:
        assert await watcher.end() is grpc.StatusCode.UNAVAILABLE
        assert watcher.seen == ["SERVING", "NOT_SERVING"]


async def test_watchers_do_not_hold_up_the_end(
    gateway: RunningGateway, watch: Any, eventually: Eventually
) -> None:
    watcher = watch("")
    await eventually(lambda: watcher.seen)
    start = time.monotonic()

    await gateway.gateway.stop()

    # Far below the five seconds that calls would get.
    assert time.monotonic() - start < 2


async def test_calls_in_flight_finish_while_the_gateway_stops(
    gateway: RunningGateway, eventually: Eventually
) -> None:
    gateway.backend.pause()
    calls = [gateway.stub.Classify(gateway.request()) for _ in range(20)]
    await eventually(lambda: gateway.metric("heliograph_inflight") == 20)

    stopping = asyncio.create_task(gateway.gateway.stop())
    await asyncio.sleep(0.3)
    assert not stopping.done()
    gateway.backend.resume()
    await stopping

    for call in calls:
        assert (await call).classification.classes


async def test_a_call_that_outlasts_the_drain_is_given_up(
    start_gateway: StartGateway, repository: Path, brightness: Brightness, eventually: Eventually
) -> None:
    brightness.publish(repository)
    gateway = await start_gateway(drain_timeout=0.1)
    gateway.backend.pause()
    call = gateway.stub.Classify(gateway.request())
    await eventually(lambda: gateway.metric("heliograph_inflight") == 1)

    await gateway.gateway.stop()

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_watcher_that_does_not_read_does_not_stop_the_news_for_others(
    gateway: RunningGateway,
    watch: Any,
    repository: Path,
    brightness: Brightness,
    eventually: Eventually,
) -> None:
    # A window of one byte: the server cannot write a whole message to this watcher.
    options = [("grpc.http2.lookahead_bytes", 5), ("grpc.http2.bdp_probe", 0)]
    async with grpc.aio.insecure_channel(gateway.gateway.address, options) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        silent = [
            stub.Watch(health_pb2.HealthCheckRequest(service="model/brightness")) for _ in range(3)
        ]
        watcher = watch("model/brightness")
        await eventually(lambda: watcher.seen == ["SERVING"])
        other = watch("model/later")

        for _ in range(5):
            shutil.move(repository / "brightness", repository / ".hidden")
            await gateway.gateway.look()
            shutil.move(repository / ".hidden", repository / "brightness")
            await gateway.gateway.look()
        brightness.publish(repository, name="later")

        await eventually(lambda: other.seen[-1:] == ["SERVING"])
        assert await check(gateway, "model/later") == "SERVING"
        for call in silent:
            call.cancel()


# Reflection.


async def services(gateway: RunningGateway) -> list[str]:
    stub = reflection_pb2_grpc.ServerReflectionStub(gateway.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    async for response in stub.ServerReflectionInfo(iter([request])):
        return sorted(service.name for service in response.list_services_response.service)
    return []


async def test_reflection_lists_the_services(gateway: RunningGateway) -> None:
    assert await services(gateway) == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        SERVICE,
        INFERENCE,
    ]


async def test_what_is_turned_off_is_neither_healthy_nor_listed(
    start_gateway: StartGateway, repository: Path, brightness: Brightness
) -> None:
    brightness.publish(repository)
    gateway = await start_gateway(open_inference=False)

    assert await check(gateway, INFERENCE) == "NOT_FOUND"
    assert INFERENCE not in await services(gateway)


async def test_reflection_can_be_turned_off(
    start_gateway: StartGateway, repository: Path, brightness: Brightness
) -> None:
    brightness.publish(repository)
    gateway = await start_gateway(reflection=False)

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await services(gateway)

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
