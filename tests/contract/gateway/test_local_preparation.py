"""Images that the client prepares: the pixels that reach the model are those of the gateway."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image
import pytest

from heliograph import AsyncClient, Client, Failure, PreparedImage, Result
from heliograph.errors import CorruptImageError, ModelNotFoundError, VersionNotFoundError
from heliograph.local_preparation import FRESH_SECONDS
from heliograph.preprocessing import parse_recipe
from heliograph.repository import Repository
from heliograph.v1.contract_pb2 import Dtype, InputSpec, ModelContract
from heliograph_gateway.backends.fake import FakeBackend

if TYPE_CHECKING:
    from tests.conftest import Brightness
    from tests.contract.gateway.conftest import RunningGateway, StartGateway

IMAGES = Path(__file__).parents[2] / "data" / "images"
FILES = sorted(path.name for path in IMAGES.iterdir() if path.suffix in (".jpg", ".png"))

COLOUR = "decode(rgb) | resize_shorter(6) | center_crop(4, 4)"
GREY = "decode(grey) | resize(4, 4)"
FLOAT = "decode(rgb) | resize(4, 4) | scale(0.00392156862745098)"

PIXELS = np.random.default_rng(7).integers(0, 256, (60, 80, 3), np.uint8)


def contract_of(brightness: Brightness, recipe: str) -> ModelContract:
    """The contract of a model that takes what a recipe gives."""
    output = parse_recipe(recipe).output
    contract = brightness.contract()
    contract.recipe = recipe
    contract.input.shape[:] = output.shape
    if output.dtype == "float32":
        contract.input.kind = InputSpec.KIND_PIXELS_FLOAT
        contract.input.dtype = Dtype.DTYPE_FLOAT32
    return contract


def compute(rows: np.ndarray) -> np.ndarray:
    return np.tile(np.array([[0.25, 0.75]], np.float32), (len(rows), 1))


Serve = Callable[..., Any]


@pytest.fixture
def serve(start_gateway: StartGateway, repository: Path, brightness: Brightness) -> Serve:
    """Start a gateway with a model whose recipe is given."""

    async def start(recipe: str, **settings: Any) -> RunningGateway:
        brightness.publish(repository, contract=contract_of(brightness, recipe), compute=compute)
        return await start_gateway(backend=FakeBackend(Repository(repository), compute), **settings)

    return start


class Both:
    """The client for asyncio and the client for threads, asked one after the other."""

    def __init__(self, target: str, **options: Any) -> None:
        self.aio = AsyncClient(target, **options)
        self.threads = Client(target, **options)

    async def classify(self, image: Any, **options: Any) -> list[Result]:
        return [
            await self.aio.classify(image, **options),
            await asyncio.to_thread(self.threads.classify, image, **options),
        ]

    async def close(self) -> None:
        await self.aio.close()
        self.threads.close()


@pytest.fixture
async def clients() -> AsyncIterator[Callable[..., Both]]:
    """Open both clients."""
    opened: list[Both] = []

    def open_both(gateway: RunningGateway, **options: Any) -> Both:
        opened.append(Both(gateway.gateway.address, **options))
        return opened[-1]

    yield open_both
    for each in opened:
        await each.close()


def seen(gateway: RunningGateway) -> list[np.ndarray]:
    """The rows that have reached the backend since this was last asked."""
    rows = [row for _, batch in gateway.backend.batches for row in batch]
    gateway.backend.batches.clear()
    return rows


def encoded(array: np.ndarray, file_format: str = "PNG") -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(array).save(file, file_format)
    return file.getvalue()


# The pixels.


@pytest.mark.parametrize("recipe", [COLOUR, GREY, FLOAT])
async def test_every_file_gives_the_pixels_that_the_gateway_would_make(
    recipe: str, serve: Serve, clients: Callable[..., Both]
) -> None:
    gateway = await serve(recipe)
    local, remote = clients(gateway, prepare="client"), clients(gateway)
    seen(gateway)

    for name in FILES:
        [expected] = {each.routing_revision for each in await remote.classify(IMAGES / name)}
        assert expected == 1
        by_gateway = seen(gateway)
        results = await local.classify(IMAGES / name)
        by_client = seen(gateway)

        assert {each.version for each in results} == {1}
        assert len(by_client) == len(by_gateway) == 2
        for row in (*by_client, *by_gateway):
            assert row.dtype == by_gateway[0].dtype
            assert (row == by_gateway[0]).all(), name


@pytest.mark.parametrize(
    "image",
    [
        PIXELS,
        PIXELS[:, :, 0],
        PIXELS[:, :, :1],
        np.dstack([PIXELS, PIXELS[:, :, 0]]),
        PIXELS[::2, ::-1],
        PIL.Image.fromarray(PIXELS),
        PIL.Image.fromarray(PIXELS).convert("L"),
        PIL.Image.fromarray(PIXELS).convert("RGBA"),
        PIL.Image.fromarray(PIXELS).convert("P"),
        PIL.Image.fromarray(PIXELS).convert("1"),
        PIL.Image.fromarray(PIXELS).convert("CMYK"),
        PIL.Image.open(IMAGES / "orientation_6.jpg"),
        PIL.Image.open(IMAGES / "grey_16bit.png"),
        PIL.Image.open(IMAGES / "palette_transparent.png"),
    ],
    ids=[
        *("array", "plane", "one channel", "four channels", "strided"),
        *("RGB", "L", "RGBA", "P", "1", "CMYK"),
        *("turned JPEG", "16-bit PNG", "transparent palette"),
    ],
)
@pytest.mark.parametrize("recipe", [COLOUR, GREY])
async def test_pixels_give_what_the_gateway_would_make_of_them(
    image: Any, recipe: str, serve: Serve, clients: Callable[..., Both]
) -> None:
    gateway = await serve(recipe)
    seen(gateway)

    await clients(gateway).classify(image)
    await clients(gateway, prepare="client").classify(image)

    first, *others = seen(gateway)
    assert len(others) == 3
    assert all((row == first).all() for row in others)


async def test_many_images_are_prepared_as_one_is(
    serve: Serve, clients: Callable[..., Both]
) -> None:
    gateway = await serve(COLOUR)
    local, remote = clients(gateway, prepare="client"), clients(gateway)
    paths = [IMAGES / name for name in FILES]
    seen(gateway)
    for path in paths:
        await remote.aio.classify(path)
    expected = seen(gateway)

    results = [each async for each in local.aio.classify_many(paths)]
    by_asyncio = seen(gateway)
    results += await asyncio.to_thread(lambda: list(local.threads.classify_many(paths)))
    by_threads = seen(gateway)

    assert not [each for each in results if isinstance(each, Failure)]
    for rows in (by_asyncio, by_threads):
        # The backend sees groups in another order where they overtake each other.
        assert sorted(row.tobytes() for row in rows) == sorted(row.tobytes() for row in expected)


# What is prepared, and what is not.


async def test_an_image_is_prepared_only_where_that_makes_it_smaller(
    serve: Serve, clients: Callable[..., Both]
) -> None:
    gateway = await serve("decode(rgb) | resize(32, 32)")
    client = clients(gateway, prepare="client")
    photo, icon = encoded(PIXELS), encoded(PIXELS[:8, :8])
    assert len(icon) < 32 * 32 * 3 < len(photo)

    # An image that is pinned to a version was prepared for it.
    revisions = [
        {each.routing_revision for each in await client.classify(image)}
        for image in (photo, icon, PIXELS, PIXELS[:8, :8])
    ]

    assert revisions == [{0}, {1}, {0}, {1}]


async def test_a_prepared_image_is_left_as_it_is(
    serve: Serve, clients: Callable[..., Both]
) -> None:
    gateway = await serve(COLOUR)
    image = PreparedImage("uint8", (4, 4, 3), bytes(range(48)))
    seen(gateway)

    results = await clients(gateway, prepare="client").classify(image)

    assert {each.routing_revision for each in results} == {1}
    assert all(row.tobytes() == bytes(range(48)) for row in seen(gateway))


async def test_a_model_that_takes_files_gets_files(
    serve: Serve, start_gateway: StartGateway, repository: Path, brightness: Brightness
) -> None:
    contract = brightness.contract()
    contract.input.kind = InputSpec.KIND_ENCODED
    contract.input.dtype = Dtype.DTYPE_STRING
    del contract.input.shape[:]
    contract.recipe = "bytes"
    brightness.publish(repository, contract=contract, compute=compute)
    gateway = await start_gateway(backend=FakeBackend(Repository(repository), compute))
    seen(gateway)

    async with AsyncClient(gateway.gateway.address, prepare="client") as client:
        result = await client.classify(encoded(PIXELS))

    assert result.routing_revision == 1
    assert seen(gateway) == [encoded(PIXELS)]


async def test_a_file_that_the_gateway_would_find_too_large_may_be_prepared(
    serve: Serve, clients: Callable[..., Both]
) -> None:
    gateway = await serve(COLOUR, max_image_bytes=1000)

    results = await clients(gateway, prepare="client").classify(IMAGES / "photo_420.jpg")

    assert len(results) == 2


async def test_an_image_that_cannot_be_prepared_is_refused_here(
    serve: Serve, clients: Callable[..., Both]
) -> None:
    gateway = await serve(COLOUR)
    client = clients(gateway, prepare="client")
    seen(gateway)

    with pytest.raises(CorruptImageError):
        await client.classify(encoded(PIXELS)[:2000])
    images = [encoded(PIXELS), encoded(PIXELS)[:2000], encoded(PIXELS)]
    found = [each async for each in client.aio.classify_many(images)]
    found += await asyncio.to_thread(lambda: list(client.threads.classify_many(images)))

    assert [type(getattr(each, "error", each)) for each in found] == [
        Result,
        CorruptImageError,
        Result,
    ] * 2
    assert len(seen(gateway)) == 4


async def test_an_unknown_model_is_an_error_as_ever(
    serve: Serve, clients: Callable[..., Both]
) -> None:
    gateway = await serve(COLOUR)
    client = clients(gateway, prepare="client", model="darkness")

    with pytest.raises(ModelNotFoundError):
        await client.classify(encoded(PIXELS))
    with pytest.raises(ModelNotFoundError):
        _ = [each async for each in client.aio.classify_many([encoded(PIXELS)])]
    with pytest.raises(ModelNotFoundError):
        await asyncio.to_thread(lambda: list(client.threads.classify_many([encoded(PIXELS)])))


async def test_a_version_that_the_caller_pins_is_not_replaced(
    serve: Serve, clients: Callable[..., Both]
) -> None:
    gateway = await serve(COLOUR)

    with pytest.raises(VersionNotFoundError):
        await clients(gateway, prepare="client").classify(encoded(PIXELS), version=9)


# The recipe, and the version it belongs to.


def times_described(gateway: RunningGateway) -> float:
    return gateway.metric(
        "rpc_server_call_duration_seconds_count",
        rpc_method="/heliograph.v1.Classifier/GetModel",
        rpc_response_status_code="OK",
        model="brightness",
        role="",
    )


async def test_the_gateway_is_asked_for_the_recipe_once_for_many_images(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = await serve(COLOUR)
    clock = iter(number / 1000 for number in range(10_000))
    monkeypatch.setattr("heliograph.aio.time.monotonic", lambda: next(clock))

    async with AsyncClient(gateway.gateway.address, prepare="client") as client:
        before = times_described(gateway)
        for _ in range(20):
            await client.classify(encoded(PIXELS))

    assert times_described(gateway) - before == 1


async def test_a_version_that_became_stable_is_used_a_moment_later(
    serve: Serve,
    repository: Path,
    brightness: Brightness,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gateway = await serve(COLOUR, auto_promote=True, poll_interval=60)
    now = 0.0
    monkeypatch.setattr("heliograph.aio.time.monotonic", lambda: now)
    async with AsyncClient(gateway.gateway.address, prepare="client") as client:
        assert (await client.classify(encoded(PIXELS))).version == 1
        brightness.publish(repository, contract=contract_of(brightness, GREY), compute=compute)
        await gateway.gateway.look()

        now = FRESH_SECONDS
        result = await client.classify(encoded(PIXELS))

    assert (result.version, result.routing_revision) == (2, 0)


async def test_an_image_is_prepared_again_when_its_version_has_gone(
    serve: Serve,
    repository: Path,
    brightness: Brightness,
    clients: Callable[..., Both],
) -> None:
    gateway = await serve(COLOUR, auto_promote=True, poll_interval=60)
    client = clients(gateway, prepare="client")
    assert {each.version for each in await client.classify(encoded(PIXELS))} == {1}

    brightness.publish(repository, contract=contract_of(brightness, GREY), compute=compute)
    await gateway.gateway.look()
    seen(gateway)
    results = await client.classify(encoded(PIXELS))

    assert {each.version for each in results} == {2}
    expected = parse_recipe(GREY).prepare(encoded(PIXELS))
    assert all((row == expected).all() for row in seen(gateway))


async def test_many_images_go_on_while_their_version_is_replaced(
    serve: Serve,
    repository: Path,
    brightness: Brightness,
    clients: Callable[..., Both],
) -> None:
    gateway = await serve(COLOUR, auto_promote=True, poll_interval=60)
    client = clients(gateway, prepare="client")
    loop = asyncio.get_running_loop()
    recipes = iter([GREY, COLOUR])
    seen(gateway)

    def publish() -> None:
        brightness.publish(
            repository, contract=contract_of(brightness, next(recipes)), compute=compute
        )

    def images() -> Iterator[bytes]:
        for number in range(120):
            if number == 60:
                publish()
                asyncio.run_coroutine_threadsafe(gateway.gateway.look(), loop).result()
            yield encoded(PIXELS)

    async def images_of_asyncio() -> AsyncIterator[bytes]:
        for number in range(120):
            if number == 60:
                publish()
                await gateway.gateway.look()
            yield encoded(PIXELS)

    by_threads = await asyncio.to_thread(lambda: list(client.threads.classify_many(images())))
    by_asyncio = [each async for each in client.aio.classify_many(images_of_asyncio())]

    for found, versions in ((by_threads, (1, 2)), (by_asyncio, (2, 3))):
        assert not [each for each in found if isinstance(each, Failure)]
        assert len(found) == 120
        assert {each.version for each in found if isinstance(each, Result)} == set(versions)
    expected = {
        parse_recipe(recipe).prepare(encoded(PIXELS)).tobytes()  # type: ignore[union-attr]
        for recipe in (COLOUR, GREY)
    }
    # The golden images, with which the gateway proves a version, are of one grey.
    assert {row.tobytes() for row in seen(gateway) if row.std() > 0} == expected
