"""The repository as the tests of the project's frame see it."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def root() -> Path:
    """The top folder of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="session")
def project_files() -> list[Path]:
    """The files that are or would be committed, relative to the top folder."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = [Path(name) for name in listing.stdout.split("\0") if name]
    return sorted(path for path in paths if (ROOT / path).is_file())


def environment_python(name: str) -> Path:
    """Return the interpreter of an environment that `make test-environments` creates."""
    python = ROOT / name / "bin" / "python"
    if not python.exists():
        pytest.fail(f"There is no {name}: run make test-environments.")
    return python


@pytest.fixture(scope="session")
def sdk_python() -> Path:
    """An interpreter that has nothing but the base install."""
    return environment_python(".venv-sdk-newest")


@pytest.fixture(scope="session")
def generator_python() -> Path:
    """An interpreter that has the generator of the protos' code."""
    finder = [environment_python(".venv-sdk-newest"), ROOT / "tools" / "check_python.py"]
    if subprocess.run([*finder, "--find", "3.12", "3.11"], capture_output=True).returncode:
        pytest.skip("the generator needs Python 3.12 or 3.11, and neither is on this machine")
    return environment_python(".venv-gen")
