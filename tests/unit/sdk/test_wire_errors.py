"""Errors on the wire: packing, unpacking, and what a stranger's server may send instead."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2

from heliograph.errors import (
    BY_REASON,
    BY_STATUS,
    CorruptImageError,
    DeadlineExceededError,
    HeliographError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    OverloadedError,
    UnavailableError,
    UnknownError,
)
from heliograph.wire_errors import (
    DETAILS_TRAILER,
    PUSHBACK_TRAILER,
    from_rpc_error,
    from_status,
    status_code,
    to_abort,
    to_status,
    to_trailers,
)


def rpc_error(
    code: grpc.StatusCode, details: str | None = None, **trailers: str | bytes
) -> grpc.aio.AioRpcError:
    """What grpc.aio raises; the keys of trailers have `_` for `-`."""
    metadata = grpc.aio.Metadata(
        *((key.replace("_", "-"), value) for key, value in trailers.items())
    )
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), metadata, details=details)


@pytest.mark.parametrize("kind", BY_REASON.values(), ids=BY_REASON.keys())
def test_an_error_survives_the_wire(kind: type[HeliographError]) -> None:
    again = from_status(to_status(kind("what", retry_after=1.5, request_id="r-1")))

    assert type(again) is kind
    assert (again.message, again.retry_after, again.request_id) == ("what", 1.5, "r-1")


def test_a_status_carries_the_details_that_the_documentation_promises() -> None:
    status = to_status(OverloadedError("busy", retry_after=0.25, request_id="r-1"))
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()

    assert status.code == code_pb2.RESOURCE_EXHAUSTED
    assert status.details[0].Unpack(info)
    assert (info.domain, info.reason) == ("heliograph", "OVERLOADED")
    assert dict(info.metadata) == {"request_id": "r-1"}
    assert status.details[1].Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() == 250


def test_the_numbers_of_statuses_are_those_of_google_rpc() -> None:
    for name, kind in BY_STATUS.items():
        assert to_status(kind("what")).code == code_pb2.Code.Value(name)


def test_an_abort_carries_code_message_and_trailers() -> None:
    code, message, trailers = to_abort(CorruptImageError("truncated"))

    assert (code, message) == (grpc.StatusCode.INVALID_ARGUMENT, "truncated")
    assert [key for key, _ in trailers] == [DETAILS_TRAILER]


def test_a_retry_delay_is_told_to_grpc_as_well() -> None:
    trailers = dict(to_trailers(OverloadedError("busy", retry_after=0.25)))

    assert trailers[PUSHBACK_TRAILER] == "250"


@pytest.mark.parametrize("seconds", [-1.0, 0.0])
def test_a_retry_delay_is_never_negative(seconds: float) -> None:
    # A negative pushback would tell gRPC never to try again.
    error = OverloadedError("busy", retry_after=seconds)

    assert dict(to_trailers(error))[PUSHBACK_TRAILER] == "0"
    assert from_status(to_status(error)).retry_after == 0.0


def test_a_long_message_is_cut_between_characters() -> None:
    _, message, _ = to_abort(InternalError("é" * 2000))

    assert message == "é" * 510 + "..."


def test_every_code_of_grpc_has_a_class() -> None:
    for code in grpc.StatusCode:
        error = from_rpc_error(rpc_error(code, "text"))
        assert error.status == ("UNKNOWN" if code is grpc.StatusCode.OK else code.name)


def test_the_message_of_a_server_without_details_is_kept() -> None:
    error = from_rpc_error(rpc_error(grpc.StatusCode.NOT_FOUND, "Servable not found"))

    assert type(error) is NotFoundError
    assert error.message == "Servable not found"


def test_a_failure_without_a_message_still_says_something() -> None:
    error = from_rpc_error(rpc_error(grpc.StatusCode.INTERNAL), target="host:9000")

    assert error.message == "host:9000 answered INTERNAL without a message"


@pytest.mark.parametrize("details", [None, "", "Deadline Exceeded"])
def test_a_deadline_that_passed_here_names_its_seconds(details: str | None) -> None:
    code = grpc.StatusCode.DEADLINE_EXCEEDED
    error = from_rpc_error(rpc_error(code, details), target="host:9000", timeout=2.5)

    assert type(error) is DeadlineExceededError
    assert error.message == "no answer from host:9000 within 2.5 s"


def test_a_deadline_that_passed_there_keeps_its_message() -> None:
    code = grpc.StatusCode.DEADLINE_EXCEEDED
    error = from_rpc_error(rpc_error(code, "Timed out waiting for notification"), timeout=2.5)

    assert error.message == "Timed out waiting for notification"


def test_the_many_lines_of_a_failed_connection_become_one() -> None:
    error = from_rpc_error(rpc_error(grpc.StatusCode.UNAVAILABLE, "a\n  b"), target="host:9000")

    assert type(error) is UnavailableError
    assert error.message == "cannot reach host:9000: a b"


def test_a_pushback_alone_is_a_retry_delay() -> None:
    code = grpc.StatusCode.UNAVAILABLE

    assert from_rpc_error(rpc_error(code, "", grpc_retry_pushback_ms="40")).retry_after == 0.04
    for useless in ("-1", "soon"):
        error = from_rpc_error(rpc_error(code, "", grpc_retry_pushback_ms=useless))
        assert error.retry_after is None


@pytest.mark.parametrize(
    "trailer",
    [
        b"\xff\xff\xff",
        b"",
        to_status(CorruptImageError("another code")).SerializeToString(),
    ],
    ids=["damaged", "empty", "contradicting"],
)
def test_details_that_make_no_sense_are_ignored(trailer: bytes) -> None:
    error = from_rpc_error(
        rpc_error(grpc.StatusCode.NOT_FOUND, "text", grpc_status_details_bin=trailer)
    )

    assert type(error) is NotFoundError
    assert error.message == "text"


@pytest.mark.parametrize(
    ("domain", "reason"),
    [
        ("heliograph", "FROM_THE_FUTURE"),
        ("heliograph", "OVERLOADED"),
        ("example.com", "CORRUPT_IMAGE"),
    ],
    ids=["unknown reason", "reason of another status", "other domain"],
)
def test_a_reason_that_does_not_fit_leaves_the_class_of_the_status(
    domain: str, reason: str
) -> None:
    status = status_pb2.Status(code=code_pb2.INVALID_ARGUMENT, message="text")
    status.details.add().Pack(error_details_pb2.ErrorInfo(domain=domain, reason=reason))

    assert type(from_status(status)) is InvalidArgumentError


def test_a_damaged_detail_does_not_hide_the_others() -> None:
    status = to_status(CorruptImageError("truncated", request_id="r-1"))
    damaged = status.details.add()
    damaged.Pack(error_details_pb2.RetryInfo())
    damaged.value = b"\xff"

    assert type(from_status(status)) is CorruptImageError


@pytest.mark.parametrize("code", [0, 99, -1])
def test_a_code_that_does_not_exist_is_unknown(code: int) -> None:
    error = from_status(status_pb2.Status(code=code))

    assert type(error) is UnknownError
    assert error.message


def test_an_error_of_grpc_without_a_status_is_unknown() -> None:
    error = from_rpc_error(grpc.RpcError("odd"), target="host:9000")

    assert type(error) is UnknownError
    assert error.message == "the call to host:9000 failed without a status: odd"


def test_each_class_has_a_code_of_grpc() -> None:
    for kind in BY_REASON.values():
        assert status_code(kind("what")).name == kind.status
