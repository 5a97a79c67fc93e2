"""The port that several workers listen on: nobody else's, and ours for as long as we run.

Linux spreads new connections over all sockets that listen on one address with SO_REUSEPORT. A
socket that is bound and does not listen gets none, and keeps the port while no worker is there.
"""

from __future__ import annotations

import errno
import socket

from heliograph_gateway.endpoint import address_in_use

_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - the user's choice


class SharedPort:
    """Sockets that keep a port."""

    def __init__(self, listen: str) -> None:
        """Take a port.

        Args:
            listen: HOST:PORT; port 0 takes a free one.

        Raises:
            AddressInUseError: Somebody else listens there, or the machine has no such address.
        """
        host, _, port = listen.rpartition(":")
        self._sockets: list[socket.socket] = []
        number = int(port)
        try:
            for family, name in _addresses(host.strip("[]")):
                kept = _keep(family, name, number)
                if kept:
                    self._sockets.append(kept)
                    # Where any port will do, the first address chooses for all.
                    number = kept.getsockname()[1]
            if not self._sockets:
                raise OSError(errno.EADDRNOTAVAIL, f"{host} is no address of this machine")
        except OSError as error:
            self.close()
            raise address_in_use(listen) from error
        self.address = f"{host}:{number}"
        """HOST:PORT with the port that was taken."""

    def close(self) -> None:
        """Give the port back."""
        for each in self._sockets:
            each.close()


def _addresses(host: str) -> list[tuple[socket.AddressFamily, str]]:
    """Return what gRPC binds for a host: every address, and both families for a wildcard."""
    if host in _WILDCARDS:
        return [(socket.AF_INET6, "::"), (socket.AF_INET, "0.0.0.0")]  # noqa: S104
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    addresses = [(family, str(address[0])) for family, _, _, _, address in found]
    if host == "localhost":
        # gRPC resolves this name by itself, whatever the machine's hosts file says.
        addresses += [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
    return list(dict.fromkeys(addresses))


def _keep(family: socket.AddressFamily, name: str, port: int) -> socket.socket | None:
    """Return a socket that keeps a port, or None where the machine has no such address.

    Raises:
        OSError: Somebody else has the port.
    """
    try:
        with _bound(family, name, port, shared=False) as alone:
            alone.listen()
            port = alone.getsockname()[1]
        kept = _bound(family, name, port, shared=True)
    except OSError as error:
        if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            return None
        raise
    # From now on nobody can bind beside it, even before a worker listens.
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    return kept


def _bound(family: socket.AddressFamily, name: str, port: int, *, shared: bool) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Connections of an earlier gateway that still linger are not in the way.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((name, port))
    except OSError:
        bound.close()
        raise
    return bound
