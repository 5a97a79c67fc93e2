"""Progress of long work: a bar on a terminal, plain lines elsewhere, always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Task(Protocol):
    """Work of a known size that is under way."""

    def advance(self, count: int) -> None:
        """Say that `count` more units are done."""

    def note(self, text: str) -> None:
        """Show the latest figures of the work."""


class Progress(Protocol):
    """Where progress goes."""

    def task(self, description: str, total: int) -> AbstractContextManager[Task]:
        """Show work of `total` units for as long as the block runs."""


class _SilentTask:
    def advance(self, count: int) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""


class SilentProgress:
    """Shows nothing: the default of every function that can be called from a program."""

    @contextmanager
    def task(self, description: str, total: int) -> Iterator[Task]:
        """Run the block."""
        yield _SilentTask()


class _PlainTask:
    def __init__(self, description: str) -> None:
        self._description = description

    def advance(self, count: int) -> None:
        """Show nothing: a log wants no bar."""

    def note(self, text: str) -> None:
        """Print the figures."""
        print(f"{self._description}: {text}", file=sys.stderr, flush=True)


class PlainProgress:
    """Prints a line for every note and one at the end, for logs and pipes."""

    @contextmanager
    def task(self, description: str, total: int) -> Iterator[Task]:
        """Run the block; say how long it took."""
        started = time.monotonic()
        task = _PlainTask(description)
        yield task
        task.note(f"done, {time.monotonic() - started:.1f} s")


class BarProgress:
    """Draws a bar with the time left and the latest note."""

    @contextmanager
    def task(self, description: str, total: int) -> Iterator[Task]:
        """Draw the bar while the block runs."""
        from rich.console import Console
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[note]}"),
        )
        with RichProgress(*columns, console=Console(stderr=True)) as bars:
            bar = bars.add_task(description, total=total, note="")

            class _BarTask:
                def advance(self, count: int) -> None:
                    bars.advance(bar, count)

                def note(self, text: str) -> None:
                    bars.update(bar, note=text)

            yield _BarTask()


def console_progress() -> Progress:
    """Return a bar when stderr is a terminal, else plain lines."""
    return BarProgress() if sys.stderr.isatty() else PlainProgress()
