"""How a client connects: proxies, sockets, encryption, tokens, several addresses, sizes, traces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from heliograph import RetryOptions, TlsOptions, __version__, trace_context
from heliograph.errors import (
    ConfigurationError,
    InvalidArgumentError,
    UnauthenticatedError,
    UnavailableError,
)
from heliograph.testing import FakeGateway

Connect = Callable[..., Any]

ONCE = RetryOptions(attempts=1)
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "ipv4:127.0.0.1", "dns:///localhost"])
def test_loopback_is_reached_with_a_proxy_in_the_environment(
    connect: Connect, fake_gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "no_grpc_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    port = fake_gateway.target.rpartition(":")[2]

    assert connect(f"{host}:{port}").classify(b"image").class_name == "cat"


def test_a_unix_socket_is_reached_with_a_proxy_in_the_environment(
    connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    with FakeGateway(address=f"unix:{tmp_path}/gateway.sock") as gateway:
        assert connect(gateway.target).classify(b"image").class_name == "cat"


def test_a_token_is_sent_with_every_call(connect: Connect) -> None:
    with FakeGateway(token="secret") as gateway:
        client = connect(gateway.target, token="secret")
        client.classify(b"image")
        client.classify_many([b"image"])
        client.health()

        with pytest.raises(UnauthenticatedError):
            connect(gateway.target, token="wrong").classify(b"image")
        with pytest.raises(UnauthenticatedError):
            connect(gateway.target).classify(b"image")


def test_a_token_may_change_between_calls(connect: Connect, fake_gateway: FakeGateway) -> None:
    tokens = iter(("first", "second"))
    client = connect(fake_gateway.target, token=lambda: next(tokens))

    client.classify(b"image")
    client.classify(b"image")

    assert [call.metadata["authorization"] for call in fake_gateway.calls] == [
        "Bearer first",
        "Bearer second",
    ]


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "schlüssel"])
def test_a_token_that_is_no_token_is_refused_without_showing_it(
    connect: Connect, fake_gateway: FakeGateway, token: str
) -> None:
    with pytest.raises(ConfigurationError, match="the token is empty or has") as caught:
        connect(fake_gateway.target, token=token).classify(b"image")

    assert not token or token not in caught.value.message
    assert fake_gateway.calls == ()


@pytest.mark.parametrize("target", ["gateway.example:9000", "10.0.0.7:9000", "[fe80::1]:9000"])
def test_a_token_never_travels_in_plain_text(connect: Connect, target: str) -> None:
    with pytest.raises(ConfigurationError, match="in plain text; pass tls="):
        connect(target, token="secret")


def test_tls_needs_the_authority_of_the_certificate(connect: Connect, certificates: Any) -> None:
    credentials = grpc.ssl_server_credentials(
        [(certificates.server_key.read_bytes(), certificates.server.read_bytes())]
    )
    with FakeGateway(credentials=credentials, token="secret") as gateway:
        target = gateway.target.replace("127.0.0.1", "localhost")

        trusted = connect(target, tls=TlsOptions(ca=certificates.ca), token="secret")
        assert trusted.classify(b"image").class_name == "cat"
        with pytest.raises(UnavailableError):
            connect(target, tls=TlsOptions(), retry=ONCE).classify(b"image")
        with pytest.raises(UnavailableError):
            connect(target, retry=ONCE).classify(b"image")


def test_the_name_in_the_certificate_is_checked(connect: Connect, certificates: Any) -> None:
    credentials = grpc.ssl_server_credentials(
        [(certificates.server_key.read_bytes(), certificates.server.read_bytes())]
    )
    ca = certificates.ca.read_bytes()
    with FakeGateway(credentials=credentials) as gateway:
        named = connect(gateway.target, tls=TlsOptions(ca=ca, server_name="gateway.test"))
        assert named.classify(b"image").class_name == "cat"
        other = TlsOptions(ca=ca, server_name="other.test")
        with pytest.raises(UnavailableError):
            connect(gateway.target, tls=other, retry=ONCE).classify(b"image")


def test_a_server_may_ask_for_a_client_certificate(connect: Connect, certificates: Any) -> None:
    credentials = grpc.ssl_server_credentials(
        [(certificates.server_key.read_bytes(), certificates.server.read_bytes())],
        root_certificates=certificates.ca.read_bytes(),
        require_client_auth=True,
    )
    with FakeGateway(credentials=credentials) as gateway:
        target = gateway.target.replace("127.0.0.1", "localhost")
        known = TlsOptions(
            ca=str(certificates.ca),
            certificate=certificates.client,
            key=certificates.client_key.read_bytes(),
        )

        assert connect(target, tls=known).classify(b"image").class_name == "cat"
        anonymous = TlsOptions(ca=certificates.ca)
        with pytest.raises(UnavailableError):
            connect(target, tls=anonymous, retry=ONCE).classify(b"image")


def test_a_certificate_that_cannot_be_read_is_named(connect: Connect, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot read tls ca .*nowhere\.pem"):
        connect("localhost:9000", tls=TlsOptions(ca=tmp_path / "nowhere.pem")).classify(b"image")


def test_all_addresses_of_a_target_are_used_in_turn(connect: Connect) -> None:
    with FakeGateway() as one, FakeGateway() as other:
        client = connect(f"ipv4:{one.target},{other.target}", wait_for_ready=True)
        # Until both are connected, the first one to be answers alone.
        for _ in range(200):
            client.classify(b"image")
            if one.calls and other.calls:
                break

        assert one.calls
        assert other.calls


def test_a_gateway_that_has_gone_is_passed_over(connect: Connect) -> None:
    with FakeGateway() as one:
        with FakeGateway() as other:
            client = connect(f"ipv4:{one.target},{other.target}")
            client.classify(b"image")

        for _ in range(20):
            assert client.classify(b"image").class_name == "cat"


def test_several_channels_are_several_connections(
    connect: Connect, fake_gateway: FakeGateway
) -> None:
    client = connect(fake_gateway.target, channels=3)
    for _ in range(6):
        client.classify(b"image")

    assert len({call.peer for call in fake_gateway.calls}) == 3


def test_one_channel_is_one_connection(connect: Connect, fake_gateway: FakeGateway) -> None:
    client = connect(fake_gateway.target)
    for _ in range(6):
        client.classify(b"image")

    assert len({call.peer for call in fake_gateway.calls}) == 1


def test_no_channels_are_too_few(connect: Connect) -> None:
    with pytest.raises(ConfigurationError, match="channels is 0"):
        connect("localhost:9000", channels=0)


def test_an_answer_may_be_larger_than_grpcs_own_limit(connect: Connect) -> None:
    names = [f"class {number:06d} with a long name {'x' * 100}" for number in range(40_000)]
    with FakeGateway(class_names=names) as gateway:
        result = connect(gateway.target).classify(b"image", top_k=len(names))

    assert len(result.classes) == 40_000
    assert sum(len(item.class_name) for item in result.classes) > 4 * 1024 * 1024


def test_the_gateway_is_told_who_calls(connect: Connect, fake_gateway: FakeGateway) -> None:
    connect(fake_gateway.target).classify(b"image")

    agent = fake_gateway.calls[0].metadata["user-agent"]
    assert str(agent).startswith(f"heliograph-python/{__version__} grpc-python")


def test_a_trace_is_carried_on(connect: Connect, fake_gateway: FakeGateway) -> None:
    client = connect(fake_gateway.target)
    with trace_context(TRACEPARENT, "vendor=1"):
        client.classify(b"image")
        client.classify_many([b"image"])
        client.models()
    client.classify(b"image")

    inside, outside = fake_gateway.calls[:3], fake_gateway.calls[3]
    assert [call.metadata["traceparent"] for call in inside] == [TRACEPARENT] * 3
    assert [call.metadata["tracestate"] for call in inside] == ["vendor=1"] * 3
    assert "traceparent" not in outside.metadata


@pytest.mark.parametrize(
    ("traceparent", "tracestate"),
    [("00-abc-def-01", None), (TRACEPARENT.upper(), None), (TRACEPARENT, "line\nbreak")],
)
def test_a_malformed_trace_is_refused(traceparent: str, tracestate: str | None) -> None:
    with pytest.raises(InvalidArgumentError), trace_context(traceparent, tracestate):
        pass
