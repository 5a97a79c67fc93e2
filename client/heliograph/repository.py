"""The model repository: `<root>/<model>/<version>/`, as TensorFlow Serving reads it.

Versions appear whole, by a rename. A number is claimed for ever by an empty file
`<model>/.claimed/<number>`, created exclusively: two exporters at once do not collide, and no
number is used twice even after its version was removed. TensorFlow Serving ignores every entry
whose name is not a number.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from heliograph.durable_files import storage_errors, sync_directory, sync_tree
from heliograph.errors import (
    ConfigurationError,
    ModelNotFoundError,
    StorageError,
    VersionNotFoundError,
)
from heliograph.names import LARGEST_VERSION, check_model_name, is_name

_CLAIMS = ".claimed"
_STAGING = ".tmp-"
_ABANDONED_AFTER = 24 * 3600.0
"""Seconds after which a staging directory that nobody finished is removed."""


@dataclass
class Staging:
    """A version that is being written."""

    path: Path
    """Directory to write the SavedModel into."""
    version: int = 0
    """Number of the version; 0 until it is published."""


@dataclass(frozen=True)
class Repository:
    """A folder of models. Nothing is read or written before a method is called."""

    root: Path

    def models(self) -> list[str]:
        """Return the names of the models that have at least one version, sorted.

        A folder that cannot be read counts as a model: one that cannot be looked at for a moment
        has not gone.

        Raises:
            ConfigurationError: The repository is not a readable directory.
        """
        try:
            return sorted(
                entry.name
                for entry in self.root.iterdir()
                if is_name(entry.name) and _may_have_versions(entry)
            )
        except OSError as error:
            raise ConfigurationError(
                f"{self.root} is no model repository: {error.strerror}; "
                "`heliograph export` makes one"
            ) from error

    def model_path(self, model: str) -> Path:
        """Return the directory of a model, which need not exist."""
        return self.root / check_model_name(model)

    def versions(self, model: str) -> list[int]:
        """Return the versions of a model in ascending order; empty when there is no such model.

        Raises:
            ConfigurationError: The model's folder cannot be read.
        """
        return sorted(self._numbers(model))

    def version_path(self, model: str, version: int) -> Path:
        """Return the directory of a version.

        Raises:
            ModelNotFoundError: No such model.
            VersionNotFoundError: The model has no such version.
            ConfigurationError: The model's folder cannot be read.
        """
        numbers = self._numbers(model)
        if not numbers:
            raise ModelNotFoundError(f"{self.root} has no model {model}")
        if version not in numbers:
            known = ", ".join(map(str, sorted(numbers)))
            raise VersionNotFoundError(f"model {model} has no version {version}; it has {known}")
        return numbers[version]

    @contextmanager
    def publish(self, model: str) -> Iterator[Staging]:
        """Write a new version into `staging.path`; after the block it is visible.

        `staging.version` then has its number. An exception inside the block removes what was
        written.

        Raises:
            StorageError: The disk is full, or the repository cannot be written.
        """
        base = self.model_path(model)
        with storage_errors(base):
            (base / _CLAIMS).mkdir(parents=True, exist_ok=True)
            _remove_abandoned(base)
            staging = Staging(Path(tempfile.mkdtemp(prefix=_STAGING, dir=base)))
            # mkdtemp makes the directory private; the model server may run as another user.
            staging.path.chmod(0o755)
        try:
            with storage_errors(base):
                yield staging
                sync_tree(staging.path)
                version = self._claim(base)
                staging.path.rename(base / str(version))
                sync_directory(base)
        except BaseException:
            shutil.rmtree(staging.path, ignore_errors=True)
            raise
        staging.path = base / str(version)
        staging.version = version

    def _numbers(self, model: str) -> dict[int, Path]:
        path = self.model_path(model)
        try:
            return _numbers(path)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error

    def _claim(self, base: Path) -> int:
        while True:
            claimed = (
                int(entry.name) for entry in (base / _CLAIMS).iterdir() if entry.name.isdecimal()
            )
            version = max([0, *claimed, *_numbers(base)]) + 1
            if version > LARGEST_VERSION:
                raise StorageError(f"{base} has no version number left")
            try:
                (base / _CLAIMS / str(version)).touch(exist_ok=False)
            except FileExistsError:
                continue
            sync_directory(base / _CLAIMS)
            return version


def _may_have_versions(entry: Path) -> bool:
    try:
        return entry.is_dir() and bool(_numbers(entry))
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _numbers(base: Path) -> dict[int, Path]:
    """Return the version directories; of two with the same number the lexicographically later."""
    found: dict[int, Path] = {}
    for entry in sorted(base.iterdir()):
        if entry.name.isascii() and entry.name.isdigit() and entry.is_dir():
            number = int(entry.name)
            if 1 <= number <= LARGEST_VERSION:
                found[number] = entry
    return found


def _remove_abandoned(base: Path) -> None:
    now = time.time()
    for entry in base.glob(f"{_STAGING}*"):
        try:
            age = now - entry.stat().st_mtime
        except FileNotFoundError:  # Another exporter has finished or removed it.
            continue
        if age > _ABANDONED_AFTER:
            shutil.rmtree(entry, ignore_errors=True)
