"""A worker as the supervisor has it: a process that is told what to serve, and has to answer."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Sequence

import structlog

from heliograph.errors import DeadlineExceededError, HeliographError, UnavailableError
from heliograph_gateway.control import ControlChannel
from heliograph_gateway.routing import Router, ServedModel
from heliograph_gateway.routing_messages import to_message
from heliograph_gateway.settings import Settings

log = structlog.get_logger()

COMMAND = (sys.executable, "-m", "heliograph_gateway.worker")
ACKNOWLEDGE_TIMEOUT = 10.0
"""Seconds that a worker gets to do what it is told; then it is killed and another one started."""
PING_INTERVAL = 5.0
"""Seconds after which a worker that was told nothing is asked whether it is there."""
END_TIMEOUT = 5.0
"""Seconds that a process gets to end when its work is done."""


class WorkerProcess:
    """One process, from its start to its end."""

    def __init__(
        self,
        index: int,
        process: asyncio.subprocess.Process,
        channel: ControlChannel,
        router: Router,
        settings: Settings,
        acknowledge_timeout: float,
    ) -> None:
        """Take over a process; use `start` instead."""
        self.index = index
        self.listening = asyncio.Event()
        """Set once it answers on the port."""
        self._process = process
        self._channel = channel
        self._router = router
        self._settings = settings
        self._acknowledge_timeout = acknowledge_timeout
        self._told: dict[str, ServedModel] = {}
        """What the worker has acknowledged, by name of the model."""
        self._news = asyncio.Event()
        """The router has changed."""
        self._progress = asyncio.Event()
        """Set, and replaced, whenever the worker has acknowledged all there was to tell."""

    @classmethod
    async def start(
        cls,
        index: int,
        router: Router,
        settings: Settings,
        metrics_directory: str,
        *,
        command: Sequence[str] = COMMAND,
        acknowledge_timeout: float = ACKNOWLEDGE_TIMEOUT,
    ) -> WorkerProcess:
        """Start a worker.

        Args:
            index: Its number.
            router: What it is told, now and after every change.
            settings: Of the worker.
            metrics_directory: Where it counts.
            command: What to start.
            acknowledge_timeout: Seconds that it gets to do what it is told.

        Raises:
            OSError: The machine has no process left.
        """
        ours, theirs = socket.socketpair()
        with theirs, contextlib.ExitStack() as undo:
            undo.enter_context(ours)
            process = await asyncio.create_subprocess_exec(
                *command,
                f"--index={index}",
                f"--control={theirs.fileno()}",
                f"--metrics={metrics_directory}",
                f"--settings={settings.model_dump_json()}",
                pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                # Ctrl-C in a terminal goes to the whole process group, and the order in which
                # things end is ours.
                start_new_session=True,
            )
            undo.pop_all()
        channel = await ControlChannel.over(ours)
        log.info("worker starting", worker=index, pid=process.pid)
        return cls(index, process, channel, router, settings, acknowledge_timeout)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    async def run(self) -> int:
        """Tell the worker what there is to tell until it has ended; return its exit code."""
        reading = asyncio.create_task(self._channel.run())
        leading = asyncio.create_task(self._lead())
        ended = asyncio.create_task(self._process.wait())
        try:
            await asyncio.wait([leading, ended], return_when=asyncio.FIRST_COMPLETED)
            if leading.done():
                await self._see_off(leading.exception())
            return await ended
        finally:
            self.kill()
            for task in (reading, leading, ended):
                task.cancel()
            await asyncio.gather(reading, leading, ended, return_exceptions=True)
            await self._process.wait()
            await self._channel.close()
            self._notify()

    def changed(self) -> None:
        """Tell the worker soon what the router says now."""
        self._news.set()

    async def let_go(self) -> None:
        """Wait until the worker routes as the router does now, and has finished what it had begun.

        A worker that has ended has no request left either; one that takes too long is ended.
        """
        while not self._up_to_date():
            if self._process.returncode is not None:
                return
            await self._progress.wait()
        # No call lasts longer than the longest batch.
        timeout = self._settings.backend_timeout + self._acknowledge_timeout
        try:
            await self._channel.request("let_go", timeout)
        except HeliographError as error:
            if not isinstance(error, UnavailableError):
                log.error("worker does not let go", worker=self.index, error=error.message)
                self.kill()
            await self._process.wait()

    def terminate(self) -> None:
        """Have the worker finish its calls and end."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """End the worker at once."""
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _lead(self) -> None:
        """Tell everything, have it listen, then tell every change; ends only with an error."""
        # Its first answer takes as long as a Python process needs to start.
        await self._channel.request("ping", self._settings.start_timeout)
        await self._tell()
        await self._channel.request("listen", self._acknowledge_timeout)
        log.info("worker listening", worker=self.index, pid=self.pid)
        self.listening.set()
        while True:
            await self._tell()
            try:
                await asyncio.wait_for(self._news.wait(), PING_INTERVAL)
            except TimeoutError:
                await self._channel.request("ping", self._acknowledge_timeout)

    async def _tell(self) -> None:
        """Tell what the worker does not know yet, until it knows all."""
        while not self._up_to_date():
            self._news.clear()
            models = {model.name: model for model in self._router.models()}
            for name in self._told.keys() - models.keys():
                await self._channel.request("remove", self._acknowledge_timeout, model=name)
                del self._told[name]
            for name, model in models.items():
                if self._told.get(name) is not model:
                    content = to_message(model)
                    await self._channel.request("put", self._acknowledge_timeout, **content)
                    self._told[name] = model
        self._news.clear()
        self._notify()

    def _up_to_date(self) -> bool:
        models = {model.name: model for model in self._router.models()}
        return self._told.keys() == models.keys() and all(
            self._told[name] is model for name, model in models.items()
        )

    def _notify(self) -> None:
        self._progress.set()
        self._progress = asyncio.Event()

    async def _see_off(self, error: BaseException | None) -> None:
        """End a worker that does not do what it is told, or that has closed the channel."""
        if isinstance(error, UnavailableError):
            # It closes the channel as the last thing that it does.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), END_TIMEOUT)
        elif isinstance(error, DeadlineExceededError):
            log.error("worker does not answer", worker=self.index, pid=self.pid, error=str(error))
        else:
            log.error("worker cannot go on", worker=self.index, pid=self.pid, error=str(error))
        self.kill()
