"""The arguments by which a command reaches a gateway."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from heliograph.errors import ConfigurationError
from heliograph.options import TlsOptions

DEFAULT_TARGET = "127.0.0.1:9000"


def add_connection_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a connection, as a group of their own."""
    group = parser.add_argument_group("connection")
    group.add_argument(
        "--target",
        default=DEFAULT_TARGET,
        metavar="ADDRESS",
        help="gateway: host:port, dns:///host:port or unix:/path [%(default)s]",
    )
    group.add_argument(
        "--timeout",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="longest wait for an answer [%(default)g]",
    )
    group.add_argument("--token-file", type=Path, metavar="FILE", help="file with a bearer token")
    group.add_argument(
        "--tls", action="store_true", help="encrypt, and trust the usual authorities"
    )
    group.add_argument(
        "--ca", type=Path, metavar="FILE", help="encrypt, and trust these authorities (PEM)"
    )
    group.add_argument(
        "--certificate", type=Path, metavar="FILE", help="the client's own certificate (PEM)"
    )
    group.add_argument("--key", type=Path, metavar="FILE", help="its private key (PEM)")
    group.add_argument(
        "--server-name", metavar="NAME", help="name in the server's certificate, if not the host's"
    )


def connection_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments as keyword arguments of Client and AsyncClient, except for the target.

    Raises:
        ConfigurationError: They contradict each other, or the token cannot be read.
    """
    encrypt = arguments.tls or any(
        value is not None
        for value in (
            arguments.ca,
            arguments.certificate,
            arguments.key,
            arguments.server_name,
        )
    )
    tls = TlsOptions(
        ca=arguments.ca,
        certificate=arguments.certificate,
        key=arguments.key,
        server_name=arguments.server_name,
    )
    return {
        "timeout": arguments.timeout,
        "token": _read_token(arguments.token_file),
        "tls": tls if encrypt else None,
    }


def _read_token(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read the token in {path}: {error}") from error
