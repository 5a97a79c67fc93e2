"""Calls over an endpoint's channels: deadline, metadata and errors, for threads and for asyncio.

Requests are bytes already: see `heliograph.wire_format` for why. A call that fails raises a
HeliographError, never a bare `grpc.RpcError`.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Generic, TypeVar

import grpc
from google.protobuf.message import DecodeError

from heliograph.endpoint import Endpoint, seconds
from heliograph.errors import CancelledError, FailedPreconditionError, InternalError
from heliograph.tracing import current_trace_headers
from heliograph.wire_errors import from_rpc_error

Response = TypeVar("Response")

Metadata = tuple[tuple[str, str], ...]


class Transport:
    """Channels for calls that block a thread. Threads may share it."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Open the channels of an endpoint."""
        self.endpoint = endpoint
        self.closed = False
        self.channels = endpoint.open()
        """Connections, to be used in turn."""

    def unary(self, path: str, parse: Callable[[bytes], Response]) -> UnaryCall[Response]:
        """Return the call of a path, for example `/grpc.health.v1.Health/Check`."""
        methods: list[grpc.UnaryUnaryMultiCallable[bytes, bytes]] = [
            channel.unary_unary(path, None, None) for channel in self.channels
        ]
        return UnaryCall(self, methods, parse)

    def close(self) -> None:
        """Close the channels; calls still waiting raise CancelledError."""
        self.closed = True
        for channel in self.channels:
            channel.close()


class UnaryCall(Generic[Response]):
    """One path that takes bytes and returns a parsed response."""

    def __init__(
        self,
        transport: Transport,
        methods: list[grpc.UnaryUnaryMultiCallable[bytes, bytes]],
        parse: Callable[[bytes], Response],
    ) -> None:
        """Spread calls over the same method of several channels."""
        self._transport = transport
        self._parse = parse
        self._methods = itertools.cycle(methods)

    def __call__(
        self, request: bytes, timeout: float | None = None, metadata: Metadata = ()
    ) -> Response:
        """Make the call and wait for its response.

        Args:
            request: The serialized request.
            timeout: Seconds; None for the endpoint's own.
            metadata: Sent beside the token and the trace.

        Raises:
            HeliographError: The class that fits the status.
        """
        endpoint = self._transport.endpoint
        timeout = endpoint.timeout if timeout is None else seconds(timeout)
        try:
            response = next(self._methods)(
                request,
                timeout=timeout,
                metadata=call_metadata(endpoint, metadata),
                wait_for_ready=endpoint.wait_for_ready,
            )
        except grpc.RpcError as error:
            raise from_rpc_error(error, target=endpoint.target, timeout=timeout) from error
        except ValueError as error:
            if not self._transport.closed:
                raise
            raise FailedPreconditionError(CLOSED) from error
        return _parsed(response, self._parse, endpoint.target)

    def start(
        self, request: bytes, timeout: float | None = None, metadata: Metadata = ()
    ) -> PendingCall[Response]:
        """Make the call without waiting for its response; arguments as for a call."""
        endpoint = self._transport.endpoint
        timeout = endpoint.timeout if timeout is None else seconds(timeout)
        try:
            future = next(self._methods).future(
                request,
                timeout=timeout,
                metadata=call_metadata(endpoint, metadata),
                wait_for_ready=endpoint.wait_for_ready,
            )
        except ValueError as error:
            if not self._transport.closed:
                raise
            raise FailedPreconditionError(CLOSED) from error
        return PendingCall(future, self._parse, endpoint.target, timeout)


class PendingCall(Generic[Response]):
    """A call that is under way."""

    def __init__(
        self,
        future: grpc.Future[bytes],
        parse: Callable[[bytes], Response],
        target: str,
        timeout: float,
    ) -> None:
        """Remember how to read the response, and what an error message needs."""
        self._future = future
        self._parse = parse
        self._target = target
        self._timeout = timeout

    def result(self) -> Response:
        """Wait for the response; the call's own deadline bounds the wait.

        Raises:
            HeliographError: The class that fits the status.
        """
        try:
            response = self._future.result()
        except grpc.FutureCancelledError as error:
            raise CancelledError(CANCELLED) from error
        except grpc.RpcError as error:
            raise from_rpc_error(error, target=self._target, timeout=self._timeout) from error
        return _parsed(response, self._parse, self._target)

    def done(self) -> bool:
        """Return whether `result` would return at once."""
        return self._future.done()

    def cancel(self) -> None:
        """Give the call up; a response that is already there is kept."""
        self._future.cancel()


