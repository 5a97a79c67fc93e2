from __future__ import annotations

import os
import sys
import threading

import pytest

from heliograph_modelserver.manager import AspiredVersionsManager, LoadOptions
from heliograph_modelserver.memory import lower_thread_priority, release_memory
from heliograph_modelserver.monitor import ServableStateMonitor
from heliograph_modelserver.servable import ManagerState, ServableId


class Nothing:
    """A servable without content."""

    def unload(self) -> None:
        """Nothing to give back."""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a priority per thread")
def test_models_are_loaded_by_threads_that_yield_to_requests() -> None:
    niceness: list[int] = []

    def load(servable_id: ServableId, path: str) -> Nothing:
        niceness.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return Nothing()

    monitor = ServableStateMonitor()
    manager = AspiredVersionsManager(
        load, monitor, LoadOptions(), thread_started=lower_thread_priority
    )
    manager.set_aspired_versions("m", {1: "/1"})

    assert monitor.wait(lambda: monitor.progress(["m"])["m"] is ManagerState.AVAILABLE, 10.0)
    assert niceness[0] > os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    manager.stop()


def test_memory_can_be_released_at_any_time() -> None:
    release_memory()
