"""StreamClassify: messages are answered as they get ready, and never more are read than fit.

What a stream has read and not answered is bounded. When that window is full nothing more is read,
and gRPC's flow control holds the sender back. Small messages are gathered: those that are read
while earlier ones of their kind are under way go through the pipeline together.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from heliograph.errors import HeliographError, InvalidArgumentError, UnavailableError
from heliograph.v1.classifier_pb2 import (
    ClassifyOptions,
    Image,
    ImageResult,
    ModelSelector,
    StreamClassifyRequest,
    StreamClassifyResponse,
)
from heliograph.wire_errors import to_status
from heliograph_gateway.calls import current_call, unexpected
from heliograph_gateway.pipeline import Pipeline

METHOD = "/heliograph.v1.Classifier/StreamClassify"

SMALL_BYTES = 16 * 1024
"""Messages below this size are gathered. Larger ones have enough to do to go alone at once, and a
photo does not hold up the icons beside it."""
GROUPS_UNDER_WAY = 2
"""Groups of one kind in the pipeline at once: one is prepared while the other is predicted."""

_SHUTTING_DOWN = "the gateway is shutting down"


@dataclass(eq=False)
class Message:
    """One message of a stream, as it is seen until it is answered."""

    correlation_id: int
    model: ModelSelector
    options: ClassifyOptions
    images: list[Image]
    deadline: float
    """In seconds of `time.monotonic()`."""
    size: int = field(init=False)
    """Bytes of the images."""

    def __post_init__(self) -> None:
        self.size = sum(len(image.encoded) or len(image.prepared.data) for image in self.images)

    @property
    def kind(self) -> tuple[bytes, bytes]:
        """What is equal among messages that can be answered together."""
        return self.model.SerializeToString(), self.options.SerializeToString()


class Window:
    """The messages of a stream that were read and whose answers were not written yet."""

    def __init__(self, max_images: int, max_bytes: int) -> None:
        self._max_images = max_images
        self._max_bytes = max_bytes
        self._images = 0
        self._bytes = 0
        self._unanswered: set[int] = set()

    @property
    def open(self) -> bool:
        """Whether another message may be read. One message may go beyond the limits."""
        return self._images < self._max_images and self._bytes < self._max_bytes

    @property
    def empty(self) -> bool:
        """Whether everything that was read has been answered."""
        return not self._images

    def enter(self, message: Message) -> None:
        """Take in a message, whatever becomes of it.

        Raises:
            InvalidArgumentError: Another one with its correlation id is not answered yet.
        """
        self._images += len(message.images)
        self._bytes += message.size
        if message.correlation_id in self._unanswered:
            raise InvalidArgumentError(
                f"correlation_id {message.correlation_id} is in use: an earlier message has it, "
                "which is not answered yet"
            )
        self._unanswered.add(message.correlation_id)

    def answer(self, message: Message) -> None:
        """Free the correlation id of a message: its answer is about to be written."""
        self._unanswered.discard(message.correlation_id)

    def leave(self, message: Message) -> None:
        """Free the room of a message: its answer has been written."""
        self._images -= len(message.images)
        self._bytes -= message.size


Group = list[Message]
"""Messages that go through the pipeline together."""


class Gatherer:
    """Decides which messages go on together, and when."""

    def __init__(self, max_images: int) -> None:
        """Start with nothing.

        Args:
            max_images: Images of the largest group of several messages.
        """
        self._max_images = max_images
        self._waiting: dict[tuple[bytes, bytes], deque[Message]] = {}
        self._under_way: dict[tuple[bytes, bytes], int] = {}

    def add(self, message: Message) -> Group | None:
        """Take a message, and return the group that is to start now, if any."""
        if message.size >= SMALL_BYTES:
            return [message]
        kind = message.kind
        self._waiting.setdefault(kind, deque()).append(message)
        return self._next(kind)

    def finish(self, group: Group) -> Group | None:
        """Note the end of a group, and return the one that is to start now, if any."""
        if group[0].size >= SMALL_BYTES:
            return None
        kind = group[0].kind
        self._under_way[kind] -= 1
        if not self._under_way[kind]:
            del self._under_way[kind]
        return self._next(kind)

    def _next(self, kind: tuple[bytes, bytes]) -> Group | None:
        under_way = self._under_way.get(kind, 0)
        if under_way == GROUPS_UNDER_WAY or kind not in self._waiting:
            return None
        waiting = self._waiting[kind]
        group = [waiting.popleft()]
        images = len(group[0].images)
        while waiting and images + len(waiting[0].images) <= self._max_images:
            group.append(waiting.popleft())
            images += len(group[-1].images)
        if not waiting:
            del self._waiting[kind]
        self._under_way[kind] = under_way + 1
        return group


class StreamClassifier:
    """Answers every StreamClassify of a gateway."""

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        window: int,
        max_bytes: int,
        max_message_images: int,
        longest_message: float,
    ) -> None:
        """Make one.

        Args:
            pipeline: Answers images.
            window: Images that one stream may have in the gateway.
            max_bytes: Bytes of images that one stream may have in the gateway.
            max_message_images: Images of the largest message.
            longest_message: Time in seconds that a message gets where the stream leaves it more.
        """
        self._pipeline = pipeline
        self._window = window
        self._max_bytes = max_bytes
        self._max_message_images = max_message_images
        self._longest_message = longest_message
        self._streams: set[_Stream] = set()
        self._draining = False

    async def answer(
        self, requests: AsyncIterator[StreamClassifyRequest], remaining: float | None
    ) -> AsyncIterator[StreamClassifyResponse]:
        """Answer the messages of one stream, in whatever order they get ready.

        Args:
            requests: The messages as they come.
            remaining: Seconds until the deadline of the stream; None without one.

        Raises:
            InvalidArgumentError: A message could not be parsed. Those before it were answered.
            UnavailableError: The gateway is shutting down. What was read was answered.
        """
        if self._draining:
            # It was opened in the moment before the server stops to take new ones.
            raise UnavailableError(_SHUTTING_DOWN)
        stream = _Stream(
            self._pipeline,
            Window(self._window, self._max_bytes),
            Gatherer(min(self._window, self._max_message_images)),
            max_message_images=self._max_message_images,
            longest_message=self._longest_message,
            deadline=None if remaining is None else time.monotonic() + remaining,
        )
        self._streams.add(stream)
        stream.start(requests)
        try:
            async for response in stream.responses():
                yield response
        finally:
            self._streams.discard(stream)
            await stream.stop()
        stream.check_end()

    def drain(self) -> None:
        """Read no more; the streams end when they have answered what they had read."""
        self._draining = True
        for stream in self._streams:
            stream.drain()


class _Stream:
    """One stream: a task reads, a task per group answers, and whoever iterates writes."""

    def __init__(
        self,
        pipeline: Pipeline,
        window: Window,
        gatherer: Gatherer,
        *,
        max_message_images: int,
        longest_message: float,
        deadline: float | None,
    ) -> None:
        self._pipeline = pipeline
        self._window = window
        self._gatherer = gatherer
        self._max_message_images = max_message_images
        self._longest_message = longest_message
        self._deadline = deadline
        self._call = current_call.get()
        self._outbox: deque[tuple[Message, StreamClassifyResponse]] = deque()
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._answering: set[asyncio.Task[None]] = set()
        self._reading: asyncio.Task[None] | None = None

    def start(self, requests: AsyncIterator[StreamClassifyRequest]) -> None:
        """Begin to read."""
        self._reading = asyncio.create_task(self._read(requests))
        self._reading.add_done_callback(lambda _: self._news.set())

    async def responses(self) -> AsyncIterator[StreamClassifyResponse]:
        """Yield answers until nothing more is read and all that was read is answered."""
        while True:
            while self._outbox:
                message, response = self._outbox.popleft()
                self._window.answer(message)
                yield response
                self._window.leave(message)
                self._room.set()
            if self._window.empty and self._reading and self._reading.done():
                return
            self._news.clear()
            await self._news.wait()

    def drain(self) -> None:
        """Read no more."""
        if self._reading:
            self._reading.cancel()

    async def stop(self) -> None:
        """Drop whatever is still under way."""
        tasks = [*self._answering, *filter(None, [self._reading])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def check_end(self) -> None:
        """Raise why reading ended, unless the caller had nothing more to send."""
        if self._reading is None or self._reading.cancelled():
            raise UnavailableError(_SHUTTING_DOWN)
        self._reading.result()

    async def _read(self, requests: AsyncIterator[StreamClassifyRequest]) -> None:
        async for request in requests:
            self._take(request)
            while not self._window.open:
                self._room.clear()
                await self._room.wait()

    def _take(self, request: StreamClassifyRequest) -> None:
        longest = time.monotonic() + self._longest_message
        message = Message(
            correlation_id=request.correlation_id,
            model=request.model,
            options=request.options,
            images=[request.image, *request.more_images],
            deadline=longest if self._deadline is None else min(longest, self._deadline),
        )
        try:
            self._window.enter(message)
            if len(message.images) > self._max_message_images:
                raise InvalidArgumentError(
                    f"the message has {len(message.images)} images; send at most "
                    f"{self._max_message_images}"
                )
        except InvalidArgumentError as error:
            self._refuse([message], error)
        else:
            self._start(self._gatherer.add(message))

    def _start(self, group: Group | None) -> None:
        if group:
            task = asyncio.create_task(self._answer(group))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

    async def _answer(self, group: Group) -> None:
        try:
            served_by, results = await self._pipeline.classify_images(
                group[0].model,
                [image for message in group for image in message.images],
                group[0].options,
                # The message with the most time left decides, as it does in a batch.
                max(message.deadline for message in group),
            )
        except HeliographError as error:
            self._refuse(group, error)
        except Exception as error:  # noqa: BLE001 - it is logged; the stream goes on
            self._refuse(group, unexpected(error, METHOD))
        else:
            self._call.answered(served_by)
            answers = iter(results)
            for message in group:
                response = StreamClassifyResponse(
                    correlation_id=message.correlation_id,
                    served_by=served_by,
                    result=next(answers),
                    more_results=[next(answers) for _ in message.images[1:]],
                )
                self._put(message, response)
        self._start(self._gatherer.finish(group))

    def _refuse(self, group: Group, error: HeliographError) -> None:
        error.request_id = self._call.request_id
        result = ImageResult(error=to_status(error))
        for message in group:
            response = StreamClassifyResponse(
                correlation_id=message.correlation_id,
                result=result,
                more_results=[result] * (len(message.images) - 1),
            )
            self._put(message, response)

    def _put(self, message: Message, response: StreamClassifyResponse) -> None:
        self._outbox.append((message, response))
        self._news.set()
