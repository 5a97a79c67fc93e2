"""Many images: order, a bounded window, streams that break, and an error in its image's place."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from heliograph import AsyncClient, Client, Failure, Result, RetryOptions, trace_context
from heliograph.errors import (
    CorruptImageError,
    FailedPreconditionError,
    HeliographError,
    InternalError,
    InvalidArgumentError,
    InvalidImageError,
    ModelNotFoundError,
    OverloadedError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
)
from heliograph.ledger import GROUP_BYTES, GROUP_IMAGES
from heliograph.testing import FakeGateway
from heliograph.v1.classifier_pb2 import StreamClassifyRequest, StreamClassifyResponse

Connect = Callable[..., Any]
WaitUntil = Callable[[Callable[[], bool]], None]

QUICK = RetryOptions(attempts=3, initial_backoff=0.001, max_backoff=0.002)
LARGE = bytes(GROUP_BYTES)
"""An image that goes alone."""


def outcome(item: Result | Failure) -> str:
    return type(item.error).__name__ if isinstance(item, Failure) else item.class_name


def messages(gateway: FakeGateway) -> list[list[bytes]]:
    """The images of every message that has arrived, on a stream or as a batch."""
    return [[image.encoded for image in call.images] for call in gateway.calls]


def numbered(count: int) -> list[bytes]:
    return [f"{number:06d}".encode() for number in range(count)]


def streams(gateway: FakeGateway) -> int:
    """Number of streams on which something has arrived."""
    return len({id(call._context) for call in gateway.calls if call.method == "StreamClassify"})


class Backwards(FakeGateway):
    """Answers messages four at a time, the last one first."""

    def _stream_classify(
        self, requests: Iterator[StreamClassifyRequest], context: grpc.ServicerContext
    ) -> Iterator[StreamClassifyResponse]:
        waiting: list[StreamClassifyResponse] = []
        for response in super()._stream_classify(requests, context):
            waiting.append(response)
            if len(waiting) == 4:
                yield from reversed(waiting)
                waiting.clear()
        yield from reversed(waiting)


class Curt(FakeGateway):
    """Ends its first streams, without an error, after one answer."""

    curt = 3

    def _stream_classify(
        self, requests: Iterator[StreamClassifyRequest], context: grpc.ServicerContext
    ) -> Iterator[StreamClassifyResponse]:
        for response in super()._stream_classify(requests, context):
            yield response
            if self.curt:
                self.curt -= 1
                return


# Order.


def test_results_come_in_the_order_of_the_images(
    connect: Connect, fake_gateway: FakeGateway
) -> None:
    expected = [name for name in ("dog", "cat", "fish") for _ in range(30)]
    for name in expected:
        fake_gateway.answer({name: 1.0}, times=1)

    items = connect(fake_gateway.target).classify_many([b"image"] * 90)

    assert [outcome(item) for item in items] == expected
    assert streams(fake_gateway) == 1


def test_answers_that_overtake_each_other_do_not_change_the_order(connect: Connect) -> None:
    with Backwards() as gateway:
        expected = [name for name in ("dog", "cat", "fish") for _ in range(20)]
        for name in expected:
            gateway.answer({name: 1.0}, times=1)

        items = connect(gateway.target).classify_many([LARGE] * 60)

        assert [outcome(item) for item in items] == expected


def test_no_images_give_no_results(connect: Connect, fake_gateway: FakeGateway) -> None:
    assert connect(fake_gateway.target).classify_many([]) == []
    assert fake_gateway.calls == ()


def test_small_images_share_messages_and_large_ones_go_alone(
    connect: Connect, fake_gateway: FakeGateway
) -> None:
    images = numbered(2000) + [LARGE] * 5

    connect(fake_gateway.target).classify_many(images)

    sent = messages(fake_gateway)
    assert [image for message in sent for image in message] == images
    assert max(map(len, sent)) == GROUP_IMAGES
    assert len(sent) < 250
    assert sent[-5:] == [[LARGE]] * 5


def test_channels_share_the_images(connect: Connect, fake_gateway: FakeGateway) -> None:
    images = numbered(1000)

    items = connect(fake_gateway.target, channels=3).classify_many(images)

    assert [outcome(item) for item in items] == ["cat"] * 1000
    assert sorted(image for message in messages(fake_gateway) for image in message) == images
    by_peer = Counter(call.peer for call in fake_gateway.calls)
    assert len(by_peer) == 3


def test_a_stream_carries_the_token_and_the_trace(connect: Connect) -> None:
    with FakeGateway(token="secret") as gateway:
        client = connect(gateway.target, token="secret")
        trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

        with trace_context(trace):
            items = client.classify_many([b"image"])

        assert [outcome(item) for item in items] == ["cat"]
        assert gateway.calls[0].metadata["traceparent"] == trace


# An error in the place of its image.


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
    assert [image for message in messages(fake_gateway) for image in message] == [
        b"good",
        b"bad",
        b"good",
    ]


def test_images_that_all_fail_to_be_read_need_no_call(
    connect: Connect, fake_gateway: FakeGateway, tmp_path: Path
) -> None:
    items = connect(fake_gateway.target).classify_many([tmp_path / "a", tmp_path / "b"])

    assert [outcome(item) for item in items] == ["InvalidImageError"] * 2
    assert fake_gateway.calls == ()


@pytest.mark.parametrize(
    "error", [ModelNotFoundError("no such model"), UnauthenticatedError("no token")]
)
def test_an_error_that_every_image_would_meet_is_raised(
    connect: Connect, fake_gateway: FakeGateway, error: HeliographError
) -> None:
    fake_gateway.fail_calls(error, times=None)

    with pytest.raises(type(error), match=error.message):
        connect(fake_gateway.target).classify_many([b"image"] * 5)


def test_an_unknown_model_is_raised_after_the_results_before_it(
    fake_gateway: FakeGateway,
) -> None:
    fake_gateway.answer({"dog": 1.0}, times=2)
    fake_gateway.fail(ModelNotFoundError("it has gone"))
    seen: list[str] = []

    with Client(fake_gateway.target) as client:
        items = client.classify_many([b"image"] * 5)
        with pytest.raises(ModelNotFoundError, match="it has gone"):
            seen.extend(outcome(item) for item in items)

    assert seen == ["dog", "dog"]


def test_a_wrong_number_of_results_is_a_fault_of_the_server(
    connect: Connect, fake_gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = fake_gateway._stream_classify

    def one_too_many(*arguments: Any) -> Iterator[StreamClassifyResponse]:
        for response in original(*arguments):
            response.more_results.append(response.result)
            yield response

    fake_gateway.stop()
    monkeypatch.setattr(fake_gateway, "_stream_classify", one_too_many)
    fake_gateway.start()

    items = connect(fake_gateway.target).classify_many([b"image"])

    assert [item.error.message for item in items] == ["the server sent 2 results for 1 images"]
    assert isinstance(items[0].error, InternalError)


@pytest.mark.parametrize("options", [{"window": 0}, {"top_k": 0}, {"timeout": 0.0}])
def test_an_option_out_of_range_is_refused_before_an_image_is_read(
    fake_gateway: FakeGateway, options: dict[str, Any]
) -> None:
    with Client(fake_gateway.target) as client, pytest.raises(InvalidArgumentError):
        client.classify_many(iter(()), **options)


def test_an_error_of_reading_is_not_hidden_by_an_unreadable_iterable(
    connect: Connect, fake_gateway: FakeGateway
) -> None:
    def images() -> Iterator[bytes]:
        yield b"image"
        raise InvalidImageError("the folder has gone")

    with pytest.raises(InvalidImageError, match="the folder has gone"):
        connect(fake_gateway.target).classify_many(images())


# Streams that break.


@pytest.mark.parametrize("after", [0, 1, 40, 200])
def test_a_stream_that_breaks_is_opened_again_and_every_image_has_one_result(
    connect: Connect, fake_gateway: FakeGateway, after: int
) -> None:
    fake_gateway.fail_streams(UnavailableError("the gateway is shutting down"), after=after)

    items = connect(fake_gateway.target, retry=QUICK).classify_many(iter(numbered(300)), window=50)

    assert [outcome(item) for item in items] == ["cat"] * 300
    assert streams(fake_gateway) == 2
    received = Counter(image for message in messages(fake_gateway) for image in message)
    assert set(received) == set(numbered(300))
    assert max(received.values()) == 2, "only what was not answered was sent again"
    assert sum(received.values()) <= 300 + 50


def test_results_stay_with_their_images_when_streams_break(connect: Connect) -> None:
    class Named(FakeGateway):
        """Names the image by its content."""

        def _stream_classify(
            self, requests: Iterator[StreamClassifyRequest], context: grpc.ServicerContext
        ) -> Iterator[StreamClassifyResponse]:
            contents: list[list[str]] = []

            def noted() -> Iterator[StreamClassifyRequest]:
                for request in requests:
                    images = [request.image, *request.more_images]
                    contents.append([image.encoded.decode() for image in images])
                    yield request

            for response in super()._stream_classify(noted(), context):
                for result, name in zip(
                    [response.result, *response.more_results], contents[-1], strict=True
                ):
                    result.classification.classes[0].class_name = name
                yield response

    with Named() as gateway:
        for after in (3, 20, 50, 100):
            gateway.fail_streams(UnavailableError("restarting"), after=after)
        images = numbered(600)

        items = connect(gateway.target, retry=QUICK, channels=2).classify_many(images)

        assert [outcome(item).encode() for item in items] == images


def test_an_image_is_not_sent_more_often_than_the_options_allow(
    connect: Connect, fake_gateway: FakeGateway
) -> None:
    fake_gateway.fail_streams(UnavailableError("restarting"), times=3)

    items = connect(fake_gateway.target, retry=QUICK).classify_many(
        [LARGE + b"1", LARGE + b"2", LARGE + b"3"], window=1
    )

    assert [outcome(item) for item in items] == ["UnavailableError", "cat", "cat"]
    assert Counter(map(len, messages(fake_gateway))) == {1: 5}


def test_without_retries_what_was_not_answered_fails_and_the_rest_goes_on(
    connect: Connect, fake_gateway: FakeGateway
) -> None:
    fake_gateway.fail_streams(UnavailableError("restarting"), after=1)

    items = connect(fake_gateway.target, retry=RetryOptions(attempts=1)).classify_many(
        [LARGE] * 5, window=2
    )

    outcomes = Counter(outcome(item) for item in items)
    assert outcomes["UnavailableError"] in (1, 2)
    assert outcomes["cat"] == 5 - outcomes["UnavailableError"]
    assert outcome(items[0]) == outcome(items[-1]) == "cat"


def test_an_error_that_no_attempt_mends_fails_what_was_under_way_only(
    connect: Connect, fake_gateway: FakeGateway
) -> None:
    fake_gateway.fail_streams(InternalError("a bug"), after=1)

    items = connect(fake_gateway.target, retry=QUICK).classify_many([LARGE] * 4, window=1)

    assert [outcome(item) for item in items] == ["cat", "InternalError", "cat", "cat"]


def test_a_stream_that_ends_too_soon_is_opened_again(connect: Connect) -> None:
    with Curt() as gateway:
        items = connect(gateway.target, retry=QUICK).classify_many(numbered(200))

        assert [outcome(item) for item in items] == ["cat"] * 200
        assert streams(gateway) >= 3


def test_an_image_that_the_gateway_has_no_room_for_is_sent_again_when_it_says(
    connect: Connect, fake_gateway: FakeGateway
) -> None:
    fake_gateway.answer({"dog": 1.0}, times=2)
    fake_gateway.fail(OverloadedError("full", retry_after=0.01), times=2)

    items = connect(fake_gateway.target).classify_many([LARGE] * 5)

    assert sorted(outcome(item) for item in items) == ["cat"] * 3 + ["dog"] * 2
    assert len(messages(fake_gateway)) == 7


def test_an_image_that_is_refused_to_the_last_keeps_the_error(
    connect: Connect, fake_gateway: FakeGateway
) -> None:
    fake_gateway.fail(OverloadedError("full", retry_after=0.001), times=None)

    items = connect(fake_gateway.target, retry=QUICK).classify_many([b"image"] * 3)

    assert [outcome(item) for item in items] == ["OverloadedError"] * 3


def test_a_gateway_that_restarts_gets_what_it_had_not_answered(connect: Connect) -> None:
    first = FakeGateway()
    first.start()
    second = FakeGateway(address=first.target)
    try:
        answers = 0

        def images() -> Iterator[bytes]:
            nonlocal answers
            for image in numbered(400):
                answers += 1
                if answers == 150:
                    first.stop()
                    second.start()
                yield image

        retry = RetryOptions(attempts=5, initial_backoff=0.05)
        items = connect(first.target, retry=retry, wait_for_ready=True).classify_many(images())

        assert [outcome(item) for item in items] == ["cat"] * 400
        assert messages(second)
    finally:
        second.stop()


def test_an_image_without_an_answer_fails_at_its_own_deadline(
    connect: Connect, fake_gateway: FakeGateway
) -> None:
    fake_gateway.delay(30.0)

    items = connect(fake_gateway.target).classify_many([b"image"] * 3, timeout=0.2)

    assert [outcome(item) for item in items] == ["DeadlineExceededError"] * 3
    assert items[0].error.message == f"no answer from {fake_gateway.target} within 0.2 s"


def test_nobody_to_call_is_an_error_in_the_place_of_every_image(connect: Connect) -> None:
    with FakeGateway() as gateway:
        target = gateway.target

    items = connect(target, retry=QUICK).classify_many([b"image"] * 20)

    assert [outcome(item) for item in items] == ["UnavailableError"] * 20


def test_a_closed_client_says_so(fake_gateway: FakeGateway) -> None:
    client = Client(fake_gateway.target)
    client.close()

    with pytest.raises(FailedPreconditionError, match="the client is closed"):
        list(client.classify_many([b"image"]))


# Gateways without streams.


def test_a_gateway_without_streams_gets_batches_from_then_on(
    connect: Connect, fake_gateway: FakeGateway, tmp_path: Path
) -> None:
    fake_gateway.fail_streams(UnimplementedError("no such method"), times=None)
    client = connect(fake_gateway.target)

    items = client.classify_many([*numbered(100), tmp_path / "nowhere.png"])
    assert [outcome(item) for item in items] == ["cat"] * 100 + ["InvalidImageError"]
    client.classify_many(numbered(10))

    methods = [call.method for call in fake_gateway.calls]
    assert methods[0] == "StreamClassify"
    assert set(methods[1:]) == {"BatchClassify"}
    received = [image for message in messages(fake_gateway)[1:] for image in message]
    assert sorted(received) == sorted(numbered(100) + numbered(10))


def test_a_batch_that_fails_fails_its_own_images_only(
    connect: Connect, fake_gateway: FakeGateway
) -> None:
    fake_gateway.fail_streams(UnimplementedError("no such method"), times=None)
    client = connect(fake_gateway.target, retry=RetryOptions(attempts=1))
    assert [outcome(item) for item in client.classify_many([b"image"])] == ["cat"]
    fake_gateway.fail_calls(InternalError("a bug"))

    items = client.classify_many([b"image"] * 3, window=1)

    assert [outcome(item) for item in items] == ["InternalError", "cat", "cat"]


def test_an_error_that_every_batch_would_meet_is_raised(
    connect: Connect, fake_gateway: FakeGateway
) -> None:
    fake_gateway.fail_streams(UnimplementedError("no such method"), times=None)
    client = connect(fake_gateway.target)
    client.classify_many([b"image"])
    fake_gateway.fail_calls(ModelNotFoundError("no such model"), times=None)

    with pytest.raises(ModelNotFoundError, match="no such model"):
        client.classify_many([b"image"] * 5)


# Memory, and the end.


class Counted(bytes):
    """An image that is counted while it exists."""

    existing = 0
    most = 0

    def __init__(self, *_: object) -> None:
        Counted.existing += 1
        Counted.most = max(Counted.most, Counted.existing)

    def __del__(self) -> None:
        Counted.existing -= 1


def test_no_more_images_are_held_than_the_window_has(
    connect: Connect, fake_gateway: FakeGateway
) -> None:
    Counted.existing = Counted.most = 0
    fake_gateway._calls = deque(maxlen=1)  # type: ignore[assignment]

    items = connect(fake_gateway.target).classify_many(
        (Counted(b"image") for _ in range(20_000)), window=100
    )

    assert len(items) == 20_000
    assert Counted.most <= 100 + 2
    assert Counted.existing == 0


def test_images_are_read_only_as_they_are_needed(fake_gateway: FakeGateway) -> None:
    read = 0

    def images() -> Iterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b"image"

    with Client(fake_gateway.target) as client:
        items = client.classify_many(images(), window=12)
        for _ in range(100):
            next(items)
        items.close()  # type: ignore[attr-defined]

    assert 100 <= read <= 100 + 12


async def test_an_asynchronous_iterable_gives_images_too(fake_gateway: FakeGateway) -> None:
    async def images() -> AsyncIterator[bytes]:
        for _ in range(5):
            await asyncio.sleep(0)
            yield b"image"

    async with AsyncClient(fake_gateway.target) as client:
        items = [item async for item in client.classify_many(images())]

    assert [outcome(item) for item in items] == ["cat"] * 5


async def test_leaving_the_loop_cancels_what_is_under_way(
    fake_gateway: FakeGateway, wait_until: WaitUntil
) -> None:
    fake_gateway.delay(30.0)

    async with AsyncClient(fake_gateway.target) as client:

        async def consume() -> None:
            async for _ in client.classify_many([b"image"] * 8):
                pass

        task = asyncio.create_task(consume())
        await asyncio.to_thread(wait_until, lambda: len(fake_gateway.calls) > 0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(
            wait_until, lambda: not any(call.active for call in fake_gateway.calls)
        )


async def test_results_come_while_the_next_image_is_still_awaited(
    fake_gateway: FakeGateway,
) -> None:
    more = asyncio.Event()

    async def images() -> AsyncIterator[bytes]:
        yield b"image"
        await more.wait()
        yield b"image"

    async with AsyncClient(fake_gateway.target) as client:
        items = client.classify_many(images())
        assert outcome(await anext(items)) == "cat"
        more.set()
        assert [outcome(item) async for item in items] == ["cat"]


def test_leaving_the_loop_of_threads_cancels_what_is_under_way(
    fake_gateway: FakeGateway, wait_until: WaitUntil
) -> None:
    fake_gateway.answer({"dog": 1.0}, times=1)

    with Client(fake_gateway.target) as client:
        items = client.classify_many(numbered(100))
        next(items)
        fake_gateway.delay(30.0)
        items.close()  # type: ignore[attr-defined]
        wait_until(lambda: not any(call.active for call in fake_gateway.calls))
