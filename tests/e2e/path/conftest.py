"""The whole path as processes: `heliograph serve` with its embedded model server."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from heliograph import Client
from heliograph.cli.background_process import BackgroundProcess

START_TIMEOUT = 120.0


@dataclass
class Serving:
    """A gateway that is ready, and the repository that it serves."""

    repository: Path
    log: Path
    address: str
    process: BackgroundProcess

    def model_server(self) -> psutil.Process:
        """Return the model server's process."""
        events = [json.loads(line) for line in self.log.read_text().splitlines() if line[0] == "{"]
        starts = [event for event in events if event["event"] == "model server starting"]
        return psutil.Process(starts[-1]["pid"])


Serve = Callable[..., Any]


@contextmanager
def _serve(repository: Path, log: Path, *flags: str) -> Iterator[Serving]:
    arguments = [
        "serve",
        f"--repository={repository}",
        "--listen=127.0.0.1:0",
        "--metrics-listen=",
        "--log-format=json",
        *flags,
    ]
    process = BackgroundProcess("gateway", arguments, log)
    try:
        ready = process.wait_for(_ready, START_TIMEOUT)
        yield Serving(repository, log, ready["address"], process)
    finally:
        process.stop()


def _ready(line: str) -> dict[str, Any] | None:
    event = json.loads(line) if line.startswith("{") else {}
    return event if event.get("event") == "ready" else None


@pytest.fixture(scope="session")
def serve() -> Serve:
    """Return a context manager `serve(repository, log, *flags) -> Serving`."""
    return _serve


@pytest.fixture(scope="module")
def serving(
    digits_repository: Path, tmp_path_factory: pytest.TempPathFactory, serve: Serve
) -> Iterator[Serving]:
    """A gateway with the model `digits`, shared by the tests of a module that only ask."""
    folder = tmp_path_factory.mktemp("serving")
    repository = folder / "models"
    shutil.copytree(digits_repository, repository)
    with serve(repository, folder / "serve.log") as started:
        yield started


@pytest.fixture(scope="module")
def client(serving: Serving) -> Iterator[Client]:
    """A client of `serving`."""
    with Client(serving.address, timeout=30.0) as opened:
        yield opened


@pytest.fixture(scope="session")
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Return a function that waits until a condition holds."""

    def wait(condition: Callable[[], bool], timeout: float = 60.0) -> None:
        end = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < end, "it did not come to pass in time"
            time.sleep(0.02)

    return wait
