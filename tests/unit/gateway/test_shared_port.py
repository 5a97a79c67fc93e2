"""The port of several workers: they share it, and nobody else does."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from heliograph.errors import AddressInUseError
from heliograph_gateway.shared_port import SharedPort


@pytest.fixture(params=["127.0.0.1", "localhost", "0.0.0.0", "[::1]", "[::]"])
def host(request: pytest.FixtureRequest) -> str:
    """A host to listen to."""
    name = str(request.param)
    if ":" in name and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    return name


@pytest.fixture
def port(host: str) -> Iterator[SharedPort]:
    """A free port that is kept."""
    with closing(SharedPort(f"{host}:0")) as kept:
        yield kept


def listener(host: str, address: str, *, shared: bool) -> socket.socket:
    """Listen as a worker does, or as anybody else."""
    name = {"[::]": "::", "[::1]": "::1", "localhost": "127.0.0.1"}.get(host, host)
    family = socket.AF_INET6 if ":" in name else socket.AF_INET
    listening = socket.socket(family)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
        listening.bind((name, int(address.rpartition(":")[2])))
        listening.listen()
    except OSError:
        listening.close()
        raise
    return listening


def test_a_free_port_is_chosen_and_named(host: str, port: SharedPort) -> None:
    name, _, number = port.address.rpartition(":")

    assert name == host
    assert int(number) > 0


def test_workers_share_it(host: str, port: SharedPort) -> None:
    with (
        listener(host, port.address, shared=True),
        listener(host, port.address, shared=True),
    ):
        pass


def test_nobody_else_gets_it_although_no_worker_listens(host: str, port: SharedPort) -> None:
    with pytest.raises(OSError, match="in use"):
        listener(host, port.address, shared=False)
    with pytest.raises(AddressInUseError):
        SharedPort(port.address)


def test_a_port_with_workers_on_it_is_in_use(host: str, port: SharedPort) -> None:
    with (
        listener(host, port.address, shared=True),
        pytest.raises(AddressInUseError) as caught,
    ):
        SharedPort(port.address)

    assert caught.value.message == (
        f"cannot listen on {port.address}: is something else listening there? "
        "Choose another address with --listen"
    )


def test_a_port_that_somebody_listens_on_is_in_use(host: str, port: SharedPort) -> None:
    port.close()

    with listener(host, port.address, shared=False), pytest.raises(AddressInUseError):
        SharedPort(port.address)


def test_it_is_free_again_afterwards(host: str, port: SharedPort) -> None:
    port.close()

    with closing(SharedPort(port.address)) as again:
        assert again.address == port.address


@pytest.mark.parametrize("address", ["192.0.2.1:0", "no-such-host.invalid:0"])
def test_an_address_of_another_machine_is_refused(address: str) -> None:
    with pytest.raises(AddressInUseError, match="--listen"):
        SharedPort(address)
