"""`classify_many` of the SDK against real gateways: one at a time, drained, replaced."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from heliograph import AsyncClient, Client, Failure, Result
from heliograph.errors import ModelNotFoundError, UnsupportedImageFormatError

if TYPE_CHECKING:
    from tests.conftest import Brightness
    from tests.contract.gateway.conftest import Eventually, RunningGateway, StartGateway

COUNT = 600


def images(brightness: Brightness, count: int = COUNT) -> Iterator[bytes]:
    """Images whose levels tell them apart, each a few times."""
    levels = [brightness.image(level) for level in range(256)]
    return (levels[number % 256] for number in range(count))


def level(item: Result | Failure) -> int:
    """The grey level that a result says."""
    assert isinstance(item, Result), item
    return round({each.class_name: each.score for each in item.classes}["bright"] * 255)


def levels(count: int = COUNT) -> list[int]:
    return [number % 256 for number in range(count)]


async def test_every_result_is_that_of_its_image(gateway: RunningGateway) -> None:
    target, source = gateway.gateway.address, gateway.brightness

    async with AsyncClient(target) as client:
        by_asyncio = [item async for item in client.classify_many(images(source))]
    with Client(target) as threads:
        by_threads = await asyncio.to_thread(lambda: list(threads.classify_many(images(source))))

    assert [level(item) for item in by_asyncio] == levels()
    assert [level(item) for item in by_threads] == levels()
    assert gateway.metric("heliograph_inflight") == 0
    streams = {
        code: gateway.metric(
            "rpc_server_call_duration_seconds_count",
            rpc_method="/heliograph.v1.Classifier/StreamClassify",
            rpc_response_status_code=code,
            model="brightness",
            role="stable",
        )
        for code in ("OK", "CANCELLED")
    }
    assert streams == {"OK": 2, "CANCELLED": 0}


async def test_a_bad_image_fails_alone(gateway: RunningGateway) -> None:
    good = gateway.brightness.image(7)

    async with AsyncClient(gateway.gateway.address) as client:
        found = [item async for item in client.classify_many([good, b"no image", good])]

    assert isinstance(found[1], Failure)
    assert isinstance(found[1].error, UnsupportedImageFormatError)
    assert found[1].error.request_id
    assert [level(found[place]) for place in (0, 2)] == [7, 7]


async def test_a_gateway_may_take_fewer_images_together_than_the_client_would_send(
    start_gateway: StartGateway, repository: Path, brightness: Brightness
) -> None:
    brightness.publish(repository)
    gateway = await start_gateway(max_batch_images=3)

    async with AsyncClient(gateway.gateway.address) as client:
        found = [item async for item in client.classify_many(images(brightness))]

    assert [level(item) for item in found] == levels()


async def test_an_unknown_model_is_raised(gateway: RunningGateway) -> None:
    async with AsyncClient(gateway.gateway.address) as client:
        with pytest.raises(ModelNotFoundError):
            _ = [item async for item in client.classify_many([b"image"], model="darkness")]


@pytest.mark.parametrize("kind", ["asyncio", "threads"])
async def test_gateways_are_replaced_one_after_the_other_and_no_image_is_lost(
    kind: str, start_gateway: StartGateway, repository: Path, brightness: Brightness
) -> None:
    brightness.publish(repository)
    running = [await start_gateway() for _ in range(2)]
    target = "ipv4:" + ",".join(each.gateway.address for each in running)
    loop = asyncio.get_running_loop()

    async def replace_one() -> None:
        """Stop the gateway that has the stream, which goes on with the other one."""
        busy = next(each for each in running if each.gateway._endpoint._streams._streams)
        await busy.gateway.stop()

    async def source() -> AsyncIterator[bytes]:
        for number, image in enumerate(images(brightness)):
            if number == COUNT // 2:
                await replace_one()
            yield image

    def source_of_threads() -> Iterator[bytes]:
        for number, image in enumerate(images(brightness)):
            if number == COUNT // 2:
                asyncio.run_coroutine_threadsafe(replace_one(), loop).result()
            yield image

    if kind == "asyncio":
        async with AsyncClient(target) as client:
            found = [item async for item in client.classify_many(source())]
    else:
        with Client(target) as threads:
            found = await asyncio.to_thread(
                lambda: list(threads.classify_many(source_of_threads()))
            )

    assert [level(item) for item in found] == levels()


async def test_a_client_that_leaves_early_leaves_nothing_behind(
    gateway: RunningGateway, eventually: Eventually
) -> None:
    async with AsyncClient(gateway.gateway.address) as client:
        items = client.classify_many(images(gateway.brightness, 10_000))
        assert level(await anext(items)) == 0
        await items.aclose()  # type: ignore[attr-defined]  # it is a generator

    await eventually(lambda: gateway.metric("heliograph_inflight") == 0)
    await eventually(lambda: not gateway.gateway._endpoint._streams._streams)
