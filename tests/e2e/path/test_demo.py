"""`heliograph demo --once`: what a newcomer sees first."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import psutil

LEAST_ACCURACY = 0.98


def test_the_demo_reaches_its_accuracy_ends_by_itself_and_leaves_nothing_running(
    tmp_path: Path,
) -> None:
    before = {process.pid for process in psutil.process_iter()}
    finished = subprocess.run(
        [sys.executable, "-m", "heliograph.cli", "demo", "--once", "--directory", "demo"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    accuracy = re.search(r"accuracy (0\.\d+|1\.0+) on (\d+) images", finished.stdout)
    assert accuracy is not None, finished.stdout
    assert float(accuracy[1]) >= LEAST_ACCURACY
    assert int(accuracy[2]) > 300
    assert re.search(r"image +truth +prediction +score +version", finished.stdout)
    assert re.search(r"The page http://127\.0\.0\.1:\d+", finished.stdout)

    left = [
        process
        for process in psutil.process_iter(["cmdline"])
        if process.pid not in before and str(tmp_path) in " ".join(process.info["cmdline"] or ())
    ]
    assert left == []
