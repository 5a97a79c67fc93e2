"""The generator processes of a run, as the command's own process sees them."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Self

from heliograph.errors import InternalError
from heliograph_loadtest.generator import GRACE, Effort
from heliograph_loadtest.generator_process import (
    Answer,
    Command,
    Gathered,
    Ready,
    Refused,
    RunStep,
    Stop,
    run_generator,
)
from heliograph_loadtest.load import Share, Step, Traffic
from heliograph_loadtest.recording import Records

_LEAD = 0.1
"""Seconds from the command to start a step until it starts, so that all processes have it."""

_PATIENCE = 5.0
"""Seconds that a process gets to obey."""


class Fleet:
    """Generator processes, from the first call to the last."""

    def __init__(self, traffic: Traffic, processes: int) -> None:
        """Start the processes; `open` waits for them."""
        # Not forked: gRPC does not survive that.
        context = multiprocessing.get_context("spawn")
        self._timeout = traffic.endpoint.timeout
        self._processes = []
        self._connections: list[Connection] = []
        for number in range(processes):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=run_generator,
                args=(theirs, traffic, Share(number, processes)),
                name=f"heliograph-loadtest-{number}",
                daemon=True,
            )
            process.start()
            theirs.close()
            self._processes.append(process)
            self._connections.append(ours)

    def open(self) -> None:
        """Wait until every process has read the images, and has an answer on each connection.

        Raises:
            HeliographError: The target cannot be measured: it is not there, or refuses.
        """
        for connection in self._connections:
            answer = self._receive(connection)
            if isinstance(answer, Refused):
                raise answer.error
            assert isinstance(answer, Ready)

    def run(
        self,
        step: Step,
        take: Callable[[Records], None],
        is_interrupted: Callable[[], bool],
        *,
        tick: float = 0.1,
    ) -> list[Effort]:
        """Run a step on all processes.

        Args:
            step: The step.
            take: Takes records as they come, and is called with none at every tick.
            is_interrupted: Asked at every tick; once it says yes, the step is ended early.
            tick: Seconds.

        Returns:
            What each process did; less than all when one did not obey an interruption.
        """
        self._tell(RunStep(step, time.monotonic() + _LEAD))
        longest = _LEAD + step.warmup + step.duration + self._timeout + GRACE + _PATIENCE
        deadline = time.monotonic() + longest
        efforts: list[Effort] = []
        running = list(self._connections)
        interrupted = False
        while running and time.monotonic() < deadline:
            for connection in wait(running, timeout=tick):
                assert isinstance(connection, Connection)
                answer = self._receive(connection)
                assert isinstance(answer, Gathered)
                take(answer.records)
                if answer.effort is not None:
                    efforts.append(answer.effort)
                    running.remove(connection)
            take(Records())
            if is_interrupted() and not interrupted:
                interrupted = True
                self._tell(Stop())
                deadline = time.monotonic() + GRACE + _PATIENCE
        if running and not interrupted:
            raise InternalError("a generator process did not end its step in time")
        return efforts

    def close(self) -> None:
        """End the processes."""
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.join(GRACE)
            process.terminate()
            process.join(_PATIENCE)
            process.kill()
            process.join()
            process.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _tell(self, command: Command) -> None:
        for connection in self._connections:
            connection.send(command)

    def _receive(self, connection: Connection) -> Answer:
        try:
            answer: Answer = connection.recv()
        except (EOFError, OSError) as error:
            process = self._processes[self._connections.index(connection)]
            process.join(_PATIENCE)
            raise InternalError(
                f"a generator process has ended with exit code {process.exitcode}"
            ) from error
        return answer
