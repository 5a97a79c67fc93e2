"""Brings versions from aspired to available, and out of memory when no longer aspired.

The counterpart of TensorFlow Serving's `core/aspired_versions_manager` and `core/basic_manager`.
Two things differ from it, on purpose: a version that waits for another attempt to load blocks no
other version, and a request that never ends delays the unloading of its own version only.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic

import structlog

from heliograph.errors import HeliographError, InternalError, NotFoundError
from heliograph_modelserver.harness import Harness, ServableHandle, ServableT
from heliograph_modelserver.policy import Action, HarnessState, next_action
from heliograph_modelserver.servable import ManagerState, ServableId, ServableState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from heliograph_modelserver.monitor import ServableStateMonitor
    from heliograph_modelserver.servable import ServableRequest

_log = structlog.get_logger(__name__)


_PAUSE_AFTER_FAILURE = 1.0
"""Seconds."""

_REPEATED = {
    HarnessState.LOADING: ManagerState.LOADING,
    HarnessState.READY: ManagerState.AVAILABLE,
    HarnessState.ERROR: ManagerState.END,
}
"""States that are published again for a version that was dropped and wanted again at once."""


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How loading is tried and with how many threads."""

    max_num_load_retries: int = 5
    """Attempts after the first one."""
    load_retry_interval: float = 60.0
    """Seconds between two attempts; negative means none."""
    num_load_threads: int = 1
    num_unload_threads: int = 1


