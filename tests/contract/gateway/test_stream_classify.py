"""StreamClassify: pipelined, bounded, every message by itself, from the first to the drain."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from structlog.testing import capture_logs

from heliograph.errors import BackendUnavailableError
from heliograph.repository import Repository
from heliograph.v1.classifier_pb2 import (
    ClassifyOptions,
    Image,
    ImageResult,
    ListModelsRequest,
    ModelSelector,
    StreamClassifyRequest,
    StreamClassifyResponse,
)
from heliograph_gateway.backends import Arrays
from heliograph_gateway.backends.fake import FakeBackend
from heliograph_gateway.servables import Servable

if TYPE_CHECKING:
    from tests.conftest import Brightness
    from tests.contract.gateway.conftest import (
        Eventually,
        ReadDetails,
        RunningGateway,
        StartGateway,
    )


class Conversation:
    """A stream whose answers are collected as they come."""

    def __init__(self, gateway: RunningGateway, timeout: float | None = None) -> None:
        self.call = gateway.stub.StreamClassify(
            timeout=timeout, metadata=[("x-request-id", "stream-1")]
        )
        self.answers: dict[int, StreamClassifyResponse] = {}
        """By correlation id, in the order in which they came."""
        self._brightness = gateway.brightness
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for response in self.call:
            assert response.correlation_id not in self.answers
            self.answers[response.correlation_id] = response

    async def ask(self, number: int, *images: bytes, **selector: Any) -> None:
        """Send a message, by default with an image whose level is its number."""
        first, *more = images or [self._brightness.image(number)]
        request = StreamClassifyRequest(
            correlation_id=number,
            model=ModelSelector(**({"name": "brightness"} | selector)),
            image=Image(encoded=first),
            more_images=[Image(encoded=image) for image in more],
        )
        await self.call.write(request)

    async def end(self) -> None:
        """Send no more, and wait for the end of the stream."""
        await self.call.done_writing()
        await self._reading

    async def end_by_error(self) -> grpc.aio.AioRpcError:
        """Wait for the error that ends the stream."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self._reading
        return caught.value

    async def close(self) -> None:
        self.call.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)


def level(result: ImageResult) -> int:
    """The grey level that a result says."""
    scores = {each.class_name: each.score for each in result.classification.classes}
    return round(scores["bright"] * 255)


def inside(gateway: RunningGateway) -> float:
    return gateway.metric("heliograph_inflight")


async def round_trips(gateway: RunningGateway) -> None:
    """Let the gateway do everything that it can do now."""
    for _ in range(10):
        await gateway.stub.ListModels(ListModelsRequest())


async def converse(gateway: RunningGateway, use: Callable[[Conversation], Awaitable[Any]]) -> None:
    """Have a conversation that is closed whatever becomes of it."""
    conversation = Conversation(gateway)
    try:
        await use(conversation)
    finally:
        await conversation.close()


class SlowModel(FakeBackend):
    """Answers for the model `slow` only when it is told to."""

    def __init__(self, repository: Repository, brightness: Brightness) -> None:
        super().__init__(repository, brightness.compute)
        self.released = asyncio.Event()
        self.released.set()

    async def predict(
        self, servable: Servable, inputs: Arrays, *, signature: str, timeout: float
    ) -> Arrays:
        if servable.model == "slow":
            await self.released.wait()
        return await super().predict(servable, inputs, signature=signature, timeout=timeout)


# Answers.


async def test_every_image_is_answered_under_its_id(gateway: RunningGateway) -> None:
    conversation = Conversation(gateway)
    for number in range(200):
        await conversation.ask(number)
    await conversation.end()

    answers = conversation.answers
    assert {number: level(answers[number].result) for number in answers} == {
        number: number for number in range(200)
    }
    served_by = answers[7].served_by
    assert (served_by.name, served_by.version, served_by.routing_revision) == ("brightness", 1, 1)


async def test_a_stream_without_messages_ends_well(gateway: RunningGateway) -> None:
    conversation = Conversation(gateway)

    await conversation.end()

    assert conversation.answers == {}
    assert await conversation.call.code() is grpc.StatusCode.OK


