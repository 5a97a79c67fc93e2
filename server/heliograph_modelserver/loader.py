"""Loads a version: SavedModel, warmup, and afterwards the memory back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from heliograph_modelserver.memory import release_memory
from heliograph_modelserver.session import SavedModelSession, SessionOptions
from heliograph_modelserver.warmup import warm_up

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heliograph_modelserver.servable import ServableId


@dataclass(frozen=True, slots=True)
class LoaderOptions:
    """What is loaded from a version directory, and how."""

    session: SessionOptions = field(default_factory=SessionOptions)
    tags: Sequence[str] = ("serve",)
    enable_model_warmup: bool = True
    num_request_iterations_for_warmup: int = 1


class SavedModelServable:
    """A loaded SavedModel."""

    def __init__(self, servable_id: ServableId, session: SavedModelSession) -> None:
        self.id = servable_id
        self.session = session

    def unload(self) -> None:
        """Close the session and return its memory to the system."""
        self.session.close()
        release_memory()


class SavedModelLoader:
    """Loads SavedModels with one set of options."""

    def __init__(self, options: LoaderOptions) -> None:
        self._options = options

    @property
    def session_options(self) -> SessionOptions:
        """Options of the sessions it makes."""
        return self._options.session

    def load(self, servable_id: ServableId, path: str) -> SavedModelServable:
        """Load a version and replay its warmup requests.

        Raises:
            HeliographError: When the SavedModel cannot be loaded or a warmup request fails.
        """
        session = SavedModelSession(path, self._options.tags, self._options.session)
        servable = SavedModelServable(servable_id, session)
        if self._options.enable_model_warmup:
            try:
                warm_up(path, servable, self._options.num_request_iterations_for_warmup)
            except BaseException:
                servable.unload()
                raise
        return servable
