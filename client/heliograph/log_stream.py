"""Standard error as a place for logs: writing to it never fails its writer."""

from __future__ import annotations

import contextlib
import io
import sys
from typing import TextIO, cast


class LogStream(io.TextIOBase):
    """Writes to the process's standard error; a line that cannot be written is lost.

    Whoever reads a server's log may be gone before the server: its pipe is broken then, and a
    server that failed for want of a reader would neither answer nor stop in order.
    """

    def write(self, text: str) -> int:
        """Write, or not; return the length of the text either way."""
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, or not."""
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()


def open_log_stream() -> TextIO:
    """Return a stream for a logger."""
    # TextIO is what typeshed calls any text stream; io's own classes do not inherit from it.
    return cast("TextIO", LogStream())
