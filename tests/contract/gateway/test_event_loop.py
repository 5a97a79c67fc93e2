"""Large images do not hold up small ones: they are prepared beside the event loop."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image as PillowImage

from heliograph.preprocessing import ImageHeader, ImageLimits, Recipe

if TYPE_CHECKING:
    from tests.contract.gateway.conftest import RunningGateway

LONGEST = 20.0
"""Seconds after which a held image goes on by itself, so that a failing test ends."""


class Hold:
    """Holds one image in the middle of its preparation."""

    def __init__(self) -> None:
        self.held = b""
        self.entered = threading.Event()
        self.released = threading.Event()

    def around(self, prepare: Callable[..., object]) -> Callable[..., object]:
        def held(
            recipe: Recipe,
            encoded: bytes,
            limits: ImageLimits,
            header: ImageHeader | None = None,
        ) -> object:
            if encoded == self.held:
                self.entered.set()
                self.released.wait(LONGEST)
            return prepare(recipe, encoded, limits, header)

        return held


@pytest.fixture
def hold(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hold]:
    hold = Hold()
    monkeypatch.setattr(Recipe, "prepare", hold.around(Recipe.prepare))
    yield hold
    hold.released.set()


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


async def entered(hold: Hold) -> None:
    """Wait, without the event loop, until the image is being prepared."""
    assert await asyncio.to_thread(hold.entered.wait, LONGEST)


@pytest.mark.parametrize("make", [photo, flat_png])
async def test_while_a_large_image_is_prepared_small_ones_are_answered(
    make: Callable[[], bytes], gateway: RunningGateway, hold: Hold
) -> None:
    hold.held = make()
    large = asyncio.ensure_future(gateway.stub.Classify(gateway.request(hold.held)))
    await entered(hold)

    for level in range(20):
        small = gateway.request(gateway.brightness.image(level))
        assert (await gateway.stub.Classify(small)).classification.classes

    assert not large.done()
    assert not hold.released.is_set()
    hold.released.set()
    assert (await large).classification.classes
