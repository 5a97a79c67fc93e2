"""Messages of a stream are calls: each has its answer, its error and its timeout."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import grpc

from heliograph.classifier_calls import SERVICE
from heliograph.endpoint import Endpoint
from heliograph.errors import CorruptImageError, OverloadedError
from heliograph.options import RetryOptions
from heliograph.transport import AioTransport
from heliograph.v1.classifier_pb2 import (
    Image,
    ImageResult,
    StreamClassifyRequest,
    StreamClassifyResponse,
)
from heliograph.wire_errors import to_abort, to_status
from heliograph_loadtest.calls import StreamCalls
from heliograph_loadtest.recording import OK, ImageError, Outcome

if TYPE_CHECKING:
    from tests.contract.loadtest.conftest import StreamGateway

StartGateway = Callable[..., "StreamGateway"]
Answer = Callable[[StreamClassifyRequest], StreamClassifyResponse]

ONE = StreamClassifyRequest(image=Image(encoded=b"image")).SerializeToString()
THREE = StreamClassifyRequest(
    image=Image(encoded=b"a"), more_images=[Image(encoded=b"b"), Image(encoded=b"c")]
).SerializeToString()


class Explanations(dict[tuple[str, str], str]):
    def __call__(self, status: str, reason: str, message: str) -> None:
        self.setdefault((status, reason), message)


@asynccontextmanager
async def calls_to(
    gateway: StreamGateway,
    *,
    request: bytes = ONE,
    connections: int = 1,
    explain: Explanations | None = None,
    token: str | None = None,
) -> AsyncIterator[StreamCalls]:
    endpoint = Endpoint(
        gateway.target,
        (SERVICE,),
        channels=connections,
        token=token,
        retry=RetryOptions(attempts=1),
    )
    transport = AioTransport(endpoint)
    calls = StreamCalls(transport, [request], Explanations() if explain is None else explain)
    try:
        yield calls
    finally:
        await calls.close()
        await transport.close()


async def test_a_message_gets_the_version_that_answered(stream_gateway: StartGateway) -> None:
    async with calls_to(stream_gateway()) as calls:
        assert await calls(0, 5.0) == Outcome(OK, "", "pets", 7)


async def test_answers_that_overtake_each_other_find_their_messages(
    stream_gateway: StartGateway, answered: Answer
) -> None:
    def in_reverse(
        requests: Iterator[StreamClassifyRequest], _: grpc.ServicerContext
    ) -> Iterator[StreamClassifyResponse]:
        for four in iter(lambda: list(itertools.islice(requests, 4)), []):
            for request in reversed(four):
                response = answered(request)
                response.served_by.version = request.correlation_id
                yield response

    gateway = stream_gateway(in_reverse)
    async with calls_to(gateway) as calls:
        outcomes = await asyncio.gather(*(calls(number, 5.0) for number in range(8)))

    # Ids are given in order, so that the eight calls have the eight ids.
    assert [outcome.version for outcome in outcomes] == list(range(1, 9))
    assert [request.correlation_id for request in gateway.received] == list(range(1, 9))
    assert gateway.streams == 1


async def test_connections_have_a_stream_each_and_share_the_messages(
    stream_gateway: StartGateway,
) -> None:
    gateway = stream_gateway()
    async with calls_to(gateway, connections=2) as calls:
        await asyncio.gather(*(calls(number, 5.0) for number in range(10)))

    assert gateway.streams == 2
    assert len(gateway.received) == 10


async def test_an_error_of_an_image_fails_its_message_alone(
    stream_gateway: StartGateway, answered: Answer
) -> None:
    def second_is_corrupt(
        requests: Iterator[StreamClassifyRequest], _: grpc.ServicerContext
    ) -> Iterator[StreamClassifyResponse]:
        for number, request in enumerate(requests):
            response = answered(request)
            if number == 1:
                response.result.error.CopyFrom(to_status(CorruptImageError("truncated")))
            yield response

    explain = Explanations()
    gateway = stream_gateway(second_is_corrupt)
    async with calls_to(gateway, explain=explain) as calls:
        outcomes = [await calls(number, 5.0) for number in range(3)]

    assert [outcome.status for outcome in outcomes] == [OK, "INVALID_ARGUMENT", OK]
    assert outcomes[1].reason == "CORRUPT_IMAGE"
    assert explain == {("INVALID_ARGUMENT", "CORRUPT_IMAGE"): "truncated"}
    assert gateway.streams == 1


async def test_images_of_one_message_fail_by_themselves(
    stream_gateway: StartGateway, answered: Answer
) -> None:
    def last_is_corrupt(
        requests: Iterator[StreamClassifyRequest], _: grpc.ServicerContext
    ) -> Iterator[StreamClassifyResponse]:
        for request in requests:
            response = answered(request)
            error = ImageResult(error=to_status(CorruptImageError("truncated")))
            response.more_results[1].CopyFrom(error)
            yield response

    async with calls_to(stream_gateway(last_is_corrupt), request=THREE) as calls:
        outcome = await calls(0, 5.0)

    assert outcome.status == OK
    assert outcome.image_errors == (ImageError("INVALID_ARGUMENT", "CORRUPT_IMAGE", 1),)


async def test_a_message_without_an_answer_ends_with_its_timeout_and_leaves_the_stream(
    stream_gateway: StartGateway, answered: Answer
) -> None:
    def first_is_late(
        requests: Iterator[StreamClassifyRequest], _: grpc.ServicerContext
    ) -> Iterator[StreamClassifyResponse]:
        first = next(requests)
        second = next(requests)
        # The answer to the message that has been given up comes first, and must not count.
        yield answered(first)
        yield answered(second)
        yield from map(answered, requests)

    gateway = stream_gateway(first_is_late)
    async with calls_to(gateway) as calls:
        late = await calls(0, 0.05)
        others = [await calls(number, 5.0) for number in range(2)]

    assert (late.status, late.reason) == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")
    assert [outcome.status for outcome in others] == [OK, OK]
    assert gateway.streams == 1


async def test_a_stream_that_breaks_fails_what_waits_and_is_opened_again(
    stream_gateway: StartGateway, answered: Answer
) -> None:
    streams = itertools.count()

    def first_breaks(
        requests: Iterator[StreamClassifyRequest], context: grpc.ServicerContext
    ) -> Iterator[StreamClassifyResponse]:
        if next(streams) == 0:
            list(itertools.islice(requests, 3))
            code, message, trailers = to_abort(OverloadedError("too much"))
            context.set_trailing_metadata(trailers)
            context.abort(code, message)
        yield from map(answered, requests)

    explain = Explanations()
    gateway = stream_gateway(first_breaks)
    async with calls_to(gateway, explain=explain) as calls:
        broken = await asyncio.gather(*(calls(number, 5.0) for number in range(3)))
        again = await calls(0, 5.0)

    assert {(item.status, item.reason) for item in broken} == {("RESOURCE_EXHAUSTED", "OVERLOADED")}
    assert explain["RESOURCE_EXHAUSTED", "OVERLOADED"] == "too much"
    assert again.status == OK
    assert gateway.streams == 2


async def test_a_stream_that_ends_early_does_not_leave_calls_waiting(
    stream_gateway: StartGateway,
) -> None:
    def ends(
        requests: Iterator[StreamClassifyRequest], _: grpc.ServicerContext
    ) -> Iterable[StreamClassifyResponse]:
        next(requests)
        return []

    started = time.monotonic()
    async with calls_to(stream_gateway(ends)) as calls:
        outcome = await calls(0, 20.0)

    assert outcome.status == "UNAVAILABLE"
    assert time.monotonic() - started < 10


async def test_a_stream_carries_the_token(stream_gateway: StartGateway, answered: Answer) -> None:
    tokens = []

    def noted(
        requests: Iterator[StreamClassifyRequest], context: grpc.ServicerContext
    ) -> Iterator[StreamClassifyResponse]:
        tokens.append(dict(context.invocation_metadata()).get("authorization"))
        yield from map(answered, requests)

    async with calls_to(stream_gateway(noted), token="secret") as calls:
        await calls(0, 5.0)

    assert tokens == ["Bearer secret"]
