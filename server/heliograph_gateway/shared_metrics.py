"""The metrics of several workers as one: prometheus_client's files, which the supervisor adds up.

Every worker has a number, and its files are named after it. A worker that was started again counts
on where the one before it ended, so that no counter goes back and the files stay as many as they
are.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Gauge, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable by which prometheus_client finds the files."""


class SharedMetrics:
    """What the supervisor serves as `/metrics`."""

    def __init__(self, workers: Callable[[], int]) -> None:
        """Make a directory for the files, which only this user can read.

        Args:
            workers: Tells how many workers are serving.
        """
        self.directory = tempfile.mkdtemp(prefix="heliograph-metrics-")
        self.registry = CollectorRegistry()
        MultiProcessCollector(self.registry, self.directory)  # type: ignore[no-untyped-call]
        Gauge(
            "heliograph_workers", "Worker processes that are serving.", registry=self.registry
        ).set_function(workers)

    def ended(self, worker: int) -> None:
        """Forget what was true of a worker only while it lived."""
        mark_process_dead(worker, self.directory)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Remove the files."""
        shutil.rmtree(self.directory, ignore_errors=True)


def share_metrics(directory: str, worker: int) -> None:
    """Have all metrics that this process makes from now on written to files for the supervisor.

    Args:
        directory: Of `SharedMetrics`.
        worker: Number of this worker; at any time one process has it.
    """
    os.environ[DIRECTORY] = directory
    # As prometheus_client's documentation has it for uWSGI.
    values.ValueClass = values.MultiProcessValue(lambda: worker)  # type: ignore[no-untyped-call]