class AioTransport:
    """Channels for calls of one event loop, opened with the first call."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Keep the endpoint; nothing is opened, so that no event loop has to run yet."""
        self.endpoint = endpoint
        self.closed = False
        self.loop: asyncio.AbstractEventLoop | None = None
        self._channels: list[grpc.aio.Channel] = []

    def unary(self, path: str, parse: Callable[[bytes], Response]) -> AioUnaryCall[Response]:
        """Return the call of a path, for example `/grpc.health.v1.Health/Check`."""
        return AioUnaryCall(self, path, parse)

    def channels(self) -> list[grpc.aio.Channel]:
        """Return the channels, opening them when this is the first call.

        Raises:
            FailedPreconditionError: The client is closed, or belongs to another event loop.
        """
        if self.closed:
            raise FailedPreconditionError(CLOSED)
        loop = asyncio.get_running_loop()
        if self.loop is None:
            self.loop = loop
            self._channels = self.endpoint.open_aio()
        if self.loop is not loop:
            raise FailedPreconditionError(_OTHER_LOOP)
        return self._channels

    async def close(self) -> None:
        """Close the channels; calls still waiting raise CancelledError."""
        self.closed = True
        for channel in self._channels:
            await channel.close()


class AioUnaryCall(Generic[Response]):
    """One path that takes bytes and returns a parsed response."""

    def __init__(
        self, transport: AioTransport, path: str, parse: Callable[[bytes], Response]
    ) -> None:
        """Remember the path; the channels are opened with the first call."""
        self._transport = transport
        self._path = path
        self._parse = parse
        self._methods: itertools.cycle[grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]] | None = None

    async def __call__(
        self, request: bytes, timeout: float | None = None, metadata: Metadata = ()
    ) -> Response:
        """Make the call and wait for its response; cancelling the task cancels the call.

        Args:
            request: The serialized request.
            timeout: Seconds; None for the endpoint's own.
            metadata: Sent beside the token and the trace.

        Raises:
            HeliographError: The class that fits the status.
        """
        endpoint = self._transport.endpoint
        timeout = endpoint.timeout if timeout is None else seconds(timeout)
        channels = self._transport.channels()
        if self._methods is None:
            self._methods = itertools.cycle(
                [channel.unary_unary(self._path, None, None) for channel in channels]
            )
        try:
            response = await next(self._methods)(
                request,
                timeout=timeout,
                metadata=call_metadata(endpoint, metadata),
                wait_for_ready=endpoint.wait_for_ready,
            )
        except grpc.RpcError as error:
            raise from_rpc_error(error, target=endpoint.target, timeout=timeout) from error
        except asyncio.CancelledError as error:
            # grpc.aio also raises this when the channel is closed below a call: that is an outcome
            # of the call, while a task that was asked to stop has to see its own cancellation.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise CancelledError(CANCELLED) from error
        return _parsed(response, self._parse, endpoint.target)


CLOSED = "the client is closed; make a new one"
_OTHER_LOOP = "the client was used in another event loop; make one for each"
CANCELLED = "the call was cancelled because the client was closed"


def _parsed(response: bytes, parse: Callable[[bytes], Response], target: str) -> Response:
    # gRPC would do this itself, but grpc.aio hands out None for what it cannot parse.
    try:
        return parse(response)
    except DecodeError as error:
        raise InternalError(f"the answer of {target} cannot be read: {error}") from error


def call_metadata(endpoint: Endpoint, metadata: Metadata) -> Metadata | None:
    """Return what is sent beside a request: the token in force now, and the trace."""
    return (*endpoint.authorization(), *(metadata or current_trace_headers())) or None
