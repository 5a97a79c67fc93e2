"""A command that runs beside this one: started, waited for, and ended with it."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from heliograph.errors import UnavailableError

_Found = TypeVar("_Found")
_STOP_TIMEOUT = 60.0
"""Seconds that a process gets to end by itself after SIGTERM, draining included."""

_READ_TIMEOUT = 5.0
"""Seconds for the last lines of a process that has ended."""


class BackgroundProcess:
    """A `heliograph` command whose log goes to a file and is read along for a line."""

    def __init__(self, name: str, arguments: Sequence[str], log: Path) -> None:
        """Start the command.

        Args:
            name: What people call it, for messages.
            arguments: After `heliograph`.
            log: File for what it writes to stderr.
        """
        self._name = name
        self._log = log
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._ended = False
        # A session of its own: Ctrl-C in the terminal is ours to handle, in order.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "heliograph.cli", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Process id of the command."""
        return self._process.pid

    def wait_for(self, find: Callable[[str], _Found | None], timeout: float) -> _Found:
        """Wait for a line of the log.

        Args:
            find: Returns what was looked for in a line, or None.
            timeout: Seconds.

        Raises:
            UnavailableError: The process ended, or the line did not come in time.
        """
        seen = 0
        with self._news:
            while True:
                for line in self._lines[seen:]:
                    found = find(line)
                    if found is not None:
                        return found
                seen = len(self._lines)
                if self._ended or not self._news.wait(timeout):
                    break
        last = self._lines[-1].strip() if self._lines else "it wrote nothing"
        raise UnavailableError(f"the {self._name} did not start: {last} (see {self._log})")

    def stop(self) -> None:
        """End the process: with SIGTERM, after a while with SIGKILL."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        # A process that outlives the command may hold the other end of the pipe open.
        self._reader.join(_READ_TIMEOUT)
        if self._process.stderr and not self._reader.is_alive():
            self._process.stderr.close()

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._log.open("w") as log:
            for line in self._process.stderr:
                log.write(line)
                log.flush()
                with self._news:
                    self._lines.append(line)
                    self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()