async def test_a_quick_model_overtakes_a_slow_one(
    start_gateway: StartGateway, repository: Path, brightness: Brightness, eventually: Eventually
) -> None:
    brightness.publish(repository)
    brightness.publish(repository, name="slow")
    backend = SlowModel(Repository(repository), brightness)
    gateway = await start_gateway(backend=backend)
    backend.released.clear()

    async def overtake(conversation: Conversation) -> None:
        for number in range(6):
            await conversation.ask(number, name="slow" if number % 2 else "brightness")
        await eventually(lambda: len(conversation.answers) == 3)
        assert set(conversation.answers) == {0, 2, 4}
        backend.released.set()
        await conversation.end()
        assert set(list(conversation.answers)[3:]) == {1, 3, 5}

    await converse(gateway, overtake)


async def test_a_refused_image_does_not_wait_for_the_images_before_it(
    gateway: RunningGateway, eventually: Eventually
) -> None:
    gateway.backend.pause()

    async def refuse(conversation: Conversation) -> None:
        await conversation.ask(1)
        await eventually(lambda: inside(gateway) == 1)
        await conversation.ask(2, b"no image")
        await eventually(lambda: list(conversation.answers) == [2])
        gateway.backend.resume()
        await conversation.end()
        assert list(conversation.answers) == [2, 1]

    await converse(gateway, refuse)


async def test_images_of_one_message_are_answered_together_in_their_order(
    gateway: RunningGateway,
) -> None:
    image = gateway.brightness.image
    conversation = Conversation(gateway)
    await conversation.ask(1, image(10), b"no image", image(30))
    await conversation.end()

    answer = conversation.answers[1]
    assert level(answer.result) == 10
    assert [result.WhichOneof("result") for result in answer.more_results] == [
        "error",
        "classification",
    ]
    assert level(answer.more_results[1]) == 30
    assert answer.served_by.version == 1


async def test_options_hold_for_their_own_message(gateway: RunningGateway) -> None:
    conversation = Conversation(gateway)
    for number, top_k in ((1, 1), (2, 2), (3, 1)):
        request = StreamClassifyRequest(
            correlation_id=number,
            image=Image(encoded=gateway.brightness.image()),
            options=ClassifyOptions(top_k=top_k),
        )
        await conversation.call.write(request)
    await conversation.end()

    assert [
        len(conversation.answers[number].result.classification.classes) for number in (1, 2, 3)
    ] == [1, 2, 1]


async def test_messages_that_come_while_the_backend_is_busy_go_to_it_together(
    gateway: RunningGateway, eventually: Eventually
) -> None:
    gateway.backend.batches.clear()
    gateway.backend.pause()

    async def gather(conversation: Conversation) -> None:
        for number in range(50):
            await conversation.ask(number)
        await round_trips(gateway)
        gateway.backend.resume()
        await conversation.end()
        assert len(conversation.answers) == 50
        assert sum(len(rows) for _, rows in gateway.backend.batches) == 50
        assert len(gateway.backend.batches) <= 4

    await converse(gateway, gather)


# Errors.


async def test_an_error_has_all_details_and_the_stream_goes_on(
    gateway: RunningGateway, read_details: ReadDetails
) -> None:
    conversation = Conversation(gateway)
    await conversation.ask(1, b"no image")
    await conversation.ask(2, name="darkness")
    await conversation.ask(3, version=7)
    await conversation.ask(4)
    await conversation.end()

    errors = {number: conversation.answers[number].result.error for number in (1, 2, 3)}
    assert {number: read_details(error)["reason"] for number, error in errors.items()} == {
        1: "UNSUPPORTED_IMAGE_FORMAT",
        2: "MODEL_NOT_FOUND",
        3: "VERSION_NOT_FOUND",
    }
    assert {read_details(error)["request_id"] for error in errors.values()} == {"stream-1"}
    assert [errors[number].code for number in (1, 2, 3)] == [3, 5, 5]
    assert level(conversation.answers[4].result) == 4


async def test_a_message_that_fails_as_a_whole_has_an_error_for_each_image(
    gateway: RunningGateway, read_details: ReadDetails
) -> None:
    image = gateway.brightness.image()
    conversation = Conversation(gateway)
    await conversation.ask(1, image, image, image, name="darkness")
    await conversation.end()

    answer = conversation.answers[1]
    reasons = [read_details(each.error)["reason"] for each in (answer.result, *answer.more_results)]
    assert reasons == ["MODEL_NOT_FOUND"] * 3
    assert not answer.HasField("served_by")


