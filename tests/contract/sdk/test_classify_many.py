"""Many images: order, batches, memory, and an error in the place of its image."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from heliograph import AsyncClient, Client, Failure, Result, RetryOptions
from heliograph.batches import BATCH_BYTES
from heliograph.errors import (
    CorruptImageError,
    InternalError,
    InvalidArgumentError,
    InvalidImageError,
    ModelNotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from heliograph.testing import FakeGateway

Connect = Callable[..., Any]


def outcome(item: Result | Failure) -> str:
    return type(item.error).__name__ if isinstance(item, Failure) else item.class_name


def sent(gateway: FakeGateway) -> list[list[bytes]]:
    requests: list[Any] = [call.request for call in gateway.calls]
    return [[image.encoded for image in request.images] for request in requests]


def test_results_come_in_the_order_of_the_images(
    connect: Connect, fake_gateway: FakeGateway
) -> None:
    expected = [name for name in ("dog", "cat", "fish") for _ in range(30)]
    for name in expected:
        fake_gateway.answer({name: 1.0}, times=1)

    items = connect(fake_gateway.target).classify_many(
        [b"image"] * 90, batch_size=7, batches_in_flight=1
    )

    assert [outcome(item) for item in items] == expected


def test_batches_that_overtake_each_other_do_not_change_the_order(
    connect: Connect, fake_gateway: FakeGateway
) -> None:
    versions = [f"{number:04d}".encode() for number in range(500)]

    items = connect(fake_gateway.target).classify_many(versions, batch_size=10, batches_in_flight=8)

    assert len(items) == 500
    assert sorted(image for batch in sent(fake_gateway) for image in batch) == versions
    assert all(batch == sorted(batch) for batch in sent(fake_gateway))


def test_an_image_that_fails_has_its_error_in_its_place(
    connect: Connect, fake_gateway: FakeGateway, tmp_path: Path
) -> None:
    fake_gateway.answer({"dog": 1.0}, times=1)
    fake_gateway.fail(CorruptImageError("truncated", request_id="r-1"))

    items = connect(fake_gateway.target).classify_many(
        [b"good", b"bad", tmp_path / "nowhere.png", b"good"]
    )

    assert [outcome(item) for item in items] == [
        "dog",
        "CorruptImageError",
        "InvalidImageError",
        "cat",
    ]
    assert items[1].error.message == "truncated"
    assert items[1].error.request_id == "r-1"
    assert sent(fake_gateway) == [[b"good", b"bad", b"good"]]


def test_images_that_all_fail_to_be_read_need_no_call(
    connect: Connect, fake_gateway: FakeGateway, tmp_path: Path
) -> None:
    items = connect(fake_gateway.target).classify_many([tmp_path / "a", tmp_path / "b"])

    assert [outcome(item) for item in items] == ["InvalidImageError"] * 2
    assert fake_gateway.calls == ()


def test_no_images_give_no_results(connect: Connect, fake_gateway: FakeGateway) -> None:
    assert connect(fake_gateway.target).classify_many([]) == []


def test_a_batch_is_bounded_in_bytes_as_well(connect: Connect, fake_gateway: FakeGateway) -> None:
    third = bytes(BATCH_BYTES // 3)

    connect(fake_gateway.target).classify_many(
        [third, third, third, third, bytes(2 * BATCH_BYTES), third], batches_in_flight=1
    )

    assert [len(batch) for batch in sent(fake_gateway)] == [3, 1, 1, 1]


def test_a_batch_that_fails_for_the_moment_fails_its_own_images_only(
    connect: Connect, fake_gateway: FakeGateway
) -> None:
    fake_gateway.fail_calls(UnavailableError("restarting"))

    items = connect(fake_gateway.target, retry=RetryOptions(attempts=1)).classify_many(
        [b"image"] * 5, batch_size=2, batches_in_flight=1
    )

    assert [outcome(item) for item in items] == [
        "UnavailableError",
        "UnavailableError",
        "cat",
        "cat",
        "cat",
    ]


@pytest.mark.parametrize(
    "error", [ModelNotFoundError("no such model"), UnauthenticatedError("no token")]
)
def test_an_error_that_every_batch_would_meet_is_raised(
    connect: Connect, fake_gateway: FakeGateway, error: Any
) -> None:
    fake_gateway.fail_calls(error, times=None)

    with pytest.raises(type(error), match=error.message):
        connect(fake_gateway.target).classify_many([b"image"] * 5)


def test_a_wrong_number_of_results_is_a_fault_of_the_server(
    connect: Connect, fake_gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake_gateway, "_resolve", lambda *_: None)
    monkeypatch.setattr(fake_gateway, "_rank", lambda *_: InternalError("unused"))
    monkeypatch.setattr("heliograph.batches.batch_request", lambda asked, images: asked)

    items = connect(fake_gateway.target).classify_many([b"image"] * 2)

    assert [item.error.message for item in items] == ["the server sent 0 results for 2 images"] * 2


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"batches_in_flight": 0}, {"top_k": 0}])
def test_an_option_out_of_range_is_refused_before_an_image_is_read(
    fake_gateway: FakeGateway, options: dict[str, Any]
) -> None:
    with Client(fake_gateway.target) as client, pytest.raises(InvalidArgumentError):
        client.classify_many(iter(()), **options)


def test_images_are_read_only_as_they_are_needed(fake_gateway: FakeGateway) -> None:
    read = 0

    def images() -> Iterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b"image"

    with Client(fake_gateway.target) as client:
        items = client.classify_many(images(), batch_size=4, batches_in_flight=3)
        for _ in range(100):
            next(items)
        items.close()  # type: ignore[attr-defined]

    assert 100 <= read <= 100 + 4 * (3 + 1)


async def test_an_asynchronous_iterable_gives_images_too(fake_gateway: FakeGateway) -> None:
    async def images() -> AsyncIterator[bytes]:
        for _ in range(5):
            await asyncio.sleep(0)
            yield b"image"

    async with AsyncClient(fake_gateway.target) as client:
        items = [item async for item in client.classify_many(images(), batch_size=2)]

    assert [outcome(item) for item in items] == ["cat"] * 5


async def test_leaving_the_loop_cancels_what_is_under_way(
    fake_gateway: FakeGateway, wait_until: Callable[[Callable[[], bool]], None]
) -> None:
    fake_gateway.delay(30.0)

    async with AsyncClient(fake_gateway.target) as client:

        async def consume() -> None:
            async for _ in client.classify_many([b"image"] * 8, batch_size=2):
                pass

        task = asyncio.create_task(consume())
        await asyncio.to_thread(wait_until, lambda: len(fake_gateway.calls) == 4)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(
            wait_until, lambda: not any(call.active for call in fake_gateway.calls)
        )


def test_an_error_of_reading_is_not_hidden_by_an_unreadable_iterable(
    connect: Connect, fake_gateway: FakeGateway
) -> None:
    def images() -> Iterator[bytes]:
        yield b"image"
        raise InvalidImageError("the folder has gone")

    with pytest.raises(InvalidImageError, match="the folder has gone"):
        connect(fake_gateway.target).classify_many(images())
