"""The users for Locust run as its documentation says, where Locust is installed."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from heliograph.errors import OverloadedError
from heliograph.testing import FakeGateway

LOCUSTFILE = Path(__file__).parents[3] / "examples" / "locustfile.py"

# Found, not imported: importing Locust lets gevent replace parts of the standard library.
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("locust") is None, reason="locust is not installed"
)


def test_its_users_classify_and_count_failures(fake_gateway: FakeGateway, images: Path) -> None:
    fake_gateway.fail(OverloadedError("too many images wait"), times=2)

    result = subprocess.run(
        [
            *(sys.executable, "-m", "locust", "--locustfile", LOCUSTFILE),
            *("--host", fake_gateway.target, "--images", images, "--json", "--headless"),
            *("--users", "2", "--spawn-rate", "2", "--run-time", "2s"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )

    (row,) = json.loads(result.stdout)
    assert row["name"] == "Classify"
    # A call that is under way when the time is over does not count.
    assert 2 < row["num_requests"] <= len(fake_gateway.calls)
    assert row["num_failures"] == 2
