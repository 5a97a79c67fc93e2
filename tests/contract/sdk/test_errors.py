"""Every failure reaches the caller as a HeliographError of the right class, never as grpc's own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from heliograph import RetryOptions
from heliograph.errors import (
    BY_REASON,
    BY_STATUS,
    CancelledError,
    FailedPreconditionError,
    HeliographError,
    InternalError,
    OverloadedError,
    UnavailableError,
)
from heliograph.testing import FakeGateway

Connect = Callable[..., Any]

ONCE = RetryOptions(attempts=1)


class _BareServer(grpc.GenericRpcHandler):
    """Answers every call as the path's service would without Heliograph's error details.

    The model's name is the status to fail with; without one, the answer is no message at all.
    """

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        from heliograph.v1.classifier_pb2 import ClassifyRequest

        def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
            name = ClassifyRequest.FromString(request).model.name
            if name:
                context.abort(grpc.StatusCode[name], "plain text")
            return b"\xff\xff\xff"

        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.fixture
def bare_server() -> Iterator[str]:
    with ThreadPoolExecutor(4) as executor:
        server = grpc.server(executor, handlers=[_BareServer()])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(None).wait()


@pytest.mark.parametrize("kind", BY_REASON.values(), ids=BY_REASON.keys())
def test_every_reason_becomes_its_class_again(
    connect: Connect, fake_gateway: FakeGateway, kind: type[HeliographError]
) -> None:
    fake_gateway.fail_calls(kind("what is wrong", request_id="r-1"), times=None)

    with pytest.raises(HeliographError) as caught:
        connect(fake_gateway.target, retry=ONCE).classify(b"image")

    assert type(caught.value) is kind
    assert caught.value.message == "what is wrong"
    assert caught.value.request_id == "r-1"
    assert caught.value.retry_after is None


@pytest.mark.parametrize("status", [code.name for code in grpc.StatusCode if code.value[0]])
def test_every_status_without_details_has_a_class(
    connect: Connect, bare_server: str, status: str
) -> None:
    with pytest.raises(HeliographError, match="plain text") as caught:
        connect(bare_server, retry=ONCE).classify(b"image", model=status)

    assert type(caught.value) is BY_STATUS[status]
    assert caught.value.status == status


def test_the_table_of_statuses_is_total() -> None:
    assert set(BY_STATUS) == {code.name for code in grpc.StatusCode} - {"OK"}


@pytest.mark.parametrize(
    "call", [lambda c: c.models(), lambda c: c.model("m"), lambda c: c.health("m")]
)
def test_every_method_translates_its_errors(
    connect: Connect, fake_gateway: FakeGateway, call: Callable[[Any], object]
) -> None:
    fake_gateway.fail_calls(InternalError("a fault", request_id="r-2"), times=None)

    with pytest.raises(InternalError) as caught:
        call(connect(fake_gateway.target))

    assert caught.value.request_id == "r-2"


def test_the_delay_before_another_attempt_is_told(
    connect: Connect, fake_gateway: FakeGateway
) -> None:
    fake_gateway.fail_calls(OverloadedError("too much", retry_after=0.25), times=None)

    with pytest.raises(OverloadedError) as caught:
        connect(fake_gateway.target, retry=ONCE).classify(b"image")

    assert caught.value.retry_after == 0.25


def test_a_long_message_is_cut_and_not_lost(connect: Connect, fake_gateway: FakeGateway) -> None:
    fake_gateway.fail_calls(InternalError("ä" * 100_000, request_id="r-3"))

    with pytest.raises(InternalError, match=r"^ä{510}\.\.\.$") as caught:
        connect(fake_gateway.target).classify(b"image")

    assert caught.value.request_id == "r-3"


def test_an_answer_that_cannot_be_parsed_is_an_internal_error(
    connect: Connect, bare_server: str
) -> None:
    with pytest.raises(InternalError):
        connect(bare_server).classify(b"image")


def test_a_gateway_that_is_not_there_is_named(connect: Connect) -> None:
    with socket.socket() as taken:
        # Bound and not listening: nobody else can answer there.
        taken.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{taken.getsockname()[1]}"

        with pytest.raises(UnavailableError, match=f"cannot reach {target}: "):
            connect(target, retry=ONCE).classify(b"image")


def test_a_server_that_does_not_speak_grpc_is_unavailable(connect: Connect) -> None:
    def answer(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        try:
            with pytest.raises(UnavailableError, match=r"cannot reach 127\.0\.0\.1"):
                connect(f"127.0.0.1:{listener.getsockname()[1]}", retry=ONCE).classify(b"image")
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_a_closed_client_says_so(connect: Connect, fake_gateway: FakeGateway) -> None:
    client = connect(fake_gateway.target)
    client.classify(b"image")
    client.close()

    with pytest.raises(FailedPreconditionError, match="the client is closed"):
        client.classify(b"image")


def test_closing_the_client_cancels_its_calls(
    connect: Connect,
    fake_gateway: FakeGateway,
    wait_until: Callable[[Callable[[], bool]], None],
) -> None:
    fake_gateway.delay(30.0)

    with pytest.raises(CancelledError):
        connect(fake_gateway.target).classify_and_close(lambda: len(fake_gateway.calls) == 1)

    wait_until(lambda: not fake_gateway.calls[0].active)