async def test_an_empty_image_is_refused(
    gateway: RunningGateway, read_details: ReadDetails
) -> None:
    conversation = Conversation(gateway)
    await conversation.call.write(StreamClassifyRequest(correlation_id=1))
    await conversation.end()

    error = conversation.answers[1].result.error
    assert read_details(error)["reason"] == "INVALID_IMAGE"


async def test_an_id_in_use_is_refused_and_free_again_after_its_answer(
    gateway: RunningGateway, read_details: ReadDetails, eventually: Eventually
) -> None:
    seen: list[StreamClassifyResponse] = []
    call = gateway.stub.StreamClassify()
    image = Image(encoded=gateway.brightness.image())

    async def read() -> None:
        response = await call.read()
        assert isinstance(response, StreamClassifyResponse)
        seen.append(response)

    gateway.backend.pause()
    await call.write(StreamClassifyRequest(correlation_id=5, image=image))
    await eventually(lambda: inside(gateway) == 1)
    await call.write(StreamClassifyRequest(correlation_id=5, image=image))
    await read()
    gateway.backend.resume()
    await read()
    await call.write(StreamClassifyRequest(correlation_id=5, image=image))
    await read()
    await call.done_writing()

    assert [answer.correlation_id for answer in seen] == [5, 5, 5]
    assert [answer.result.WhichOneof("result") for answer in seen] == [
        "error",
        "classification",
        "classification",
    ]
    assert read_details(seen[0].result.error)["reason"] == "INVALID_ARGUMENT"
    assert "correlation_id 5 is in use" in seen[0].result.error.message


async def test_a_message_with_too_many_images_is_refused(
    start_gateway: StartGateway, repository: Path, brightness: Brightness
) -> None:
    brightness.publish(repository)
    gateway = await start_gateway(max_batch_images=3)
    conversation = Conversation(gateway)
    await conversation.ask(1, *[brightness.image()] * 4)
    await conversation.ask(2, *[brightness.image(2)] * 3)
    await conversation.end()

    assert "send at most 3" in conversation.answers[1].result.error.message
    assert len(conversation.answers[1].more_results) == 3
    assert level(conversation.answers[2].result) == 2


async def test_a_backend_that_is_away_fails_its_messages_and_not_the_stream(
    gateway: RunningGateway, read_details: ReadDetails, eventually: Eventually
) -> None:
    gateway.backend.failures.append(BackendUnavailableError("away", retry_after=1.5))

    async def fail_once(conversation: Conversation) -> None:
        await conversation.ask(1)
        await eventually(lambda: 1 in conversation.answers)
        await conversation.ask(2)
        await conversation.end()
        details = read_details(conversation.answers[1].result.error)
        assert (details["reason"], details["retry_seconds"]) == ("BACKEND_UNAVAILABLE", 1.5)
        assert level(conversation.answers[2].result) == 2

    await converse(gateway, fail_once)


async def test_what_nobody_expected_is_logged_and_says_nothing_to_the_caller(
    gateway: RunningGateway, read_details: ReadDetails, eventually: Eventually
) -> None:
    gateway.backend.failures.append(RuntimeError("a secret"))

    async def fail_once(conversation: Conversation) -> None:
        with capture_logs() as logs:
            await conversation.ask(1)
            await eventually(lambda: 1 in conversation.answers)
        await conversation.ask(2)
        await conversation.end()
        error = conversation.answers[1].result.error
        assert (error.code, read_details(error)["reason"]) == (13, "INTERNAL")
        assert "secret" not in error.message
        [entry] = [entry for entry in logs if entry["event"] == "unexpected error"]
        assert entry["request_id"] == "stream-1"
        assert str(entry["exc_info"]) == "a secret"
        assert level(conversation.answers[2].result) == 2

    await converse(gateway, fail_once)