class AspiredVersionsManager(Generic[ServableT]):
    """Holds every version of every model. All methods may be called from any thread."""

    def __init__(
        self,
        load: Callable[[ServableId, str], ServableT],
        monitor: ServableStateMonitor,
        options: LoadOptions,
        *,
        thread_started: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create a manager without versions.

        Args:
            load: Loads a version from its directory; called in a load thread; raises
                HeliographError.
            monitor: Told about every change of state.
            options: Retries and threads.
            thread_started: Called first in each load and unload thread; lowers its priority, for
                example.
            clock: Monotonic seconds.
        """
        self._load = load
        self._monitor = monitor
        self._options = options
        self._thread_started = thread_started
        self._clock = clock
        self._changed = threading.Condition()
        self._stopping = False
        self._harnesses: dict[str, dict[int, Harness[ServableT]]] = {}
        self._pending: dict[str, dict[int, str]] = {}
        self._replaced: set[str] = set()
        """Models whose pending versions were replaced before they were accepted."""
        self._ready: dict[str, dict[int, Harness[ServableT]]] = {}
        self._loaders = self._pool("load", options.num_load_threads)
        self._unloaders = self._pool("unload", options.num_unload_threads)
        self._thread = threading.Thread(target=self._run, name="manager", daemon=True)
        self._thread.start()

    def set_aspired_versions(self, name: str, versions: Mapping[int, str]) -> None:
        """Replace the versions a model should serve; each comes with its directory."""
        with self._changed:
            if name in self._pending:
                self._replaced.add(name)
            self._pending[name] = dict(versions)
            self._changed.notify_all()

    def handle(self, request: ServableRequest) -> ServableHandle[ServableT]:
        """Return a handle on an available version.

        Raises:
            NotFoundError: When there is none. The text is one that clients of TensorFlow Serving
                wait on.
        """
        while True:
            ready = self._ready.get(request.name)
            if not ready:
                break
            version = next(iter(ready)) if request.version is None else request.version
            harness = ready.get(version)
            if harness is None:
                break
            servable = harness.acquire()
            if servable is not None:
                return ServableHandle(harness, servable)
            # It began to quiesce after we had looked it up, so the map of ready versions has
            # changed.
        raise NotFoundError(f"Servable not found for request: {request}")

    def available(self) -> list[ServableId]:
        """List the versions that take requests."""
        return sorted(harness.id for ready in self._ready.values() for harness in ready.values())

    def in_flight(self, servable: ServableId) -> int:
        """Number of requests that hold a version, available or on its way out."""
        with self._changed:
            harness = self._harnesses.get(servable.name, {}).get(servable.version)
        return 0 if harness is None else harness.in_flight

    @property
    def has_requests(self) -> bool:
        """Whether any version is held by a request."""
        with self._changed:
            harnesses = [one for versions in self._harnesses.values() for one in versions.values()]
        return any(harness.in_flight for harness in harnesses)

    def set_num_load_threads(self, number: int, thread_started: Callable[[], None] | None) -> None:
        """Use another number of load threads for loads that begin from now on."""
        with self._changed:
            previous = self._loaders
            self._thread_started = thread_started
            self._loaders = self._pool("load", number)
        previous.shutdown(wait=False)

    def stop(self) -> None:
        """Unload everything that no request uses; call it when requests no longer come in."""
        with self._changed:
            self._stopping = True
            self._ready = {}
            harnesses = [one for versions in self._harnesses.values() for one in versions.values()]
            self._changed.notify_all()
        self._thread.join()
        self._loaders.shutdown(cancel_futures=True)
        self._unloaders.shutdown()
        for harness in harnesses:
            servable = harness.close() if harness.in_flight == 0 else None
            if servable is not None:
                servable.unload()

    def _pool(self, name: str, threads: int) -> ThreadPoolExecutor:
        started = self._thread_started
        return ThreadPoolExecutor(
            max(threads, 1), thread_name_prefix=name, initializer=started or (lambda: None)
        )

    def _run(self) -> None:
        with self._changed:
            while not self._stopping:
                try:
                    while self._step():
                        pass
                    pause = self._seconds_to_retry()
                except Exception:  # noqa: BLE001 - the other models must go on
                    _log.exception("manager_failed")
                    pause = _PAUSE_AFTER_FAILURE
                if not self._stopping:
                    self._changed.wait(pause)

    def _step(self) -> bool:
        """Do everything that can be done now; return whether it may have made more possible."""
        self._flush()
        progress = self._accept_pending()
        progress |= self._start_retries()
        for versions in list(self._harnesses.values()):
            action = next_action([harness.snapshot for harness in versions.values()])
            if action is None:
                continue
            harness = versions[action.version]
            if action.action is Action.LOAD:
                self._begin_load(harness)
            else:
                self._begin_unload(harness)
            progress = True
        return progress

    def _flush(self) -> None:
        """Forget versions that are neither aspired nor loaded."""
        for name in list(self._harnesses):
            versions = self._harnesses[name]
            for harness in list(versions.values()):
                if harness.is_aspired or harness.state not in (
                    HarnessState.NEW,
                    HarnessState.DISABLED,
                    HarnessState.ERROR,
                ):
                    continue
                del versions[harness.id.version]
                if harness.state is HarnessState.NEW:
                    self._publish(harness, ManagerState.END)
            if not versions:
                del self._harnesses[name]

    def _accept_pending(self) -> bool:
        """Apply aspired versions; one on its way out is not brought back before it is gone."""
        accepted = False
        for name, versions in list(self._pending.items()):
            held = self._harnesses.get(name, {})
            if any(not one.is_aspired and one.id.version in versions for one in held.values()):
                continue
            del self._pending[name]
            if name in self._replaced:
                self._replaced.discard(name)
                # Versions that were dropped and wanted again in between never left: say so.
                for harness in held.values():
                    if harness.state in _REPEATED:
                        self._publish(harness, _REPEATED[harness.state])
            for harness in held.values():
                if harness.id.version not in versions and harness.is_aspired:
                    harness.is_aspired = False
                    accepted = True
                    if harness.retry_at is not None:
                        self._give_up(harness)
            for version, path in versions.items():
                if version not in held:
                    harness = Harness(ServableId(name, version), path)
                    self._harnesses.setdefault(name, {})[version] = harness
                    self._publish(harness, ManagerState.START)
                    accepted = True
        return accepted

    def _start_retries(self) -> bool:
        now = self._clock()
        due = [
            harness
            for versions in self._harnesses.values()
            for harness in versions.values()
            if harness.retry_at is not None and harness.retry_at <= now
        ]
        for harness in due:
            harness.retry_at = None
            self._loaders.submit(self._load_one, harness)
        return bool(due)

    def _seconds_to_retry(self) -> float | None:
        times = [
            harness.retry_at
            for versions in self._harnesses.values()
            for harness in versions.values()
            if harness.retry_at is not None
        ]
        return max(min(times) - self._clock(), 0.0) if times else None

    def _begin_load(self, harness: Harness[ServableT]) -> None:
        harness.state = HarnessState.LOADING
        self._publish(harness, ManagerState.LOADING)
        self._loaders.submit(self._load_one, harness)

    def _load_one(self, harness: Harness[ServableT]) -> None:
        began = self._clock()
        try:
            servable = self._load(harness.id, harness.path)
        except HeliographError as error:
            self._load_failed(harness, error)
        except Exception as error:  # noqa: BLE001 - one bad model must not end the manager
            _log.exception("load_failed_unexpectedly", servable=str(harness.id))
            self._load_failed(harness, InternalError(f"{type(error).__name__}: {error}"))
        else:
            _log.info("loaded", servable=str(harness.id), seconds=round(self._clock() - began, 3))
            with self._changed:
                harness.open(servable)
                harness.state = HarnessState.READY
                self._update_ready(harness.id.name)
                self._publish(harness, ManagerState.AVAILABLE)
                self._changed.notify_all()

    def _load_failed(self, harness: Harness[ServableT], error: HeliographError) -> None:
        with self._changed:
            harness.failures += 1
            again = harness.is_aspired and harness.failures <= self._options.max_num_load_retries
            _log.error(
                "load_failed",
                servable=str(harness.id),
                code=error.status,
                detail=error.message,
                attempt=harness.failures,
                retrying=again and not self._stopping,
            )
            harness.error = error
            if again:
                harness.retry_at = self._clock() + max(self._options.load_retry_interval, 0.0)
                self._publish(harness, ManagerState.LOADING)
            else:
                self._give_up(harness)
            self._changed.notify_all()

    def _give_up(self, harness: Harness[ServableT]) -> None:
        harness.retry_at = None
        harness.state = HarnessState.ERROR
        self._publish(harness, ManagerState.END)

    def _begin_unload(self, harness: Harness[ServableT]) -> None:
        harness.state = HarnessState.QUIESCING
        self._update_ready(harness.id.name)
        self._publish(harness, ManagerState.UNLOADING)
        harness.quiesce(lambda: self._submit_unload(harness))

    def _submit_unload(self, harness: Harness[ServableT]) -> None:
        with self._changed:
            if self._stopping:
                return
            harness.state = HarnessState.UNLOADING
            self._unloaders.submit(self._unload_one, harness)

    def _unload_one(self, harness: Harness[ServableT]) -> None:
        servable = harness.close()
        try:
            if servable is not None:
                servable.unload()
        except Exception:  # noqa: BLE001 - the version is gone either way
            _log.exception("unload_failed", servable=str(harness.id))
        del servable
        _log.info("unloaded", servable=str(harness.id))
        with self._changed:
            harness.state = HarnessState.DISABLED
            self._publish(harness, ManagerState.END)
            self._changed.notify_all()

    def _update_ready(self, name: str) -> None:
        """Rebuild the map that requests read without a lock; the newest version comes first."""
        versions = self._harnesses.get(name, {})
        ready = {
            version: versions[version]
            for version in sorted(versions, reverse=True)
            if versions[version].state is HarnessState.READY
        }
        self._ready = {**self._ready, name: ready}

    def _publish(self, harness: Harness[ServableT], state: ManagerState) -> None:
        error = harness.error if harness.state is HarnessState.ERROR else None
        self._monitor.publish(ServableState(harness.id, state, error, harness.failures))
