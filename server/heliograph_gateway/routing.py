"""The router: from what a caller asks for to one explicit version."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from heliograph.errors import (
    InvalidArgumentError,
    ModelNotFoundError,
    ModelNotServingError,
    VersionLabelNotFoundError,
    VersionNotFoundError,
)
from heliograph.names import check_model_name, check_version, check_version_label
from heliograph.routing import RoutingTable
from heliograph.v1.classifier_pb2 import ModelSelector
from heliograph_gateway.servables import ServableVersion


@dataclass(frozen=True)
class ServedModel:
    """A model as it is served now. A change is a new object in the router's place for it."""

    name: str
    table: RoutingTable | None = None
    """Routing table in force; None before the first."""
    versions: Mapping[int, ServableVersion] = field(default_factory=dict)
    """Versions that the table names and that passed their checks."""
    reason: str = ""
    """Why the model is not served; empty while it is."""

    @property
    def serving(self) -> bool:
        """Whether requests without a selector are answered."""
        return self.table is not None and self.table.stable in self.versions

    @property
    def labels(self) -> dict[str, int]:
        """Version labels that can be asked for, among them `stable`, and their versions."""
        return {label: number for label, number in self._named().items() if number in self.versions}

    def labelled(self, label: str) -> int:
        """Return the version that a label names, whether it is served or not.

        Raises:
            InvalidModelNameError: The label is malformed.
            VersionLabelNotFoundError: The routing table has no such label.
        """
        named = self._named()
        if label not in named:
            check_version_label(label)
            known = ", ".join(sorted(named))
            raise VersionLabelNotFoundError(
                f"model {self.name} has no version label {label}; it has {known}"
            )
        return named[label]

    def _named(self) -> dict[str, int]:
        return {"stable": self.table.stable, **self.table.version_labels} if self.table else {}


@dataclass(frozen=True)
class Route:
    """Where a request goes."""

    version: ServableVersion
    revision: int
    """Revision of the routing table that chose; 0 when the caller pinned the version."""


class Router:
    """Models by name; looks up, never waits."""

    def __init__(self) -> None:
        self._models: dict[str, ServedModel] = {}
        self._listeners: list[Callable[[], None]] = []

    def resolve(self, selector: ModelSelector) -> Route:
        """Return the version that answers.

        Raises:
            InvalidModelNameError: A name, version or label is malformed.
            InvalidArgumentError: No name, and there is not exactly one model.
            ModelNotFoundError: No such model.
            VersionNotFoundError: The routing table does not name the version.
            VersionLabelNotFoundError: The routing table has no such label.
            ModelNotServingError: The model has no version fit to answer.
        """
        model = self.model(selector.name)
        table = model.table
        which = selector.WhichOneof("selector")
        if table is None:
            raise _not_serving(model)
        if which is None:
            if table.stable not in model.versions:
                raise _not_serving(model)
            return Route(model.versions[table.stable], table.revision)
        if which == "version":
            number, revision = check_version(selector.version), 0
        else:
            number, revision = model.labelled(selector.version_label), table.revision
        if number not in model.versions:
            known = ", ".join(map(str, sorted(model.versions))) or "none"
            raise VersionNotFoundError(
                f"model {model.name} does not serve version {number}; it serves {known}"
            )
        return Route(model.versions[number], revision)

    def model(self, name: str) -> ServedModel:
        """Return a model by name; with an empty name the only one.

        Raises:
            InvalidModelNameError: The name is malformed.
            InvalidArgumentError: No name, and there is not exactly one model.
            ModelNotFoundError: No such model.
        """
        if not name:
            if len(self._models) != 1:
                known = ", ".join(sorted(self._models)) or "none"
                raise InvalidArgumentError(f"the request names no model; there are: {known}")
            return next(iter(self._models.values()))
        try:
            return self._models[name]
        except KeyError:
            check_model_name(name)
            raise ModelNotFoundError(f"there is no model {name}") from None

    def known_name(self, name: str) -> str:
        """Return the name of the model that `model` would return; empty where it would raise.

        What callers send becomes a label of a metric only where there is such a model.
        """
        try:
            return self.model(name).name
        except (InvalidArgumentError, ModelNotFoundError):
            return ""

    def models(self) -> list[ServedModel]:
        """Return every model in order of name."""
        return [self._models[name] for name in sorted(self._models)]

    def put(self, model: ServedModel) -> None:
        """Serve a model as described from now on; requests under way finish where they are."""
        self._models[model.name] = model
        self._notify()

    def remove(self, name: str) -> None:
        """Stop serving a model and forget it."""
        if self._models.pop(name, None):
            self._notify()

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every change."""
        self._listeners.append(listener)

    def _notify(self) -> None:
        for listener in self._listeners:
            listener()


def _not_serving(model: ServedModel) -> ModelNotServingError:
    return ModelNotServingError(f"model {model.name} is not served: {model.reason}")
