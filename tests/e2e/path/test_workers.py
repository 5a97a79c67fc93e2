"""Several gateway processes in front of one real model server."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from heliograph import Client
from heliograph.golden import read_golden
from heliograph.options import RetryOptions

if TYPE_CHECKING:
    from tests.e2e.path.conftest import Serving

Eventually = Callable[[Callable[[], bool]], None]
Serve = Callable[..., AbstractContextManager[Any]]


@pytest.fixture
def repository(digits_repository: Path, tmp_path: Path) -> Path:
    """A repository of the test's own, with version 1 of `digits`."""
    copied = tmp_path / "models"
    shutil.copytree(digits_repository, copied)
    return copied


def workers(serving: Serving) -> list[psutil.Process]:
    """The processes of the workers that run."""
    children = psutil.Process(serving.process.pid).children()
    return [child for child in children if "heliograph_gateway.worker" in child.cmdline()]


def test_a_version_takes_over_in_all_workers_and_no_process_outlives_the_supervisor(
    repository: Path, serve: Serve, eventually: Eventually, tmp_path: Path
) -> None:
    image = read_golden(repository / "digits/1")[0].encoded
    versions: list[Counter[int]] = [Counter() for _ in range(8)]
    stop = threading.Event()
    flags = ("--workers=2", "--auto-promote", "--poll-interval=0.2")
    with serve(repository, tmp_path / "serve.log", *flags) as serving, ExitStack() as stack:

        def call(counter: Counter[int]) -> None:
            retry = RetryOptions(attempts=1)
            with Client(serving.address, retry=retry, timeout=30.0) as client:
                while not stop.is_set():
                    counter[client.classify(image).version] += 1

        threads = [threading.Thread(target=call, args=[counter]) for counter in versions]
        for thread in threads:
            thread.start()
            stack.callback(thread.join)
        stack.callback(stop.set)
        eventually(lambda: all(counter[1] > 10 for counter in versions))
        # A copy of version 1, whole at once, as an export is.
        shutil.copytree(repository / "digits/1", repository / "digits/.tmp-2")
        (repository / "digits/.tmp-2").rename(repository / "digits/2")
        eventually(lambda: all(counter[2] > 10 for counter in versions))
        stop.set()
        processes = [*workers(serving), serving.model_server()]
        assert len(processes) == 3
        supervisor = psutil.Process(serving.process.pid)
        supervisor.kill()

        eventually(lambda: all(_ended(process) for process in processes))
    assert all(set(counter) == {1, 2} for counter in versions)


def _ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
