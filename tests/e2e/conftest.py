"""What all end-to-end tests share: one run on digits, trained and exported once per session."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EPOCHS = 12
"""Enough for an accuracy of about 0.955 in a few seconds."""


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a finished training run on digits. Treat it as read-only."""
    run = tmp_path_factory.mktemp("digits") / "run"
    _heliograph("train", "--dataset", "digits", "--epochs", str(EPOCHS), "--output", str(run))
    return run


@pytest.fixture(scope="session")
def digits_repository(digits_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model repository that holds version 1 of model `digits`. Treat it as read-only."""
    repository = tmp_path_factory.mktemp("models")
    _heliograph(
        "export", str(digits_run), "--repository", str(repository), "--model", "digits", "--encoded"
    )
    return repository


def _heliograph(*arguments: str) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "heliograph.cli", *arguments], capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
