"""Large images do not hold up small ones."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from heliograph.v1.classifier_pb2 import BatchClassifyRequest, Image

if TYPE_CHECKING:
    from tests.conftest import Brightness
    from tests.contract.gateway.conftest import RunningGateway, StartGateway


def photo() -> bytes:
    """A JPEG of 1600 × 1200 with some detail."""
    noise = np.random.default_rng(0).integers(0, 256, (150, 200, 3), dtype=np.uint8)
    file = io.BytesIO()
    PillowImage.fromarray(noise).resize((1600, 1200)).save(file, "JPEG", quality=95)
    return file.getvalue()


def flat_png() -> bytes:
    """A PNG of few bytes and sixteen million pixels."""
    file = io.BytesIO()
    PillowImage.new("1", (4000, 4000)).save(file, "PNG", optimize=True)
    assert len(file.getvalue()) < 16 * 1024
    return file.getvalue()


@pytest.fixture
async def gateway(
    start_gateway: StartGateway, repository: Path, brightness: Brightness
) -> RunningGateway:
    """A gateway whose recipe takes its time for every image."""
    contract = brightness.contract()
    contract.recipe = "decode(grey) | resize(4000, 4000) | resize(4, 4)"
    brightness.publish(repository, contract=contract)
    return await start_gateway(decode_threads=1)


async def longest_stall(work: asyncio.Future[Any]) -> float:
    """How long the event loop at most was away while some work went on."""
    longest = 0.0
    while not work.done():
        start = time.perf_counter()
        await asyncio.sleep(0)
        longest = max(longest, time.perf_counter() - start)
    await work
    return longest


@pytest.mark.parametrize("make", [photo, flat_png])
async def test_large_images_are_prepared_beside_the_event_loop(
    make: Callable[[], bytes], gateway: RunningGateway
) -> None:
    large = gateway.request(make())
    start = time.perf_counter()
    await gateway.stub.Classify(large)
    alone = time.perf_counter() - start

    work = asyncio.gather(*(gateway.stub.Classify(large) for _ in range(4)))

    assert await longest_stall(work) < alone / 2


async def test_a_batch_of_many_small_images_does_not_hold_the_event_loop(
    gateway: RunningGateway,
) -> None:
    image = Image(encoded=gateway.brightness.image())
    batch = BatchClassifyRequest(images=[image] * 8)
    start = time.perf_counter()
    await gateway.stub.BatchClassify(batch)
    alone = time.perf_counter() - start

    work = asyncio.ensure_future(gateway.stub.BatchClassify(batch))

    assert await longest_stall(work) < alone / 4


async def test_a_small_image_overtakes_large_ones(
    start_gateway: StartGateway, repository: Path, brightness: Brightness
) -> None:
    brightness.publish(repository)
    gateway = await start_gateway(decode_threads=1)
    large = gateway.request(flat_png())
    under_way = [asyncio.ensure_future(gateway.stub.Classify(large)) for _ in range(8)]
    while gateway.metric("heliograph_inflight") < 8:
        await asyncio.sleep(0)

    await gateway.stub.Classify(gateway.request())

    assert not all(call.done() for call in under_way)
    await asyncio.gather(*under_way)
