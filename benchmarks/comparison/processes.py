"""A server with all its processes: started, watched, and ended by process id."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import psutil

T = TypeVar("T")

STOP_TIMEOUT = 3.0
"""Seconds for a server to end by itself after SIGTERM."""

QUIET_TIMEOUT = 4.0
"""Seconds to wait for a started server to stop working; some poll for ever."""

QUIET = 0.05
"""Share of a core that counts as doing nothing."""


def free_port() -> int:
    """Return the first of two free ports in a row (Triton takes one for each of its endpoints)."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            with contextlib.suppress(OSError):
                second.bind(("127.0.0.1", port + 1))
                return port


class ServerError(Exception):
    """A server ended, or did not answer in time."""


class Server:
    """A process and everything that it starts."""

    def __init__(
        self, command: Sequence[str | Path], environment: Mapping[str, str], folder: Path, log: Path
    ) -> None:
        """Start it.

        Args:
            command: Program and arguments.
            environment: Variables on top of our own.
            folder: Where it runs.
            log: File for what it prints.
        """
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is ours to handle, in order
            )
        self._root = psutil.Process(self._process.pid)

    def check(self) -> None:
        """Raise ServerError when it has ended."""
        if self._process.poll() is not None:
            last = self._log.read_text(errors="replace").strip().splitlines()[-1:]
            raise ServerError(f"ended with {self._process.returncode}: {' '.join(last)[:300]}")

    def processes(self) -> list[psutil.Process]:
        """Return what is running of it."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return [self._root, *self._root.children(recursive=True)]
        return []

    def processor_seconds(self) -> float:
        """Return the processor time that its processes have had."""
        total = 0.0
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def resident_bytes(self) -> int:
        """Return the resident memory of all its processes, shared pages counted for each."""
        total = 0
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
        return total

    def wait_until_quiet(self, timeout: float = QUIET_TIMEOUT) -> None:
        """Wait until no process of it is busy, with starting or with what it has accepted."""
        deadline = time.monotonic() + timeout
        used, then = self.processor_seconds(), time.monotonic()
        while then < deadline:
            time.sleep(0.4)
            self.check()
            used, before = self.processor_seconds(), used
            then, earlier = time.monotonic(), then
            if used - before < QUIET * (then - earlier):
                return

    def stop(self) -> None:
        """End it: SIGTERM to the first process, SIGKILL to what is left after a while."""
        family = self.processes()
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        _, left = psutil.wait_procs(family, STOP_TIMEOUT)
        for process in {*left, *self.processes()}:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()


def wait_until(find: Callable[[], T | None], timeout: float, pause: float = 0.1) -> T | None:
    """Ask again and again until there is an answer; None when the time is over."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        found = find()
        if found is not None:
            return found
        time.sleep(pause)
    return None
