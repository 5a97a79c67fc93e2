"""A version that is ready to be asked, for the parts of the gateway that need one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from heliograph.v1.contract_pb2 import ModelContract
from heliograph_gateway.metrics import GatewayMetrics
from heliograph_gateway.servables import Servable, ServableVersion

if TYPE_CHECKING:
    from tests.conftest import Brightness

MakeVersion = Callable[..., ServableVersion]


@pytest.fixture
def make_version(brightness: Brightness) -> MakeVersion:
    """Make versions of the model `brightness`; what a contract says can be changed first."""

    def make(
        number: int = 1,
        *,
        model: str = "brightness",
        change: Callable[[ModelContract], Any] = lambda contract: None,
    ) -> ServableVersion:
        contract = brightness.contract()
        change(contract)
        return ServableVersion.of(Servable(model, number), contract)

    return make


@pytest.fixture
def version(make_version: MakeVersion) -> ServableVersion:
    """One of them."""
    return make_version()


@pytest.fixture
def metrics() -> GatewayMetrics:
    """Metrics in a registry of their own."""
    return GatewayMetrics()