async def test_a_damaged_message_ends_the_stream_after_the_answers_before_it(
    gateway: RunningGateway,
) -> None:
    call: grpc.aio.StreamStreamCall[bytes, bytes] = gateway.channel.stream_stream(
        "/heliograph.v1.Classifier/StreamClassify", None, None
    )()
    image = Image(encoded=gateway.brightness.image(9))
    await call.write(StreamClassifyRequest(correlation_id=1, image=image).SerializeToString())
    await call.write(b"\xff\xff\xff")

    answer = await call.read()
    assert isinstance(answer, bytes)
    assert level(StreamClassifyResponse.FromString(answer).result) == 9
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "the message is damaged, or of another type"


# The window.


async def test_no_more_is_read_than_the_window_holds(
    start_gateway: StartGateway, repository: Path, brightness: Brightness, eventually: Eventually
) -> None:
    brightness.publish(repository)
    gateway = await start_gateway(stream_window=4)
    gateway.backend.pause()

    async def fill(conversation: Conversation) -> None:
        for number in range(30):
            await conversation.ask(number)
        await eventually(lambda: inside(gateway) > 0)
        await round_trips(gateway)
        assert inside(gateway) <= 4
        gateway.backend.resume()
        await conversation.end()
        assert len(conversation.answers) == 30

    await converse(gateway, fill)


async def test_no_more_bytes_are_read_than_a_message_may_have(
    start_gateway: StartGateway, repository: Path, brightness: Brightness, eventually: Eventually
) -> None:
    brightness.publish(repository)
    gateway = await start_gateway(max_message_bytes=1024 * 1024)
    gateway.backend.pause()
    # The decoder does not mind what follows the end of a JPEG.
    large = brightness.image(7, file_format="JPEG") + bytes(600_000)

    async def fill(conversation: Conversation) -> None:
        async def send() -> None:
            for number in range(5):
                await conversation.ask(number, large)

        sending = asyncio.create_task(send())
        await eventually(lambda: inside(gateway) == 2)
        await round_trips(gateway)
        assert inside(gateway) == 2
        gateway.backend.resume()
        await sending
        await conversation.end()
        assert len(conversation.answers) == 5

    await converse(gateway, fill)


async def test_a_full_gateway_refuses_messages_and_says_when_to_come_back(
    start_gateway: StartGateway,
    repository: Path,
    brightness: Brightness,
    read_details: ReadDetails,
    eventually: Eventually,
) -> None:
    brightness.publish(repository)
    gateway = await start_gateway(max_in_flight=2)
    gateway.backend.pause()

    async def overload(conversation: Conversation) -> None:
        image = brightness.image()
        await conversation.ask(1, image, image)
        await eventually(lambda: inside(gateway) == 2)
        await conversation.ask(2)
        await eventually(lambda: 2 in conversation.answers)
        details = read_details(conversation.answers[2].result.error)
        assert (details["reason"], details["retry_seconds"]) == ("OVERLOADED", 0.1)
        gateway.backend.resume()
        await conversation.end()
        assert conversation.answers[1].result.HasField("classification")

    await converse(gateway, overload)


# The end.


async def test_a_client_that_cancels_frees_everything_within_100_ms(
    gateway: RunningGateway, eventually: Eventually
) -> None:
    gateway.backend.pause()
    version = gateway.gateway.router.resolve(ModelSelector()).version
    conversation = Conversation(gateway)
    for number in range(20):
        await conversation.ask(number)
    await eventually(lambda: inside(gateway) > 0)
    await round_trips(gateway)

    start = time.monotonic()
    conversation.call.cancel()
    await eventually(lambda: inside(gateway) == 0)
    await version.drained()

    assert time.monotonic() - start < 0.1
    await conversation.close()


async def test_a_client_that_goes_away_frees_everything(
    gateway: RunningGateway, eventually: Eventually
) -> None:
    gateway.backend.pause()
    async with grpc.aio.insecure_channel(gateway.gateway.address) as channel:
        call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(
            "/heliograph.v1.Classifier/StreamClassify", None, None
        )()
        image = Image(encoded=gateway.brightness.image())
        await call.write(StreamClassifyRequest(correlation_id=1, image=image).SerializeToString())
        await eventually(lambda: inside(gateway) == 1)

    await eventually(lambda: inside(gateway) == 0)


async def test_the_deadline_of_a_stream_frees_everything(
    gateway: RunningGateway, eventually: Eventually
) -> None:
    gateway.backend.pause()
    conversation = Conversation(gateway, timeout=0.3)
    await conversation.ask(1)

    error = await conversation.end_by_error()

    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await eventually(lambda: inside(gateway) == 0)


