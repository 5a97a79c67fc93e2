"""The Makefile: commands that explain themselves and touch only what is theirs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROMISED = {"setup", "demo", "test", "lint", "gen", "bench", "congruence", "clean"}


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make in `folder`, untouched by a make that runs these tests."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "VENV", "PYTHON"}
    }
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.fixture
def checkout(root: Path, tmp_path: Path) -> Path:
    """A folder with what `make setup` looks at before it installs anything."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(root / name, tmp_path / name)
    shutil.copytree(root / "tools", tmp_path / "tools")
    return tmp_path


def test_make_alone_explains_every_command(root: Path) -> None:
    result = make(root)

    explained = {
        line.split()[1]: " ".join(line.split()[2:])
        for line in result.stdout.splitlines()
        if line.startswith("  make ")
    }
    assert result.returncode == 0
    assert explained.keys() >= PROMISED
    assert all(explained.values())


def test_setup_refuses_a_python_that_cannot_run_heliograph(checkout: Path) -> None:
    python = checkout / "python-of-the-future"
    python.write_text(
        f"#!{sys.executable}\n"
        "import runpy, sys\n"
        "sys.version_info = (3, 14) + sys.version_info[2:]\n"
        "del sys.argv[0]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    python.chmod(0o755)

    result = make(checkout, "setup", f"PYTHON={python}")

    assert result.returncode != 0
    assert "This is Python 3.14" in result.stderr
    assert "make setup PYTHON=" in result.stderr
    assert not (checkout / ".venv").exists()


def test_setup_says_what_it_downloads_before_it_does(checkout: Path) -> None:
    commands = make(checkout, "--dry-run", "setup").stdout

    assert "check_python.py" in commands
    assert commands.index("MB to download") < commands.index("-m pip install")


def test_setup_has_nothing_to_do_until_the_requirements_change(checkout: Path) -> None:
    stamp = checkout / "environment" / ".ready"
    stamp.parent.mkdir()
    stamp.touch()

    assert make(checkout, "--question", "setup", "VENV=environment").returncode == 0
    later = time.time() + 60
    os.utime(checkout / "constraints.txt", (later, later))
    assert make(checkout, "--question", "setup", "VENV=environment").returncode == 1


@pytest.mark.parametrize(
    ("variables", "arguments"),
    [
        ([], ""),
        (["ONCE=1"], "--once"),
        (["DATASET=folder", "DATA=my images"], '--dataset "folder" --data "my images"'),
        (["TFS=localhost:8500"], '--tfs "localhost:8500"'),
    ],
)
def test_the_demo_gets_its_variables(variables: list[str], arguments: str, checkout: Path) -> None:
    commands = make(checkout, "--dry-run", "demo", *variables).stdout

    command = " ".join(commands.replace("\\\n", " ").split())
    assert command.endswith(f"heliograph demo {arguments}".strip())


def test_congruence_asks_for_its_target(checkout: Path) -> None:
    stamp = checkout / ".venv" / ".ready"
    stamp.parent.mkdir()
    stamp.touch()

    result = make(checkout, "congruence")

    assert result.returncode != 0
    assert "make congruence TARGET=host:port" in result.stderr


def test_clean_removes_only_what_make_made(checkout: Path) -> None:
    made = [".venv-gen", ".venv-sdk-oldest", ".venv-sdk-newest", ".venv-triton"]
    made += [".mypy_cache", "build"]
    others = [".venv", ".venv-mine", "runs", "models", "data"]
    for name in [*made, *others]:
        (checkout / name).mkdir()
        (checkout / name / "file").touch()

    assert make(checkout, "distclean").returncode == 0

    assert not [name for name in made if (checkout / name).exists()]
    assert [name for name in others if (checkout / name / "file").exists()] == others


def test_distclean_removes_the_environment_that_setup_made(checkout: Path) -> None:
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / ".ready").touch()

    assert make(checkout, "clean").returncode == 0
    assert (checkout / ".venv").exists()
    assert make(checkout, "distclean").returncode == 0
    assert not (checkout / ".venv").exists()
