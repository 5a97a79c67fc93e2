"""Images under way: what is asked about each, and the messages and connections they go by."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from heliograph.images import LoadedImage, ReadImage, size_of


class Asked(NamedTuple):
    """What is asked about an image: arguments of `heliograph.classifier_calls.question`."""

    model: str | None
    version: int | None
    version_label: str | None
    top_k: int
    min_score: float


@dataclass(eq=False, slots=True)
class Item:
    """An image under way."""

    asked: Asked
    image: LoadedImage
    source: ReadImage | None = None
    """The image before it was prepared for one version; None when it was not."""
    origin: Asked | None = None
    """What was asked before that version was pinned."""
    place: int = 0
    added: float = 0.0
    deadline: float = 0.0
    attempts: int = 0
    sent: float = 0.0
    settled: bool = False
    """Whether its place has an outcome already; what comes for it later is not wanted."""
    size: int = field(init=False)
    """Bytes of the image, as it was and as it is sent."""

    def __post_init__(self) -> None:
        self.size = len(self.image[1])
        if self.source is not None:
            self.size += size_of(self.source)


@dataclass(eq=False, slots=True)
class Group:
    """Images that are sent, and answered, in one message."""

    items: list[Item]

    @property
    def asked(self) -> Asked:
        """What is asked about each of them."""
        return self.items[0].asked

    @property
    def images(self) -> list[LoadedImage]:
        """The images, in order."""
        return [item.image for item in self.items]

    @property
    def deadline(self) -> float:
        """When nobody waits for any of them any more."""
        return max(item.deadline for item in self.items)


@dataclass(slots=True)
class Lane:
    """What one connection has to answer."""

    groups: dict[int, Group] = field(default_factory=dict)
    """By the number under which they were sent, the oldest first."""
    next_number: int = 0
    breaks: int = 0
    """Times that it broke since its last answer."""
    rests_until: float = 0.0
    """Nothing is sent before this time: it broke a moment ago."""

    @property
    def unanswered(self) -> int:
        """Images that wait for an answer."""
        return sum(len(group.items) for group in self.groups.values())
