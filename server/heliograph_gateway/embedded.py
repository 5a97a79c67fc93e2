"""The embedded model server: a process of its own on a unix socket, supervised by `serve`.

A model that crashes, leaks or loads slowly takes this process along and not the gateway. It is
told which versions to hold with the `specific` policy, so that a new directory never serves by
itself.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog

from heliograph.errors import (
    BackendUnavailableError,
    DeadlineExceededError,
    HeliographError,
    NotFoundError,
    UnavailableError,
)
from heliograph.options import RetryOptions
from heliograph.tfserving import AsyncModelServiceClient, VersionStatus
from heliograph.tfserving.v1.model_pb2 import ModelConfigList
from heliograph_gateway.servables import Servable

log = structlog.get_logger()

_POLL = 0.05
"""Seconds between two questions for a state that is being waited for."""
_RELOAD_TIMEOUT = 5.0
"""Seconds after which a reload's own answer is not waited for any more: the status tells."""
_LONGEST_BACKOFF = 30.0
"""Seconds between two starts of a process that keeps dying, at most."""
_MOST_DEATHS = 2
"""Ends of the process while it loads a version, after which that version is not loaded again."""
_MOMENT = 1.0
"""Seconds within which the end of a process is noticed."""
_STOP_TIMEOUT = 15.0
"""Seconds that the process gets to end by itself after SIGTERM."""


