"""The pytest plugin: one fixture, in a module that every start of pytest imports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from heliograph.testing.fake_gateway import FakeGateway


@pytest.fixture
def fake_gateway() -> Iterator[FakeGateway]:
    """Run a gateway in this process that answers as it is told; see `heliograph.testing`."""
    from heliograph.testing.fake_gateway import FakeGateway

    with FakeGateway() as gateway:
        yield gateway
