"""Where the web server listens: the address, and its socket."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from dataclasses import dataclass

from heliograph.errors import AddressInUseError, ConfigurationError

_LARGEST_PORT = 65535


@dataclass(frozen=True)
class ListenAddress:
    """A host and a port."""

    host: str
    """IP address or name, without brackets."""
    port: int
    """TCP port; 0 takes a free one."""

    @classmethod
    def parse(cls, text: str) -> ListenAddress:
        """Read `HOST:PORT`, `[IPV6]:PORT`.

        Raises:
            ConfigurationError: It is none of these.
        """
        host, _, port = text.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        name = host[1:-1] if bracketed else host
        valid_port = port.isascii() and port.isdecimal() and int(port) <= _LARGEST_PORT
        if not name or not valid_port or (":" in name) != bracketed:
            raise ConfigurationError(
                f"{text!r} is no address to listen on; write HOST:PORT, such as 127.0.0.1:8080"
            )
        return cls(name, int(port))

    def __str__(self) -> str:
        """Return it as it stands in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def bind(self) -> tuple[socket.socket, ListenAddress]:
        """Return a listening socket, and the address with the port that it got.

        Raises:
            AddressInUseError: Something else listens there.
            ConfigurationError: The host is unknown or not this machine's, or the port is not
                allowed.
        """
        try:
            family, kind, _, _, address = socket.getaddrinfo(
                self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
        except OSError as error:
            raise ConfigurationError(f"cannot listen on {self}: the host is unknown") from error
        listener = socket.socket(family, kind)
        try:
            if os.name == "posix":
                # A server that is started again need not wait for old connections to be forgotten.
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen()
        except OSError as error:
            listener.close()
            if error.errno == errno.EADDRINUSE:
                raise AddressInUseError(
                    f"{self} is in use; choose another port with --listen (port 0 takes a free one)"
                ) from error
            raise ConfigurationError(f"cannot listen on {self}: {error.strerror}") from error
        return listener, ListenAddress(self.host, listener.getsockname()[1])