class EmbeddedModelServer:
    """A `heliograph model-server` that lives as long as the gateway."""

    def __init__(
        self,
        repository: Path,
        *,
        start_timeout: float,
        load_timeout: float,
        threads: int = 0,
        command: Sequence[str] = (sys.executable, "-m", "heliograph.cli", "model-server"),
    ) -> None:
        """Prepare a server; nothing is started yet.

        Args:
            repository: Folder of models.
            start_timeout: Seconds that the process gets until it answers.
            load_timeout: Seconds that a version gets to load.
            threads: That one operation is computed with; 0 leaves it to TensorFlow.
            command: What to start; it gets TensorFlow Serving's flags.
        """
        self._command = command
        self._repository = repository.resolve()
        self._start_timeout = start_timeout
        self._load_timeout = load_timeout
        self._threads = threads
        # A directory of our own (mode 0700) keeps other users from the socket: TensorFlow
        # Serving's protocol has no authentication.
        self._directory = Path(tempfile.mkdtemp(prefix="heliograph-"))
        self._socket = self._directory / "model-server.sock"
        self._process: asyncio.subprocess.Process | None = None
        self._answering: asyncio.subprocess.Process | None = None
        """The process, once it has answered and been told what it holds for good."""
        self._service = AsyncModelServiceClient(
            f"unix:{self._socket}", retry=RetryOptions(attempts=1)
        )
        self._held: Mapping[str, frozenset[int]] = {}
        """What the process holds for good: what it gets first when it had to be started again."""
        self._told: Mapping[str, frozenset[int]] | None = {}
        """What the process was told last; None when that is not known."""
        self._deaths: Counter[Servable] = Counter()

    @property
    def address(self) -> str:
        """Address for `TensorFlowServing`."""
        return f"tfs://{self._socket}"

    @property
    def pid(self) -> int | None:
        """Process id; None while it is not running."""
        process = self._process
        return process.pid if process and process.returncode is None else None

    async def start(self) -> None:
        """Start the process and wait until it answers.

        Raises:
            BackendUnavailableError: It ended, or did not answer in time.
        """
        self._answering = await self._start()

    async def _start(self) -> asyncio.subprocess.Process:
        configuration = self._directory / "models.config"
        configuration.write_text("model_config_list {}\n")
        process = self._process = await asyncio.create_subprocess_exec(
            *self._command,
            "--port=0",
            f"--grpc_socket_path={self._socket}",
            f"--model_config_file={configuration}",
            "--max_num_load_retries=0",
            "--exit_when_orphaned",
            # Operations run in the thread that asks: handing each to another thread costs more than
            # small networks compute. Batches still run beside each other.
            "--tensorflow_inter_op_parallelism=-1",
            f"--tensorflow_intra_op_parallelism={self._threads}",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            # Ctrl-C in a terminal goes to the whole process group: the gateway must drain first.
            start_new_session=True,
        )
        log.info("model server starting", pid=process.pid)
        try:
            await self._until_answering(process)
        except BackendUnavailableError:
            if process.returncode is None:
                process.kill()  # Silent for too long: another one may answer.
            raise
        log.info("model server ready", pid=process.pid)
        return process

    async def supervise(self) -> None:
        """Start the process again whenever it ends, until cancelled."""
        backoff = 0.0
        while True:
            if self._process is not None:
                started = time.monotonic()
                code = await self._process.wait()
                log.error("model server ended", code=code, restart_in_seconds=backoff)
                if time.monotonic() - started > _LONGEST_BACKOFF:
                    backoff = 0.0
                await asyncio.sleep(backoff)
                backoff = min(_LONGEST_BACKOFF, max(0.5, backoff * 2))
            try:
                process = await self._start()
                try:
                    await self._load(self._held)
                finally:
                    self._answering = process
            except HeliographError as error:
                log.error("model server does not start", error=error.message)

    async def hold(self, wanted: Mapping[str, frozenset[int]]) -> Mapping[Servable, str]:
        """See Host. A version that ends the process takes none with it that was held before."""
        process = self._answering
        if process is None or process.returncode is not None:
            raise BackendUnavailableError("the model server is being started")
        deadly = {each for each in _servables(wanted) if self._deaths[each] >= _MOST_DEATHS}
        safe = {
            model: frozenset(number for number in numbers if (model, number) not in deadly)
            for model, numbers in wanted.items()
        }
        try:
            failures = await (self._failures if safe == self._told else self._load)(safe)
        except BackendUnavailableError:
            if await _has_ended(process):
                self._deaths.update(_servables(safe) - _servables(self._held))
            raise
        self._held = safe
        ended = "the model server ended each time that it loaded this version"
        return {**failures, **dict.fromkeys(deadly, ended)}

    async def stop(self) -> None:
        """End the process: with SIGTERM, after a while with SIGKILL."""
        await self._service.close()
        process = self._process
        if process is not None and process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), _STOP_TIMEOUT)
            except TimeoutError:
                log.warning("model server did not end by itself", pid=process.pid)
                process.kill()
                await process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)

    async def _until_answering(self, process: asyncio.subprocess.Process) -> None:
        end = time.monotonic() + self._start_timeout
        while time.monotonic() < end:
            if process.returncode is not None:
                raise BackendUnavailableError(
                    f"the model server ended with code {process.returncode} while it started; "
                    "its last lines are above"
                )
            if self._socket.exists():
                try:
                    await self._service.status("heliograph-is-it-there", timeout=1.0)
                except NotFoundError:
                    return
                except (UnavailableError, DeadlineExceededError):
                    pass
            await asyncio.sleep(_POLL)
        raise BackendUnavailableError(
            f"the model server did not answer within {self._start_timeout:g} s"
        )

    async def _load(self, wanted: Mapping[str, frozenset[int]]) -> Mapping[Servable, str]:
        configuration = ModelConfigList()
        for model in sorted(wanted):
            entry = configuration.config.add(
                name=model,
                base_path=str(self._repository / model),
                model_platform="tensorflow",
            )
            entry.model_version_policy.specific.versions.extend(sorted(wanted[model]))
        self._told = None
        try:
            await self._service.reload_config(configuration, timeout=_RELOAD_TIMEOUT)
        except UnavailableError as error:
            raise BackendUnavailableError(f"the model server cannot be told: {error}") from error
        except HeliographError as error:
            # A new model that fails to load makes the reload fail, and a slow one makes it time
            # out; either way the states say what became of each version.
            log.warning("reload", code=error.status, error=error.message)
        self._told = wanted
        return await self._failures(wanted)

    async def _failures(self, wanted: Mapping[str, frozenset[int]]) -> Mapping[Servable, str]:
        """Wait until every version is available or has failed; return the failed ones."""
        pending = _servables(wanted)
        failures: dict[Servable, str] = {}
        end = time.monotonic() + self._load_timeout
        while True:
            for servable in sorted(pending):
                status = await self._status(servable)
                if status is not None and status.available:
                    pending.discard(servable)
                elif status is not None and status.state == "END" and status.error_code:
                    pending.discard(servable)
                    failures[servable] = f"it does not load: {status.error_message}"
            if not pending:
                return failures
            if time.monotonic() >= end:
                late = f"it did not load within {self._load_timeout:g} s"
                return failures | dict.fromkeys(pending, late)
            await asyncio.sleep(_POLL)

    async def _status(self, servable: Servable) -> VersionStatus | None:
        try:
            statuses = await self._service.status(
                servable.model, version=servable.version, timeout=_RELOAD_TIMEOUT
            )
        except NotFoundError:
            return None
        except UnavailableError as error:
            raise BackendUnavailableError(f"the model server cannot be asked: {error}") from error
        return next((status for status in statuses if status.version == servable.version), None)


def _servables(wanted: Mapping[str, frozenset[int]]) -> set[Servable]:
    return {Servable(model, number) for model, numbers in wanted.items() for number in numbers}


async def _has_ended(process: asyncio.subprocess.Process) -> bool:
    """Whether a process that broke off a call has ended; the call hears of it first."""
    try:
        await asyncio.wait_for(process.wait(), _MOMENT)
    except TimeoutError:
        return False
    return True
