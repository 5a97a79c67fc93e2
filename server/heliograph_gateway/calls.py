"""What every call has: a request id, authentication, one translation of errors, a record.

This is the outermost interceptor: nothing but a HeliographError becomes a status with a message;
what nobody expected becomes INTERNAL with the request id under which it was logged.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import grpc
import structlog
from google.protobuf.message import DecodeError

from heliograph.errors import (
    HeliographError,
    InternalError,
    InvalidArgumentError,
    UnavailableError,
)
from heliograph.v1.classifier_pb2 import ServedBy
from heliograph.wire_errors import to_abort
from heliograph_gateway.authentication import TokenAuthenticator
from heliograph_gateway.metrics import GatewayMetrics

REQUEST_ID = "x-request-id"
"""Metadata key: callers may choose an id, and always get the one that was used."""
_WELL_FORMED_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_IDS = random.Random()  # noqa: S311 - an id has to be rare, not secret
"""Seeded by the operating system."""
_OPEN_SERVICES = ("/grpc.health.v1.Health/",)
"""Answered without a token: load balancers ask for health and carry none."""
_OUR_FAULT = {"INTERNAL", "UNKNOWN", "DATA_LOSS", "UNAVAILABLE", "UNIMPLEMENTED"}
"""Codes of a failure on our side, which is always logged."""

_ENDING = ("/heliograph.v1.Classifier/",)
"""Their streams end by themselves when the gateway drains: see streaming.py."""
_STREAM_GRACE = 0.2
"""Seconds that other streams get to end when the gateway drains."""

log = structlog.get_logger()
Context = grpc.aio.ServicerContext[Any, Any]


@dataclass
class Call:
    """What is known of the call under way."""

    request_id: str
    caller: str = ""
    """Connection that the call came on, as gRPC names it: whose turn it is when callers wait."""
    model: str = ""
    version: int = 0
    role: str = ""

    def answered(self, served_by: ServedBy) -> None:
        """Note which version answers."""
        self.model = served_by.name
        self.version = served_by.version
        self.role = "stable" if served_by.routing_revision else "pinned"


current_call: ContextVar[Call] = ContextVar("current_call")


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every handler, once per method."""

    def __init__(
        self,
        metrics: GatewayMetrics,
        authenticator: TokenAuthenticator | None,
        *,
        access_log: bool,
    ) -> None:
        self._metrics = metrics
        self._authenticator = authenticator
        self._access_log = access_log
        self._streams: set[asyncio.Timeout] = set()
        self._streams_end: float | None = None
        self._wrapped: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return the wrapped handler of a method; None when there is no such method."""
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None
            wrapped = self._wrapped[method] = self._wrap(method, handler)
        return wrapped

    def _wrap(
        self, method: str, handler: grpc.RpcMethodHandler[Any, Any]
    ) -> grpc.RpcMethodHandler[Any, Any]:
        guard = self._authenticator if not method.startswith(_OPEN_SERVICES) else None
        serializer = handler.response_serializer
        if handler.unary_unary:
            behaviour: Callable[[Any, Any], Awaitable[Any]] = handler.unary_unary

            async def answer(message: bytes, context: Context) -> Any:
                async with _Record(self, method, context):
                    _authenticate(guard, context)
                    # gRPC would parse before us, and tell the caller the text of an exception.
                    request = _parse(handler, message)
                    return await behaviour(request, context)

            return grpc.unary_unary_rpc_method_handler(answer, None, serializer)

        stream: Any = handler.unary_stream or handler.stream_stream

        async def answer_stream(message: Any, context: Context) -> None:
            limit = nullcontext() if method.startswith(_ENDING) else self._until_draining()
            async with _Record(self, method, context), limit:
                _authenticate(guard, context)
                if handler.unary_stream:
                    request = _parse(handler, message)
                else:
                    request = _parse_each(handler, message)
                responses = stream(request, context)
                if hasattr(responses, "aclose"):
                    # Closed even where writing fails, so that no work goes on for nobody.
                    async with aclosing(responses):
                        async for response in responses:
                            await context.write(response)
                else:
                    await responses

        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(answer_stream, None, serializer)
        return grpc.stream_stream_rpc_method_handler(answer_stream, None, serializer)

    def drain(self) -> None:
        """End the streams, which are health watches and reflection and have no end of their own.

        They get a moment to say what they have to say.
        """
        self._streams_end = asyncio.get_running_loop().time() + _STREAM_GRACE
        for limit in self._streams:
            limit.reschedule(self._streams_end)

    @asynccontextmanager
    async def _until_draining(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout_at(self._streams_end) as limit:
                self._streams.add(limit)
                try:
                    yield
                finally:
                    self._streams.discard(limit)
        except TimeoutError as error:
            raise UnavailableError("the gateway is shutting down") from error

    def record(self, method: str, call: Call, code: str, seconds: float, message: str) -> None:
        """Write down a finished call."""
        self._metrics.call(method, code, call.model, call.role, seconds)
        ours = code in _OUR_FAULT
        if ours or self._access_log:
            write = log.warning if ours else log.info
            write(
                "call",
                method=method,
                code=code,
                request_id=call.request_id,
                model=call.model,
                version=call.version,
                milliseconds=round(seconds * 1000, 3),
                **({"error": message} if message else {}),
            )


class _Record:
    """One call, from its first line to its last."""

    def __init__(
        self,
        interceptor: CallInterceptor,
        method: str,
        context: Context,
    ) -> None:
        self._interceptor = interceptor
        self._method = method
        self._context = context
        self._start = time.perf_counter()
        self._call = Call(_request_id(context), context.peer())

    async def __aenter__(self) -> None:
        current_call.set(self._call)
        self._context.set_trailing_metadata(((REQUEST_ID, self._call.request_id),))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        status, message = "OK", ""
        try:
            if isinstance(error, HeliographError):
                status, message = error.status, error.message
                await self._abort(error)
            elif isinstance(error, grpc.aio.AbortError):
                # A servicer that is not ours has ended the call itself.
                status = grpc.StatusCode(self._context.code()).name
            elif isinstance(error, grpc.aio.InternalError):
                # Nothing could be sent any more: the caller has gone.
                status = grpc.StatusCode.CANCELLED.name
            elif isinstance(error, Exception):
                internal = unexpected(error, self._method)
                status, message = internal.status, internal.message
                await self._abort(internal)
            elif error is not None:
                status = grpc.StatusCode.CANCELLED.name
        finally:
            seconds = time.perf_counter() - self._start
            self._interceptor.record(self._method, self._call, status, seconds, message)

    async def _abort(self, error: HeliographError) -> None:
        error.request_id = self._call.request_id
        code, message, trailers = to_abort(error)
        await self._context.abort(code, message, (*trailers, (REQUEST_ID, self._call.request_id)))


def unexpected(error: Exception, method: str) -> InternalError:
    """Log what nobody expected; return what the caller may know of it."""
    request_id = current_call.get().request_id
    log.error("unexpected error", method=method, request_id=request_id, exc_info=error)
    return InternalError(f"internal error; the log has it as request {request_id}")


def deadline_of(context: Context, longest_call: float) -> float:
    """Return when a call must be answered, in seconds of `time.monotonic()`.

    Args:
        context: Of the call.
        longest_call: Seconds that a call gets at most, and one whose caller set no deadline.
    """
    remaining = context.time_remaining()
    seconds = longest_call if remaining is None else min(remaining, longest_call)
    return time.monotonic() + seconds


def _authenticate(guard: TokenAuthenticator | None, context: Context) -> None:
    if guard:
        guard.check(context.invocation_metadata() or ())


def _parse(handler: grpc.RpcMethodHandler[Any, Any], message: bytes) -> Any:
    parse = handler.request_deserializer
    try:
        return parse(message) if parse else message
    except DecodeError as error:
        raise InvalidArgumentError("the message is damaged, or of another type") from error


async def _parse_each(
    handler: grpc.RpcMethodHandler[Any, Any], messages: AsyncIterator[bytes]
) -> AsyncIterator[Any]:
    async for message in messages:
        yield _parse(handler, message)


def _request_id(context: Context) -> str:
    for key, value in context.invocation_metadata() or ():
        if key == REQUEST_ID and isinstance(value, str) and _WELL_FORMED_ID.fullmatch(value):
            return value
    return f"{_IDS.getrandbits(64):016x}"
