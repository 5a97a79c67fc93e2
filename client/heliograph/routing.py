"""The routing table of a model: which version answers.

A table is one file, `<repository>/<model>/routing.<revision>.json`; the highest revision counts.
A new revision is created exclusively, so of two writers one loses and knows it. Nothing is ever
changed in place.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heliograph.durable_files import create_exclusively
from heliograph.errors import ConfigurationError, RevisionConflictError
from heliograph.names import LARGEST_VERSION, is_name

_FILE = re.compile(r"routing\.([1-9][0-9]{0,17})\.json", re.ASCII)


@dataclass(frozen=True)
class RoutingTable:
    """One revision of the routing of one model."""

    revision: int
    """From 1; each change adds 1."""
    stable: int
    """Version that answers requests without a selector."""
    candidate: int | None = None
    """Version on trial in a release; None outside a release."""
    weight: float = 0.0
    """Share of the requests without a selector that the candidate answers, in [0, 1]."""
    shadow: float = 0.0
    """Share of the requests that are copied to the candidate, in [0, 1]."""
    version_labels: Mapping[str, int] = field(default_factory=dict)
    """Names for versions that callers may ask for."""
    release: str = ""
    """Id of the release that wrote the revision; empty for the first start."""

    def versions(self) -> tuple[int, ...]:
        """Return every version that the table names, in ascending order."""
        named = {self.stable, *self.version_labels.values()}
        if self.candidate is not None:
            named.add(self.candidate)
        return tuple(sorted(named))


def read_routing(model_directory: Path) -> RoutingTable | None:
    """Return the highest revision of a model's routing, or None before the first.

    Raises:
        ConfigurationError: The file of the highest revision cannot be read or makes no sense.
    """
    revision = latest_revision(model_directory)
    return _read(model_directory, revision) if revision else None


def latest_revision(model_directory: Path) -> int:
    """Return the highest revision there is a file of; 0 when there is none.

    Raises:
        ConfigurationError: The model's directory cannot be read.
    """
    return max(_revisions(model_directory), default=0)


def highest_stable(model_directory: Path) -> int:
    """Return the highest version that any revision made stable; 0 before the first.

    Raises:
        ConfigurationError: A revision, or the model's directory, cannot be read.
    """
    revisions = _revisions(model_directory)
    return max((_read(model_directory, revision).stable for revision in revisions), default=0)


def create_routing(model_directory: Path, table: RoutingTable) -> None:
    """Write a new revision.

    Raises:
        RevisionConflictError: The revision exists: somebody else was faster.
        StorageError: It could not be written.
    """
    path = _path(model_directory, table.revision)
    content = dataclasses.asdict(table)
    try:
        create_exclusively(path, (json.dumps(content, indent=2) + "\n").encode())
    except FileExistsError as error:
        raise RevisionConflictError(
            f"{path} exists: another release changed the routing; read it and try again"
        ) from error


def _revisions(model_directory: Path) -> list[int]:
    try:
        names = [entry.name for entry in model_directory.iterdir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigurationError(f"cannot read {model_directory}: {error.strerror}") from error
    return [int(match[1]) for name in names if (match := _FILE.fullmatch(name))]


def _read(model_directory: Path, revision: int) -> RoutingTable:
    path = _path(model_directory, revision)
    try:
        return _parse(revision, json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigurationError(f"cannot read the routing table {path}: {error}") from error


def _path(model_directory: Path, revision: int) -> Path:
    return model_directory / f"routing.{revision}.json"


def _parse(revision: int, content: Any) -> RoutingTable:
    known = {entry.name for entry in dataclasses.fields(RoutingTable)}
    table = RoutingTable(**{name: value for name, value in content.items() if name in known})
    if table.revision != revision:
        raise ValueError(f"it says revision {table.revision}")
    for version in table.versions():
        if type(version) is not int or not 1 <= version <= LARGEST_VERSION:
            raise ValueError(f"{version!r} is no version")
    for label in table.version_labels:
        if not is_name(label):
            raise ValueError(f"{label!r} is no version label")
    for share in (table.weight, table.shadow):
        if not 0 <= share <= 1:
            raise ValueError(f"{share!r} is no share")
    return table
