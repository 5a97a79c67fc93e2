"""A new version takes over without a failed request, and a bad one never answers."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self

import pytest

from heliograph import Client
from heliograph.errors import HeliographError
from heliograph.golden import read_golden
from heliograph.options import RetryOptions

Eventually = Callable[[Callable[[], bool]], None]
Serve = Callable[..., AbstractContextManager[Any]]
NO_RETRIES = RetryOptions(attempts=1)


@pytest.fixture
def repository(digits_repository: Path, tmp_path: Path) -> Path:
    """A repository of the test's own, with version 1 of `digits`."""
    copied = tmp_path / "models"
    shutil.copytree(digits_repository, copied)
    return copied


@pytest.fixture
def image(repository: Path) -> bytes:
    """An image that `digits` knows."""
    return read_golden(repository / "digits/1")[0].encoded


def export(run: Path, repository: Path) -> int:
    """Export the run once more; return the version."""
    finished = subprocess.run(
        [
            *(sys.executable, "-m", "heliograph.cli", "export", str(run), "--json"),
            *("--repository", str(repository), "--model", "digits"),
        ],
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    return int(json.loads(finished.stdout)["version"])


class Load:
    """Sends one image again and again from several threads, without retries; counts the answers."""

    def __init__(self, address: str, image: bytes, threads: int = 4) -> None:
        self.versions: Counter[int] = Counter()
        self.errors: list[HeliographError] = []
        self._stop = threading.Event()
        self._address = address
        self._image = image
        self._threads = [threading.Thread(target=self._send) for _ in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _send(self) -> None:
        with Client(self._address, retry=NO_RETRIES, timeout=30.0) as client:
            while not self._stop.is_set():
                try:
                    self.versions[client.classify(self._image).version] += 1
                except HeliographError as error:
                    self.errors.append(error)


def test_a_new_version_takes_over_under_load_without_a_failed_request(
    repository: Path,
    digits_run: Path,
    image: bytes,
    serve: Serve,
    eventually: Eventually,
    tmp_path: Path,
) -> None:
    flags = ("--auto-promote", "--poll-interval=0.2")
    with (
        serve(repository, tmp_path / "serve.log", *flags) as serving,
        Load(serving.address, image) as load,
    ):
        eventually(lambda: load.versions[1] > 100)
        version = export(digits_run, repository)
        eventually(lambda: load.versions[version] > 100)
    assert load.errors == []
    assert set(load.versions) == {1, version}


def test_a_version_whose_files_were_changed_never_answers(
    repository: Path,
    image: bytes,
    serve: Serve,
    eventually: Eventually,
    tmp_path: Path,
) -> None:
    flags = ("--auto-promote", "--poll-interval=0.2")
    log = tmp_path / "serve.log"
    with serve(repository, log, *flags) as serving, Load(serving.address, image, 2) as load:
        bad = repository / "digits/.tmp-bad"
        shutil.copytree(repository / "digits/1", bad)
        golden = bad / "assets.extra/heliograph/golden/golden.json"
        golden.write_text(golden.read_text().replace('"class_name": "0"', '"class_name": "1"'))
        bad.rename(repository / "digits/2")
        eventually(lambda: "version rejected" in log.read_text())
        seen = load.versions[1]
        eventually(lambda: load.versions[1] > seen + 50)
    assert load.errors == []
    assert set(load.versions) == {1}


def test_a_model_server_that_dies_comes_back_and_the_gateway_stays(
    repository: Path, image: bytes, serve: Serve, eventually: Eventually, tmp_path: Path
) -> None:
    refused: set[str] = set()
    with (
        serve(repository, tmp_path / "serve.log") as serving,
        Client(serving.address, retry=NO_RETRIES, timeout=5.0) as client,
    ):
        assert client.classify(image).version == 1
        server = serving.model_server()
        server.kill()

        def answers() -> bool:
            try:
                return client.classify(image).version == 1
            except HeliographError as error:
                refused.add(error.status)
                return False

        eventually(lambda: not server.is_running() and answers())
        assert serving.model_server().pid != server.pid
    assert refused <= {"UNAVAILABLE", "DEADLINE_EXCEEDED"}


def test_a_gateway_that_is_killed_leaves_no_model_server_behind(
    repository: Path, serve: Serve, eventually: Eventually, tmp_path: Path
) -> None:
    with serve(repository, tmp_path / "serve.log") as serving:
        server = serving.model_server()
        parent = server.parent()
        assert parent is not None
        parent.kill()
        eventually(lambda: not server.is_running())
