"""The workers of a supervisor: started together, replaced when they end, stopped together."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Sequence

import structlog

from heliograph.errors import UnavailableError
from heliograph_gateway.routing import Router
from heliograph_gateway.servables import ServableVersion
from heliograph_gateway.settings import Settings
from heliograph_gateway.shared_metrics import SharedMetrics
from heliograph_gateway.worker_process import (
    ACKNOWLEDGE_TIMEOUT,
    COMMAND,
    END_TIMEOUT,
    WorkerProcess,
)

log = structlog.get_logger()

SHORTEST_PAUSE = 0.5
"""Seconds from the first end of a worker to its next start."""
LONGEST_PAUSE = 30.0
"""Seconds between the end and the start of a worker that keeps ending, at most; one that has lived
longer than this is no such worker."""


class Backoff:
    """How long to wait before a process that has ended is started again."""

    def __init__(self) -> None:
        self._next = SHORTEST_PAUSE

    def after(self, lived: float) -> float:
        """Return the seconds to wait after a process that lived for so many seconds."""
        if lived > LONGEST_PAUSE:
            self._next = SHORTEST_PAUSE
        pause = self._next
        self._next = min(LONGEST_PAUSE, pause * 2)
        return pause


class WorkerFleet:
    """All workers. They follow a router, and versions are let go when all have let them go."""

    def __init__(
        self,
        router: Router,
        *,
        command: Sequence[str] = COMMAND,
        acknowledge_timeout: float = ACKNOWLEDGE_TIMEOUT,
    ) -> None:
        """Prepare for workers; none is started yet.

        Args:
            router: What every worker is told.
            command: What to start.
            acknowledge_timeout: Seconds that a worker gets to do what it is told.
        """
        self._router = router
        self._command = command
        self._acknowledge_timeout = acknowledge_timeout
        self._workers: dict[int, WorkerProcess] = {}
        """Those whose process runs, by number."""
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        router.subscribe(self._tell)

    @property
    def listening(self) -> int:
        """How many workers answer on the port."""
        return sum(worker.listening.is_set() for worker in list(self._workers.values()))

    async def start(self, settings: Settings, metrics: SharedMetrics) -> None:
        """Start the workers, and wait until each of them answers.

        Args:
            settings: Of each worker.
            metrics: Where they count.

        Raises:
            UnavailableError: One of them ended while it started.
        """
        starts = [asyncio.get_running_loop().create_future() for _ in range(settings.workers)]
        self._tasks = [
            asyncio.create_task(self._keep(index, settings, metrics, started))
            for index, started in enumerate(starts)
        ]
        await asyncio.gather(*starts)

    async def run(self) -> None:
        """Go on replacing workers; ends only with an error."""
        # Not gathered: who cancels this must not end the workers before they have drained.
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()

    async def let_go(self, versions: Iterable[ServableVersion]) -> None:
        """See Followers. A worker that is not there will start with what the router says."""
        await asyncio.gather(*(worker.let_go() for worker in list(self._workers.values())))

    async def stop(self, drain_timeout: float) -> None:
        """Have every worker finish its calls and end, and end those that do not in time."""
        self._stopping.set()
        for worker in list(self._workers.values()):
            worker.terminate()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=drain_timeout + END_TIMEOUT)
        for worker in list(self._workers.values()):
            log.warning("worker did not end by itself", worker=worker.index, pid=worker.pid)
            worker.kill()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _tell(self) -> None:
        for worker in self._workers.values():
            worker.changed()

    async def _keep(
        self,
        index: int,
        settings: Settings,
        metrics: SharedMetrics,
        started: asyncio.Future[None],
    ) -> None:
        """Run one worker after the other under one number, until the fleet is stopped."""
        backoff = Backoff()
        while not self._stopping.is_set():
            start = time.monotonic()
            code = await self._run(index, settings, metrics, started)
            metrics.ended(index)
            if not started.done():
                started.set_exception(
                    UnavailableError(
                        f"worker {index} ended with code {code} while it started; its last lines "
                        "are above"
                    )
                )
            if self._stopping.is_set():
                return
            pause = backoff.after(time.monotonic() - start)
            # One that somebody sent SIGTERM has ended in order.
            write = log.error if code else log.warning
            write("worker ended", worker=index, code=code, restart_in_seconds=pause)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)

    async def _run(
        self,
        index: int,
        settings: Settings,
        metrics: SharedMetrics,
        started: asyncio.Future[None],
    ) -> int | None:
        """Run one worker; return its exit code, or None when there was no process to be had."""
        try:
            worker = await WorkerProcess.start(
                index,
                self._router,
                settings,
                metrics.directory,
                command=self._command,
                acknowledge_timeout=self._acknowledge_timeout,
            )
        except OSError as error:
            log.error("worker does not start", worker=index, error=str(error))
            return None
        self._workers[index] = worker
        if self._stopping.is_set():
            worker.terminate()
        announcing = asyncio.create_task(_announce(worker, started))
        try:
            return await worker.run()
        finally:
            announcing.cancel()
            del self._workers[index]


async def _announce(worker: WorkerProcess, started: asyncio.Future[None]) -> None:
    await worker.listening.wait()
    if not started.done():
        started.set_result(None)
