"""The example of one's own model does what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from heliograph.contract import read_contract
from heliograph.golden import read_golden
from heliograph.manifest import verify_manifest

EXAMPLE = Path(__file__).parents[3] / "examples" / "own_model.py"


def test_a_model_of_ones_own_is_exported(tmp_path: Path) -> None:
    finished = subprocess.run(
        [sys.executable, str(EXAMPLE), str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
    )
    assert finished.returncode == 0, finished.stderr
    version = tmp_path / "parity" / "1"
    assert finished.stdout.splitlines()[-1] == f"version 1 of parity in {version}"
    verify_manifest(version)
    assert list(read_contract(version).class_names) == ["even", "odd"]
    golden = read_golden(version)
    right = 0
    for example in golden:
        best = example.probabilities.index(max(example.probabilities))
        right += example.class_name == ("even", "odd")[best]
    assert right / len(golden) > 0.8
