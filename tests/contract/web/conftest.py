"""The web application over real HTTP messages, before a real gRPC server of made-up answers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from heliograph import AsyncClient
from heliograph.testing import FakeGateway
from heliograph_web.application import create_application
from heliograph_web.upload import UploadLimits

LIMITS = UploadLimits(max_bytes=100_000, seconds=5.0)


@pytest.fixture
async def web(fake_gateway: FakeGateway) -> AsyncIterator[httpx.AsyncClient]:
    """Return an HTTP client of a web application whose gateway is `fake_gateway`."""
    async with AsyncClient(fake_gateway.target, timeout=5.0) as client:
        application = create_application(client, limits=LIMITS)
        transport = httpx.ASGITransport(app=application, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            yield http
