"""Watches base paths for version directories and says which versions each model should serve.

The rules are those of TensorFlow Serving's `sources/storage_path/file_system_storage_path_source`.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    AspiredVersionsCallback = Callable[[str, Mapping[int, str]], None]
    """Takes a model's name and its aspired versions with their directories."""

_log = structlog.get_logger(__name__)

_INTEGER = re.compile(r"\s*[+-]?[0-9]+\s*", re.ASCII)
_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """Which of the versions found are served: the newest ones, all, or those named."""

    kind: Literal["latest", "all", "specific"] = "latest"
    num_versions: int = 1
    versions: frozenset[int] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class MonitoredModel:
    """A model whose base path is watched."""

    name: str
    base_path: str
    policy: VersionPolicy = VersionPolicy()


def parse_version(name: str) -> int | None:
    """Return the number a directory name stands for, or None when it is not a 64-bit integer."""
    if not _INTEGER.fullmatch(name):
        return None
    version = int(name)
    return version if version in _INT64 else None


def index_versions(names: Iterable[str]) -> dict[int, str]:
    """Map version numbers to directory names; of two for a number the later in order wins."""
    index: dict[int, str] = {}
    for name in sorted(names):
        version = parse_version(name)
        if version is None:
            continue
        if version in index:
            _log.warning("duplicate_version", version=version, used=name, ignored=index[version])
        index[version] = name
    return dict(sorted(index.items()))


def aspired_versions(policy: VersionPolicy, found: Mapping[int, str]) -> dict[int, str]:
    """Select what the policy wants of what was found; a missing specific version is no error."""
    if policy.kind == "all":
        return dict(found)
    if policy.kind == "specific":
        return {version: found[version] for version in sorted(policy.versions) if version in found}
    newest = sorted(found, reverse=True)[: max(policy.num_versions, 1)]
    return {version: found[version] for version in newest}


class FileSystemSource:
    """Polls the base paths of the configured models and reports the aspired versions.

    The callback is called from the polling thread and from `update`, one call at a time.
    """

    def __init__(
        self,
        callback: AspiredVersionsCallback,
        *,
        poll_wait_seconds: float,
        isolate_models: bool = True,
    ) -> None:
        """Create a source that watches nothing yet.

        Args:
            callback: Receives each model's aspired versions after every poll.
            poll_wait_seconds: Seconds between two polls; 0 polls only when the configuration is
                set, a negative number never.
            isolate_models: Whether a missing base path skips only its own model. Otherwise it ends
                that poll for all models, as in TensorFlow Serving.
        """
        self._callback = callback
        self._poll_wait_seconds = poll_wait_seconds
        self._isolate_models = isolate_models
        self._lock = threading.Lock()
        self._models: tuple[MonitoredModel, ...] = ()
        self._warnings: dict[str, str] = {}
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def models(self) -> tuple[MonitoredModel, ...]:
        """The models watched at present."""
        return self._models

    def update(self, models: Sequence[MonitoredModel]) -> None:
        """Watch these models from now on; nothing is aspired any more for those that are gone."""
        with self._lock:
            kept = {model.name for model in models}
            gone = [model.name for model in self._models if model.name not in kept]
            self._models = tuple(models)
            for name in gone:
                self._callback(name, {})
        if self._poll_wait_seconds >= 0:
            self.poll()

    def start(self) -> None:
        """Begin to poll in a thread of its own, when polling was asked for."""
        if self._poll_wait_seconds > 0:
            self._thread = threading.Thread(
                target=self._run, name="file-system-source", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """Stop polling."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def poll(self) -> None:
        """Look at every base path once and report what is aspired."""
        with self._lock:
            found: list[tuple[str, dict[int, str]]] = []
            for model in self._models:
                try:
                    versions = index_versions(path.name for path in Path(model.base_path).iterdir())
                except (OSError, ValueError) as error:
                    self._warn(model.name, f"cannot read base path {model.base_path}: {error}")
                    if self._isolate_models:
                        continue
                    return
                aspired = aspired_versions(model.policy, versions)
                self._report_missing(model, aspired)
                found.append(
                    (
                        model.name,
                        {
                            version: str(Path(model.base_path) / name)
                            for version, name in aspired.items()
                        },
                    )
                )
            for name, aspired in found:
                self._callback(name, aspired)

    def _report_missing(self, model: MonitoredModel, aspired: Mapping[int, str]) -> None:
        missing = sorted(model.policy.versions - aspired.keys())
        if missing:
            self._warn(model.name, f"specific versions {missing} not found under {model.base_path}")
        elif not aspired:
            self._warn(model.name, f"no versions found under {model.base_path}")
        else:
            self._warnings.pop(model.name, None)

    def _warn(self, name: str, warning: str) -> None:
        """Log a warning once, not at every poll."""
        if self._warnings.get(name) != warning:
            self._warnings[name] = warning
            _log.warning("source", model=name, detail=warning)

    def _run(self) -> None:
        while not self._stopped.wait(self._poll_wait_seconds):
            try:
                self.poll()
            except Exception:  # noqa: BLE001 - the next poll may succeed
                _log.exception("poll_failed")
