"""Streaming calls over a transport's channels: metadata and errors, for threads and for asyncio.

A stream has no deadline: it lives as long as there are messages, which have their own. It is not
tried again by gRPC, since only who sends the messages knows which of them were answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Protocol

import grpc

from heliograph.endpoint import Endpoint
from heliograph.errors import CancelledError, FailedPreconditionError, UnavailableError
from heliograph.transport import CANCELLED, CLOSED, AioTransport, Transport, call_metadata
from heliograph.wire_errors import from_rpc_error


def stream_methods(transport: Transport, path: str) -> list[StreamMethod]:
    """Return the streaming call of a path, once for each channel."""
    return [
        StreamMethod(transport, channel.stream_stream(path, None, None))
        for channel in transport.channels
    ]


def aio_stream_methods(transport: AioTransport, path: str) -> list[AioStreamMethod]:
    """Return the streaming call of a path, once for each channel.

    Raises:
        FailedPreconditionError: The client is closed, or belongs to another event loop.
    """
    return [
        AioStreamMethod(transport.endpoint, channel.stream_stream(path, None, None))
        for channel in transport.channels()
    ]


class StreamMethod:
    """One path of one channel that takes and gives any number of messages."""

    def __init__(
        self, transport: Transport, method: grpc.StreamStreamMultiCallable[bytes, bytes]
    ) -> None:
        """Remember what is to be called."""
        self._transport = transport
        self._method = method

    def open(self, requests: Iterator[bytes]) -> StreamCall:
        """Begin a call without a deadline.

        Args:
            requests: Serialized requests; a thread of gRPC's asks for each when the one before it
                is on its way. The caller has nothing more to say when they end.

        Raises:
            FailedPreconditionError: The client is closed.
        """
        endpoint = self._transport.endpoint
        try:
            call = self._method(
                requests,
                metadata=call_metadata(endpoint, ()),
                wait_for_ready=endpoint.wait_for_ready,
            )
        except ValueError as error:
            if not self._transport.closed:
                raise
            raise FailedPreconditionError(CLOSED) from error
        return StreamCall(call, endpoint.target)


class _ResponseIterator(Protocol):
    """What gRPC returns for a stream."""

    def __iter__(self) -> Iterator[bytes]: ...

    def cancel(self) -> bool: ...


class StreamCall:
    """A stream under way: iterate over its responses."""

    def __init__(self, call: _ResponseIterator, target: str) -> None:
        """Remember what an error message needs."""
        self._call = call
        self._target = target

    def __iter__(self) -> Iterator[bytes]:
        """Yield serialized responses as they come, until the server has no more.

        Raises:
            HeliographError: The class that fits the status.
        """
        try:
            yield from self._call
        except grpc.RpcError as error:
            raise from_rpc_error(error, target=self._target) from error

    def cancel(self) -> None:
        """Give the call up."""
        self._call.cancel()


class AioStreamMethod:
    """One path of one channel that takes and gives any number of messages."""

    def __init__(
        self, endpoint: Endpoint, method: grpc.aio.StreamStreamMultiCallable[bytes, bytes]
    ) -> None:
        """Remember what is to be called."""
        self._endpoint = endpoint
        self._method = method

    def open(self) -> AioStreamCall:
        """Begin a call without a deadline."""
        call = self._method(
            metadata=call_metadata(self._endpoint, ()),
            wait_for_ready=self._endpoint.wait_for_ready,
        )
        return AioStreamCall(call, self._endpoint.target)


class AioStreamCall:
    """A stream under way: one task writes, and one iterates over the responses."""

    def __init__(self, call: grpc.aio.StreamStreamCall[bytes, bytes], target: str) -> None:
        """Remember what an error message needs."""
        self._call = call
        self._target = target
        self._cut = False

    async def write(self, request: bytes) -> bool:
        """Send a serialized request, and return whether there is still a call to send it on."""
        try:
            await self._call.write(request)
        except (grpc.RpcError, asyncio.InvalidStateError):
            self._cut = True
            return False  # Whoever reads learns why.
        return True

    async def done_writing(self) -> None:
        """Say that nothing more is sent."""
        await self._call.done_writing()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield serialized responses as they come, until the server has no more.

        Raises:
            HeliographError: The class that fits the status.
        """
        try:
            while isinstance(response := await self._call.read(), bytes):
                yield response
        except grpc.aio.AioRpcError as error:
            if self._cut and error.code() is grpc.StatusCode.INTERNAL:
                # What grpc.aio reports when it could not write, in the place of the real status.
                raise UnavailableError(f"the connection to {self._target} has broken") from error
            raise from_rpc_error(error, target=self._target) from error
        except asyncio.CancelledError as error:
            # As for unary calls: the channel was closed, or the task is to stop.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise CancelledError(CANCELLED) from error

    def cancel(self) -> None:
        """Give the call up."""
        self._call.cancel()
