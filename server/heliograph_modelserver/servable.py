"""The values that source, manager and monitor exchange, in TensorFlow Serving's words."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from heliograph.errors import HeliographError


class ManagerState(enum.IntEnum):
    """Where a version is in its life; the numbers are those of `ModelVersionStatus.State`."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True, order=True, slots=True)
class ServableId:
    """One version of one model."""

    name: str
    version: int

    def __str__(self) -> str:
        """The form TensorFlow Serving prints: `{name: m version: 7}`."""
        return f"{{name: {self.name} version: {self.version}}}"


@dataclass(frozen=True, slots=True)
class ServableRequest:
    """What a caller asks for: an explicit version, or the newest available one when it is None."""

    name: str
    version: int | None = None

    def __str__(self) -> str:
        """The form used in error messages: `Latest(m)` or `Specific(m, 7)`."""
        if self.version is None:
            return f"Latest({self.name})"
        return f"Specific({self.name}, {self.version})"


@dataclass(frozen=True, slots=True)
class ServableState:
    """The state a version has reached."""

    id: ServableId
    state: ManagerState
    error: HeliographError | None = None
    """Why it ended, when it could not be loaded."""
    failures: int = 0
    """Attempts to load that failed; more than 0 while LOADING means that another one follows."""
