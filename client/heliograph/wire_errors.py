"""Errors on the wire: from a HeliographError to gRPC's status and trailers, and back.

A failed call carries its code and message in gRPC's own fields, and in the trailer
`grpc-status-details-bin` a `google.rpc.Status` with `google.rpc.ErrorInfo` (the reason, and the
request id among its metadata) and, where another attempt makes sense, `google.rpc.RetryInfo`. The
trailer `grpc-retry-pushback-ms` says the same to gRPC's own retries, which do not read RetryInfo.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from heliograph.errors import BY_REASON, BY_STATUS, DOMAIN, HeliographError, UnknownError

DETAILS_TRAILER: Final = "grpc-status-details-bin"
"""Trailer with the serialized `google.rpc.Status`, as all of gRPC's richer errors have it."""

PUSHBACK_TRAILER: Final = "grpc-retry-pushback-ms"
"""Trailer that delays the retries of gRPC's clients, in milliseconds."""

MAX_MESSAGE_BYTES: Final = 1024
"""Longer messages are cut: they travel twice, and gRPC drops trailers of more than 8 KiB."""

Trailers = tuple[tuple[str, str | bytes], ...]

_LOCAL_DEADLINE: Final = "Deadline Exceeded"
"""What gRPC says of a deadline that passed on the client's side."""

_BY_NUMBER: Final = {code.value[0]: code.name for code in grpc.StatusCode}


def status_code(error: HeliographError) -> grpc.StatusCode:
    """Return the code that an error travels as."""
    return grpc.StatusCode[error.status]


def to_status(error: HeliographError) -> status_pb2.Status:
    """Return an error as a `google.rpc.Status` with its details, for a result inside a message."""
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN)
    if error.request_id:
        info.metadata["request_id"] = error.request_id
    status = status_pb2.Status(code=status_code(error).value[0], message=_cut(error.message))
    status.details.add().Pack(info)
    if error.retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(round(max(error.retry_after, 0.0) * 1e9))
        status.details.add().Pack(retry)
    return status


def to_trailers(error: HeliographError) -> Trailers:
    """Return the trailers of a call that fails with an error."""
    details: tuple[str, str | bytes] = (DETAILS_TRAILER, to_status(error).SerializeToString())
    if error.retry_after is None:
        return (details,)
    return details, (PUSHBACK_TRAILER, str(round(max(error.retry_after, 0.0) * 1e3)))


def to_abort(error: HeliographError) -> tuple[grpc.StatusCode, str, Trailers]:
    """Return the arguments of `ServicerContext.abort` for a call that fails with an error."""
    return status_code(error), _cut(error.message), to_trailers(error)


def from_status(status: status_pb2.Status) -> HeliographError:
    """Return the error that a `google.rpc.Status` stands for.

    The class is that of the reason where Heliograph named one, and otherwise that of the code.
    """
    name = _BY_NUMBER.get(status.code, "UNKNOWN")
    kind = BY_STATUS.get(name, UnknownError)
    request_id = None
    retry_after = None
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        retry = error_details_pb2.RetryInfo()
        try:
            if detail.Unpack(info) and info.domain == DOMAIN:
                named = BY_REASON.get(info.reason, kind)
                kind = named if named.status == name else kind
                request_id = info.metadata.get("request_id")
            elif detail.Unpack(retry):
                retry_after = retry.retry_delay.ToNanoseconds() / 1e9
        except DecodeError:
            continue
    message = status.message or f"the server answered {name} without a message"
    return kind(message, retry_after=retry_after, request_id=request_id)


def from_rpc_error(
    error: grpc.RpcError, *, target: str = "the server", timeout: float | None = None
) -> HeliographError:
    """Return the error that a failed call stands for; every code has a class.

    Args:
        error: What grpc or grpc.aio raised.
        target: Address that was called, for the message of a failure that gRPC itself noticed.
        timeout: Seconds that the call had, likewise.
    """
    call: grpc.Call | grpc.aio.AioRpcError | None = (
        error if isinstance(error, grpc.Call | grpc.aio.AioRpcError) else None
    )
    code = call.code() if call is not None else None
    if call is None or code is None:
        return UnknownError(f"the call to {target} failed without a status: {error}")
    trailers = _trailers(call)
    status = _details(trailers.get(DETAILS_TRAILER), code)
    if status is not None:
        return from_status(status)
    kind = BY_STATUS.get(code.name, UnknownError)
    details = " ".join((call.details() or "").split())
    if code is grpc.StatusCode.DEADLINE_EXCEEDED and details in {"", _LOCAL_DEADLINE} and timeout:
        message = f"no answer from {target} within {timeout:g} s"
    elif code is grpc.StatusCode.UNAVAILABLE:
        message = f"cannot reach {target}: {details or 'no reason given'}"
    else:
        message = details or f"{target} answered {code.name} without a message"
    return kind(message, retry_after=_pushback(trailers.get(PUSHBACK_TRAILER)))


def _trailers(error: grpc.Call | grpc.aio.AioRpcError) -> dict[str, str | bytes]:
    trailers: Iterable[tuple[str, str | bytes]] | None = error.trailing_metadata()
    # grpc.aio's Metadata looks like a mapping, which `dict` would believe, and iterates over pairs.
    return {key: value for key, value in trailers or ()}  # noqa: C416


def _details(trailer: str | bytes | None, code: grpc.StatusCode) -> status_pb2.Status | None:
    """Parse the details, unless they are damaged or contradict the code that gRPC reports."""
    if not isinstance(trailer, bytes):
        return None
    try:
        status = status_pb2.Status.FromString(trailer)
    except DecodeError:
        return None
    return status if status.code == code.value[0] else None


def _pushback(trailer: str | bytes | None) -> float | None:
    try:
        milliseconds = int(trailer) if trailer is not None else -1
    except ValueError:
        return None
    return milliseconds / 1e3 if milliseconds >= 0 else None


def _cut(message: str) -> str:
    encoded = message.encode()
    if len(encoded) <= MAX_MESSAGE_BYTES:
        return message
    return encoded[: MAX_MESSAGE_BYTES - 3].decode(errors="ignore") + "..."
