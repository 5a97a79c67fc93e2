"""The availability preserving policy: from the states of a model's versions to the next action.

Pure functions, so that every transition can be tested without a thread or a clock. The rule is that
of TensorFlow Serving's `core/availability_preserving_policy`: as long as a version is wanted, one
stays ready.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class HarnessState(enum.Enum):
    """Where the manager stands with one version."""

    NEW = "new"
    LOADING = "loading"
    READY = "ready"
    QUIESCING = "quiescing"
    UNLOADING = "unloading"
    DISABLED = "disabled"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class VersionSnapshot:
    """What the policy may know of a version."""

    version: int
    state: HarnessState
    is_aspired: bool


class Action(enum.Enum):
    """What the manager can do with a version."""

    LOAD = "load"
    UNLOAD = "unload"


@dataclass(frozen=True, slots=True)
class ServableAction:
    """An action and the version it is for."""

    action: Action
    version: int


def next_action(versions: Sequence[VersionSnapshot]) -> ServableAction | None:
    """Decide what to do next for one model.

    The lowest stale version is unloaded when nothing is aspired any more, when an aspired version
    is ready to take over, or when more than one stale version is ready. Otherwise the highest new
    aspired version is loaded. A version that failed to load is neither, so the old one goes on
    serving.

    Args:
        versions: Every version of the model that the manager holds, in any order.

    Returns:
        The action, or None when there is nothing to do.
    """
    aspired = [version for version in versions if version.is_aspired]
    aspired_is_ready = any(version.state is HarnessState.READY for version in aspired)
    stale = [
        version.version
        for version in versions
        if not version.is_aspired and version.state is HarnessState.READY
    ]
    if stale and (not aspired or aspired_is_ready or len(stale) > 1):
        return ServableAction(Action.UNLOAD, min(stale))
    new = [version.version for version in aspired if version.state is HarnessState.NEW]
    if new:
        return ServableAction(Action.LOAD, max(new))
    return None
