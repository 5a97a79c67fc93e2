from __future__ import annotations

import pytest

from heliograph.errors import AddressInUseError, ConfigurationError
from heliograph_web.listening import ListenAddress


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        ("localhost:0", "localhost", 0),
        ("[::1]:65535", "::1", 65535),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, host: str, port: int) -> None:
    address = ListenAddress.parse(text)

    assert (address.host, address.port) == (host, port)
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    ["", "8080", ":8080", "[]:80", "localhost", "localhost:", "a:65536", "a:-1", "a:x", "::1:80"],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="HOST:PORT"):
        ListenAddress.parse(text)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "LOCALHOST", "::1"])
def test_loopback_stays_on_this_machine(host: str) -> None:
    assert ListenAddress(host, 80).is_loopback


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "localhost.example", "example"])
def test_other_addresses_can_be_reached_from_elsewhere(host: str) -> None:
    assert not ListenAddress(host, 80).is_loopback


def test_port_0_takes_a_free_port() -> None:
    listener, address = ListenAddress("127.0.0.1", 0).bind()
    with listener:
        assert address.port == listener.getsockname()[1] > 0


def test_an_address_in_use_is_named() -> None:
    listener, address = ListenAddress("127.0.0.1", 0).bind()
    with listener, pytest.raises(AddressInUseError, match=f"127.0.0.1:{address.port} is in use"):
        address.bind()


def test_an_address_of_another_machine_cannot_be_listened_on() -> None:
    with pytest.raises(ConfigurationError, match=r"cannot listen on 192\.0\.2\.1:0"):
        ListenAddress("192.0.2.1", 0).bind()
