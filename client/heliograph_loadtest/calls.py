"""The three ways to ask: Classify, BatchClassify, and messages on a StreamClassify."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import grpc

from heliograph.classifier_calls import BATCH_CLASSIFY, CLASSIFY, SERVICE
from heliograph.errors import (
    CancelledError,
    DeadlineExceededError,
    HeliographError,
    UnavailableError,
)
from heliograph.transport import AioTransport
from heliograph.v1.classifier_pb2 import (
    BatchClassifyResponse,
    ClassifyResponse,
    ImageResult,
    ServedBy,
    StreamClassifyResponse,
)
from heliograph.wire_errors import from_rpc_error, from_status
from heliograph_loadtest.load import Method
from heliograph_loadtest.recording import OK, ImageError, Outcome
from heliograph_loadtest.requests import with_correlation_id

STREAM_CLASSIFY: Final = f"/{SERVICE}/StreamClassify"

Explain = Callable[[str, str, str], None]
"""Takes status, reason and message of an error."""


class Calls(Protocol):
    """One way to ask. Times out by itself, and turns every error into an outcome."""

    async def __call__(self, number: int, timeout: float) -> Outcome:
        """Make a call with the request whose turn it is, and wait for its answer."""

    async def close(self) -> None:
        """End what is open beside the channels."""


def calls_of(
    method: Method, transport: AioTransport, requests: list[bytes], explain: Explain
) -> Calls:
    """Return the way to ask that a method names."""
    ways: dict[Method, type[UnaryCalls | BatchCalls | StreamCalls]] = {
        "classify": UnaryCalls,
        "batch": BatchCalls,
        "stream": StreamCalls,
    }
    return ways[method](transport, requests, explain)


class UnaryCalls:
    """Classify: one image, one answer."""

    def __init__(self, transport: AioTransport, requests: list[bytes], explain: Explain) -> None:
        """Prepare to call.

        Args:
            transport: Channels, used in turn.
            requests: Serialized requests, used in turn.
            explain: Takes the message of each error.
        """
        self._call = transport.unary(CLASSIFY, ClassifyResponse.FromString)
        self._requests = requests
        self._explain = explain

    async def __call__(self, number: int, timeout: float) -> Outcome:
        """Classify the image whose turn it is."""
        try:
            response = await self._call(self._requests[number % len(self._requests)], timeout)
        except HeliographError as error:
            return _failed(error, self._explain)
        return _answered(response.served_by)

    async def close(self) -> None:
        """Nothing is open beside the channels."""


class BatchCalls:
    """BatchClassify: several images, one answer.

    Images may fail by themselves; a call has failed when all of its images have.
    """

    def __init__(self, transport: AioTransport, requests: list[bytes], explain: Explain) -> None:
        """Prepare to call; arguments as for UnaryCalls."""
        self._call = transport.unary(BATCH_CLASSIFY, BatchClassifyResponse.FromString)
        self._requests = requests
        self._explain = explain

    async def __call__(self, number: int, timeout: float) -> Outcome:
        """Classify the batch whose turn it is."""
        try:
            response = await self._call(self._requests[number % len(self._requests)], timeout)
        except HeliographError as error:
            return _failed(error, self._explain)
        return _looked_at(response.served_by, response.results, self._explain)

    async def close(self) -> None:
        """Nothing is open beside the channels."""


class StreamCalls:
    """StreamClassify: each message is a call, matched with its answer by a correlation id.

    Every channel has one stream, opened with the first message and again after it has broken. How
    many messages wait for answers is up to the caller; they are spread evenly over the streams.
    """

    def __init__(self, transport: AioTransport, requests: list[bytes], explain: Explain) -> None:
        """Prepare to call; arguments as for UnaryCalls."""
        endpoint = transport.endpoint
        self._streams = deque(_Stream(item, endpoint.target) for item in transport.channels())
        self._authorization = endpoint.authorization() or None
        self._requests = requests
        self._explain = explain
        self._ids = itertools.count(1)

    async def __call__(self, number: int, timeout: float) -> Outcome:
        """Send the message whose turn it is, on the stream that waits for the fewest answers."""
        correlation_id = next(self._ids)
        request = with_correlation_id(self._requests[number % len(self._requests)], correlation_id)
        # The least busy one; where several are, they take turns.
        self._streams.rotate(-1)
        stream = min(self._streams, key=len)
        try:
            async with asyncio.timeout(timeout):
                response = await stream.ask(correlation_id, request, self._authorization)
        except TimeoutError:
            return _failed(
                DeadlineExceededError(f"no answer on the stream within {timeout:.3g} s"),
                self._explain,
            )
        except HeliographError as error:
            return _failed(error, self._explain)
        results = (response.result, *response.more_results)
        return _looked_at(response.served_by, results, self._explain)

    async def close(self) -> None:
        """End the streams."""
        await asyncio.gather(*(stream.close() for stream in self._streams))


class _Stream:
    """The stream of one channel, and the messages that wait for answers on it."""

    def __init__(self, channel: grpc.aio.Channel, target: str) -> None:
        self._method: Any = channel.stream_stream(STREAM_CLASSIFY, None, None)
        self._target = target
        self._call: Any = None
        self._reader: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()
        self._waiting: dict[int, asyncio.Future[StreamClassifyResponse]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    async def ask(
        self, correlation_id: int, request: bytes, metadata: tuple[tuple[str, str], ...] | None
    ) -> StreamClassifyResponse:
        """Send a message and wait for its answer.

        Raises:
            HeliographError: The stream ended first.
        """
        if self._reader is None:
            self._call = self._method(metadata=metadata)
            self._reader = asyncio.create_task(self._read(self._call))
        call = self._call
        answer: asyncio.Future[StreamClassifyResponse] = asyncio.get_running_loop().create_future()
        self._waiting[correlation_id] = answer
        try:
            # gRPC takes one message at a time, and waits while the window of HTTP/2 is full. What
            # it raises when the stream has ended is told better by the reader, to all that wait.
            with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError):
                async with self._writing:
                    await call.write(request)
            return await answer
        finally:
            self._waiting.pop(correlation_id, None)

    async def close(self) -> None:
        """Say that nothing more comes, and wait a moment for the server to say so too."""
        reader = self._reader
        if reader is None:
            return
        with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError):
            await self._call.done_writing()
        await asyncio.wait([reader], timeout=1.0)
        self._call.cancel()
        await asyncio.wait([reader])

    async def _read(self, call: Any) -> None:
        error: HeliographError = UnavailableError(
            f"{self._target} ended the stream before everything was answered"
        )
        try:
            async for data in call:
                response = StreamClassifyResponse.FromString(data)
                answer = self._waiting.get(response.correlation_id)
                # An id that nobody waits for belongs to a message whose timeout has passed.
                if answer is not None and not answer.done():
                    answer.set_result(response)
        except grpc.RpcError as failure:
            error = from_rpc_error(failure, target=self._target)
        except asyncio.CancelledError:
            error = CancelledError("the stream was cancelled")
        finally:
            if self._call is call:
                self._reader = None
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(error)


def _answered(served_by: ServedBy) -> Outcome:
    return Outcome(OK, "", served_by.name, served_by.version)


def _looked_at(served_by: ServedBy, results: Sequence[ImageResult], explain: Explain) -> Outcome:
    """Return the outcome of images that were answered together."""
    errors = [from_status(item.error) for item in results if item.HasField("error")]
    if not errors:
        return _answered(served_by)
    if len(errors) == len(results):
        return _failed(errors[0], explain)
    for error in errors:
        explain(error.status, error.reason, error.message)
    counts = Counter((error.status, error.reason) for error in errors)
    return _answered(served_by)._replace(
        image_errors=tuple(ImageError(*key, count) for key, count in sorted(counts.items()))
    )


def _failed(error: HeliographError, explain: Explain) -> Outcome:
    explain(error.status, error.reason, error.message)
    return Outcome(error.status, error.reason)
