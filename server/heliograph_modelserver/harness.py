"""One version in the hands of the manager, and the handles that keep it alive."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from heliograph_modelserver.policy import HarnessState, VersionSnapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from heliograph.errors import HeliographError
    from heliograph_modelserver.servable import ServableId


class Servable(Protocol):
    """A loaded version."""

    def unload(self) -> None:
        """Give its memory back; nobody uses it any more."""


ServableT = TypeVar("ServableT", bound=Servable)


class Harness(Generic[ServableT]):
    """A version's state, its servable while it is loaded, and the number of requests that use it.

    `state`, `is_aspired`, `failures`, `retry_at` and `error` belong to the manager, which guards
    them with its own lock.
    """

    def __init__(self, servable_id: ServableId, path: str) -> None:
        self.id = servable_id
        self.path = path
        self.state = HarnessState.NEW
        self.is_aspired = True
        self.failures = 0
        self.retry_at: float | None = None
        self.error: HeliographError | None = None
        self._lock = threading.Lock()
        self._servable: ServableT | None = None
        self._in_flight = 0
        self._when_idle: Callable[[], None] | None = None

    @property
    def snapshot(self) -> VersionSnapshot:
        """What the policy may know."""
        return VersionSnapshot(self.id.version, self.state, self.is_aspired)

    @property
    def in_flight(self) -> int:
        """Number of requests that hold this version."""
        with self._lock:
            return self._in_flight

    def open(self, servable: ServableT) -> None:
        """Let requests in."""
        with self._lock:
            self._servable = servable

    def acquire(self) -> ServableT | None:
        """Hold the version for one request; None when it takes no new ones."""
        with self._lock:
            if self._servable is None or self._when_idle is not None:
                return None
            self._in_flight += 1
            return self._servable

    def release(self) -> None:
        """End one request's hold."""
        with self._lock:
            self._in_flight -= 1
            idle = self._when_idle if self._in_flight == 0 else None
        if idle is not None:
            idle()

    def quiesce(self, when_idle: Callable[[], None]) -> None:
        """Take no new requests, and call `when_idle` once, as soon as the last one has ended."""
        with self._lock:
            self._when_idle = when_idle
            idle = self._in_flight == 0
        if idle:
            when_idle()

    def close(self) -> ServableT | None:
        """Give the servable up; the caller unloads it."""
        with self._lock:
            servable, self._servable = self._servable, None
            return servable


class ServableHandle(Generic[ServableT]):
    """Keeps a version loaded while its `with` block runs."""

    __slots__ = ("_harness", "servable")

    def __init__(self, harness: Harness[ServableT], servable: ServableT) -> None:
        self._harness = harness
        self.servable = servable

    @property
    def id(self) -> ServableId:
        """Which version this is."""
        return self._harness.id

    def __enter__(self) -> ServableHandle[ServableT]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._harness.release()
