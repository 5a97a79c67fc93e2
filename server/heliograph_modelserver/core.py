"""The server core: configuration and labels on one side, source and manager on the other."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from heliograph.errors import (
    CancelledError,
    FailedPreconditionError,
    HeliographError,
    InvalidArgumentError,
    UnavailableError,
    UnknownError,
)
from heliograph_modelserver.config import monitored_models, validate_models
from heliograph_modelserver.manager import AspiredVersionsManager, LoadOptions
from heliograph_modelserver.memory import lower_thread_priority
from heliograph_modelserver.monitor import ServableStateMonitor
from heliograph_modelserver.servable import ManagerState, ServableRequest
from heliograph_modelserver.source import FileSystemSource

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from heliograph_modelserver.harness import ServableHandle
    from heliograph_modelserver.loader import SavedModelServable
    from heliograph_modelserver.servable import ServableId

    Load = Callable[[ServableId, str], SavedModelServable]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CoreOptions:
    """How models are found, loaded and named."""

    load: LoadOptions = field(default_factory=LoadOptions)
    num_initial_load_threads: int = 4
    file_system_poll_wait_seconds: float = 1.0
    allow_version_labels_for_unavailable_models: bool = False
    isolate_models: bool = True
    """Whether one bad model leaves the others alone, at start and in every poll."""


class ServerCore:
    """What RPCs need: servables for model specs, states of versions, a new configuration."""

    def __init__(self, load: Load, options: CoreOptions) -> None:
        """Create a core that serves no model yet.

        Args:
            load: Loads a version from its directory.
            options: See CoreOptions.
        """
        self._options = options
        self.monitor = ServableStateMonitor()
        self.manager = AspiredVersionsManager(load, self.monitor, _initial(options))
        self._source = FileSystemSource(
            self.manager.set_aspired_versions,
            poll_wait_seconds=options.file_system_poll_wait_seconds,
            isolate_models=options.isolate_models,
        )
        self._lock = threading.Lock()
        self._models: list[Any] = []
        self._labels: Mapping[str, Mapping[str, int]] = {}
        self._stopped = threading.Event()

    @property
    def model_names(self) -> list[str]:
        """Names of the configured models."""
        return [model.name for model in self._models]

    def start(self, config: Any) -> None:
        """Apply the first configuration and wait for its models.

        A model without any version is waited for. With isolated models, one that fails to load is
        only logged as long as another one is available.

        Args:
            config: A `tensorflow.serving.ModelServerConfig`.

        Raises:
            HeliographError: When the configuration is wrong or models do not load.
            CancelledError: When `stop` was called meanwhile.
        """
        names = self._apply(config)
        self._source.start()
        self.monitor.wait(lambda: self._stopped.is_set() or self._start_is_over(names))
        if self._stopped.is_set():
            raise CancelledError("The server was stopped before its models were available.")
        failed = self._failed(names, 0)
        states = self.monitor.progress(names)
        if failed and not (
            self._options.isolate_models and ManagerState.AVAILABLE in states.values()
        ):
            raise self._unavailable(failed, 0)
        for name, state in states.items():
            if state is not ManagerState.AVAILABLE:
                _log.error("model_unavailable", model=name)
        self.manager.set_num_load_threads(
            self._options.load.num_load_threads, lower_thread_priority
        )

    def reload(self, config: Any, is_cancelled: Callable[[], bool] = lambda: False) -> None:
        """Replace the configuration; return when models new in it have an available version.

        Args:
            config: A `tensorflow.serving.ModelServerConfig`.
            is_cancelled: Ends the waiting, not the reload; `monitor.wake` makes it be asked.

        Raises:
            HeliographError: When the configuration is wrong, which leaves the old one in force, or
                when a new model cannot be loaded.
        """
        event = self.monitor.events
        names = self._apply(config)
        self.monitor.wait(
            lambda: (
                self._stopped.is_set()
                or is_cancelled()
                or all(
                    self._is_settled(state)
                    for state in self.monitor.progress(names, event).values()
                )
            )
        )
        if self._stopped.is_set():
            raise UnavailableError("The server is shutting down.")
        failed = self._failed(names, event)
        if failed:
            raise self._unavailable(failed, event)

    def interrupt(self) -> None:
        """End every wait for models."""
        self._stopped.set()
        self.monitor.wake()

    def stop(self) -> None:
        """Stop looking for versions and unload all models."""
        self.interrupt()
        self._source.stop()
        self.manager.stop()

    def handle(self, spec: Any) -> ServableHandle[SavedModelServable]:
        """Return a handle on the version that a ModelSpec names.

        Raises:
            InvalidArgumentError: When the spec has no name or an unknown version label.
            NotFoundError: When the version is not available.
        """
        if not spec.name:
            raise InvalidArgumentError("ModelSpec has no name specified.")
        choice = spec.WhichOneof("version_choice")
        version: int | None = None
        if choice == "version":
            version = spec.version.value
        elif choice == "version_label":
            version = self._labels.get(spec.name, {}).get(spec.version_label)
            if version is None:
                raise InvalidArgumentError(
                    f"Unrecognized servable version label: {spec.version_label}"
                )
        return self.manager.handle(ServableRequest(spec.name, version))

    def _apply(self, config: Any) -> list[str]:
        """Put a configuration in force; return the names of the models that are new in it."""
        models = list(config.model_config_list.config)
        with self._lock:
            validate_models(models, self._models)
            labels = self._label_map(models)
            known = {model.name for model in self._models}
            self._models = models
            self._labels = labels
            self._source.update(monitored_models(models))
        return [model.name for model in models if model.name not in known]

    def _label_map(self, models: list[Any]) -> dict[str, dict[str, int]]:
        """Check labels against what is available before the new versions load."""
        labels: dict[str, dict[str, int]] = {}
        for model in models:
            states = self.monitor.states(model.name)
            for label, version in model.version_labels.items():
                state = states.get(version)
                is_available = state is not None and state.state is ManagerState.AVAILABLE
                if not is_available and not self._may_wait(model.name, label, version):
                    raise FailedPreconditionError(
                        f"Request to assign label to version {version} of model {model.name}, "
                        "which is not currently available for inference"
                    )
                labels.setdefault(model.name, {})[label] = version
        return labels

    def _may_wait(self, name: str, label: str, version: int) -> bool:
        """Whether a label may name a version that is not available."""
        if not self._options.allow_version_labels_for_unavailable_models:
            return False
        return self._labels.get(name, {}).get(label, version) == version

    def _start_is_over(self, names: list[str]) -> bool:
        states = self.monitor.progress(names)
        if not self._options.isolate_models:
            return ManagerState.END in states.values() or all(
                map(self._is_settled, states.values())
            )
        loading = [name for name, state in states.items() if state is ManagerState.LOADING]
        if any(not self.monitor.is_retrying(name) for name in loading):
            return False
        if not states or ManagerState.AVAILABLE in states.values():
            return True
        return not loading and ManagerState.END in states.values()

    @staticmethod
    def _is_settled(state: ManagerState | None) -> bool:
        return state in (ManagerState.AVAILABLE, ManagerState.END)

    def _failed(self, names: list[str], since: int) -> list[str]:
        progress = self.monitor.progress(names, since)
        return [name for name, state in progress.items() if state is ManagerState.END]

    def _unavailable(self, names: list[str], since: int) -> HeliographError:
        causes = [
            f"{{{state.id}{_cause(state.error)}}}"
            for name in names
            for state in self.monitor.states_since(name, since).values()
            if state.error is not None
        ]
        return UnknownError(
            f"{len(causes)} model(s) did not become available: {{{', '.join(causes)}, }}"
        )


def _cause(error: HeliographError | None) -> str:
    return "" if error is None else f" due to error: {error.status}: {error.message}"


def _initial(options: CoreOptions) -> LoadOptions:
    """The first models load with more threads, since nothing is served yet."""
    load = options.load
    return LoadOptions(
        load.max_num_load_retries,
        load.load_retry_interval,
        max(load.num_load_threads, options.num_initial_load_threads),
        load.num_unload_threads,
    )
