"""Remembers the last state of every version, ended ones too, and lets callers wait."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from heliograph_modelserver.servable import ManagerState, ServableId, ServableState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


class ServableStateMonitor:
    """The states of all versions, as GetModelStatus reports them. Safe to use from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._states: dict[str, dict[int, tuple[int, ServableState]]] = {}
        self._events = 0

    @property
    def events(self) -> int:
        """Number of events so far; a place in time from which `states_since` counts."""
        with self._changed:
            return self._events

    def publish(self, state: ServableState) -> None:
        """Record a new state and wake whoever waits."""
        with self._changed:
            self._events += 1
            versions = self._states.setdefault(state.id.name, {})
            versions[state.id.version] = (self._events, state)
            self._changed.notify_all()

    def state(self, servable: ServableId) -> ServableState | None:
        """Return the last state of one version, or None when it was never seen."""
        with self._changed:
            found = self._states.get(servable.name, {}).get(servable.version)
        return None if found is None else found[1]

    def states(self, name: str) -> dict[int, ServableState]:
        """Return the last state of every version of a model, the newest version first."""
        return self.states_since(name, 0)

    def states_since(self, name: str, event: int) -> dict[int, ServableState]:
        """Like `states`, without the versions that have not changed after the given event."""
        with self._changed:
            versions = self._states.get(name, {})
            return {
                version: versions[version][1]
                for version in sorted(versions, reverse=True)
                if versions[version][0] > event
            }

    def wait(self, condition: Callable[[], bool], timeout: float | None = None) -> bool:
        """Wait until the condition, which reads this monitor, holds; return whether it does.

        Args:
            condition: Called after every event.
            timeout: Seconds to wait at most; None waits without a limit.
        """
        with self._changed:
            return self._changed.wait_for(condition, timeout)

    def wake(self) -> None:
        """Make everyone who waits look at their condition again."""
        with self._changed:
            self._changed.notify_all()

    def progress(self, names: Iterable[str], since: int = 0) -> Mapping[str, ManagerState | None]:
        """Summarise each model: AVAILABLE, LOADING, END when it failed, None when nothing is known.

        A model has failed when all its versions have ended and one of them could not be loaded.
        Versions that ended because they were no longer wanted tell nothing.

        Args:
            names: Models to look at.
            since: Only versions that changed after this event count.
        """
        return {name: self._summary(self.states_since(name, since)) for name in names}

    def is_retrying(self, name: str) -> bool:
        """Whether all that is left of a model are versions that will be tried again."""
        loading = [
            state
            for state in self.states(name).values()
            if state.state in (ManagerState.START, ManagerState.LOADING)
        ]
        return bool(loading) and all(state.failures for state in loading)

    @staticmethod
    def _summary(versions: Mapping[int, ServableState]) -> ManagerState | None:
        states = {state.state for state in versions.values()}
        if ManagerState.AVAILABLE in states:
            return ManagerState.AVAILABLE
        if states & {ManagerState.START, ManagerState.LOADING}:
            return ManagerState.LOADING
        has_failed = any(state.error is not None for state in versions.values())
        return ManagerState.END if has_failed and states == {ManagerState.END} else None
