"""Authentication: bearer tokens from a file, which may be replaced while the gateway runs."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from pathlib import Path

import structlog

from heliograph.errors import ConfigurationError, UnauthenticatedError

log = structlog.get_logger()

_SCHEME = "bearer "
_LOOK_AGAIN = 1.0
"""Seconds after which the file is looked at again."""


class TokenAuthenticator:
    """Knows the tokens of a file: one per line; empty lines and lines with # are skipped."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            ConfigurationError: It cannot be read, or holds no token.
        """
        self._path = path
        self._looked = time.monotonic()
        self._problem = ""
        self._stamp, self._digests = _read(path)

    def check(self, metadata: Iterable[tuple[str, str | bytes]]) -> None:
        """Check the metadata of a call.

        Raises:
            UnauthenticatedError: It carries no token, or one that is not in the file.
        """
        self._refresh()
        header = next((value for key, value in metadata if key == "authorization"), None)
        if not isinstance(header, str) or not header.lower().startswith(_SCHEME):
            raise UnauthenticatedError("the call needs a token: send `authorization: Bearer TOKEN`")
        # Comparing digests takes the same time wherever two tokens begin to differ.
        if _digest(header[len(_SCHEME) :].strip()) not in self._digests:
            raise UnauthenticatedError("the token is not valid")

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._looked < _LOOK_AGAIN:
            return
        self._looked = now
        try:
            if _stamp(self._path) != self._stamp:
                self._stamp, self._digests = _read(self._path)
        except (OSError, ConfigurationError) as error:
            # A file that is being replaced: the old tokens count until the new ones can be read.
            if self._problem != str(error):
                log.error("token file cannot be used; the old tokens count", error=str(error))
            self._problem = str(error)
        else:
            self._problem = ""


def _read(path: Path) -> tuple[tuple[int, ...], frozenset[bytes]]:
    try:
        stamp = _stamp(path)
        lines = [line.strip() for line in path.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read the token file {path}: {error}") from error
    tokens = frozenset(_digest(line) for line in lines if line and not line.startswith("#"))
    if not tokens:
        raise ConfigurationError(f"the token file {path} holds no token")
    return stamp, tokens


def _stamp(path: Path) -> tuple[int, ...]:
    status = path.stat()
    return status.st_mtime_ns, status.st_ino, status.st_size


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
