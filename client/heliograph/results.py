"""What a client returns: frozen values, free of gRPC and protobuf but for the contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from heliograph.errors import HeliographError
    from heliograph.v1.contract_pb2 import ModelContract


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class and its score."""

    index: int
    """Index of the class in the contract, from 0."""
    class_name: str
    """Name of the class, as the contract spells it."""
    score: float
    """Score in [0, 1]: a probability of the softmax, or of the class on its own."""


@dataclass(frozen=True, slots=True)
class Result:
    """The answer to one image."""

    class_name: str
    """Name of the best class; empty when no class reaches the minimum score."""
    score: float
    """Score of the best class in [0, 1]; 0 when no class reaches the minimum score."""
    classes: tuple[ClassScore, ...]
    """The classes asked for, best first; equal scores in order of index."""
    model: str
    """Name of the model that answered."""
    version: int
    """Version that computed the scores."""
    routing_revision: int
    """Revision of the routing table that chose the version; 0 when the caller chose it."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What `classify_many` gives in the place of an image that could not be classified."""

    error: HeliographError
    """Why not."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model as the gateway serves it now."""

    name: str
    serving: bool
    """Whether requests that name no version are answered."""
    reason: str
    """Why the model is not served, in one line; empty while it is."""
    stable_version: int
    """Version that answers requests that name none; 0 when there is none."""
    versions: tuple[int, ...]
    """Versions that can be asked for, in ascending order."""
    version_labels: Mapping[str, int]
    """Names for versions that can be asked for."""
    routing_revision: int
    """Revision of the routing table in force; 0 before there is one."""


@dataclass(frozen=True, slots=True)
class ModelDetails:
    """A model and the contract of one of its versions."""

    model: ModelInfo
    version: int
    """Version whose contract this is."""
    contract: ModelContract
    """What the version promises, among it the recipe and the metrics of its evaluation."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in order of index."""
        return tuple(self.contract.class_names)