async def test_without_a_deadline_every_message_gets_the_longest_time_of_a_batch(
    start_gateway: StartGateway,
    repository: Path,
    brightness: Brightness,
    read_details: ReadDetails,
    eventually: Eventually,
) -> None:
    brightness.publish(repository)
    gateway = await start_gateway(backend_timeout=0.2)
    gateway.backend.pause()

    async def wait(conversation: Conversation) -> None:
        await conversation.ask(1)
        await eventually(lambda: 1 in conversation.answers)
        error = conversation.answers[1].result.error
        assert read_details(error)["reason"] == "DEADLINE_EXCEEDED"
        gateway.backend.resume()
        await conversation.ask(2)
        await conversation.end()
        assert level(conversation.answers[2].result) == 2

    await converse(gateway, wait)


async def test_the_version_is_pinned_for_each_message(
    start_gateway: StartGateway, repository: Path, brightness: Brightness, eventually: Eventually
) -> None:
    brightness.publish(repository)
    gateway = await start_gateway(auto_promote=True, poll_interval=60)

    async def swap(conversation: Conversation) -> None:
        await conversation.ask(1)
        await eventually(lambda: 1 in conversation.answers)
        brightness.publish(repository)
        await gateway.gateway.look()
        await conversation.ask(2)
        await conversation.ask(3, version=1)
        await conversation.end()

        assert [conversation.answers[number].served_by.version for number in (1, 2)] == [1, 2]
        assert "VERSION_NOT_FOUND" in str(conversation.answers[3].result.error)

    await converse(gateway, swap)


async def test_what_is_under_way_during_a_swap_is_answered_by_the_version_it_began_with(
    start_gateway: StartGateway, repository: Path, brightness: Brightness, eventually: Eventually
) -> None:
    brightness.publish(repository)
    gateway = await start_gateway(auto_promote=True, poll_interval=60)
    old = gateway.gateway.router.resolve(ModelSelector()).version
    old.enter(1)  # Stands for messages of the old version that are still under way.
    brightness.publish(repository)
    looking = asyncio.create_task(gateway.gateway.look())
    conversation = Conversation(gateway)
    await eventually(lambda: gateway.gateway.router.resolve(ModelSelector()).version is not old)
    await conversation.ask(1)
    await conversation.end()
    assert not looking.done()
    old.leave(1)
    await looking

    assert conversation.answers[1].served_by.version == 2


async def test_a_gateway_that_stops_answers_what_it_has_read_and_ends_the_stream(
    gateway: RunningGateway, eventually: Eventually
) -> None:
    gateway.backend.pause()
    conversation = Conversation(gateway)
    for number in range(3):
        await conversation.ask(number)
    await eventually(lambda: inside(gateway) > 0)
    await round_trips(gateway)

    stopping = asyncio.create_task(gateway.gateway.stop())
    await eventually(lambda: not gateway.gateway.serving)
    gateway.backend.resume()
    error = await conversation.end_by_error()
    await stopping

    assert set(conversation.answers) == {0, 1, 2}
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert error.details() == "the gateway is shutting down"


async def test_a_stream_that_has_sent_everything_ends_well_while_the_gateway_stops(
    gateway: RunningGateway, eventually: Eventually
) -> None:
    gateway.backend.pause()
    conversation = Conversation(gateway)
    await conversation.ask(1)
    await conversation.call.done_writing()
    await eventually(lambda: inside(gateway) == 1)
    await round_trips(gateway)

    stopping = asyncio.create_task(gateway.gateway.stop())
    await eventually(lambda: not gateway.gateway.serving)
    gateway.backend.resume()
    await conversation.end()
    await stopping

    assert await conversation.call.code() is grpc.StatusCode.OK
    assert level(conversation.answers[1].result) == 1


async def test_an_idle_stream_does_not_hold_up_the_end(gateway: RunningGateway) -> None:
    conversation = Conversation(gateway)
    await conversation.ask(1)
    start = time.monotonic()

    await gateway.gateway.stop()

    # Far below the five seconds that calls under way would get.
    assert time.monotonic() - start < 2
    assert (await conversation.end_by_error()).code() is grpc.StatusCode.UNAVAILABLE
