"""A Python that cannot run Heliograph is refused before anything is downloaded."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FAKE = """\
import runpy, sys
sys.version_info = {version} + sys.version_info[2:]
sys.argv = ["check_python.py"]
runpy.run_path({script!r}, run_name="__main__")
"""


def check_as(version: tuple[int, int], root: Path) -> subprocess.CompletedProcess[str]:
    """Run the check in a process that takes itself for another version of Python."""
    program = FAKE.format(version=version, script=str(root / "tools" / "check_python.py"))
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)


@pytest.fixture
def newest_python(pyproject: dict[str, Any]) -> str:
    """The newest version that the project's metadata names, as in `3.13`."""
    names = [
        classifier.rsplit(" ", 1)[1]
        for classifier in pyproject["project"]["classifiers"]
        if classifier.startswith("Programming Language :: Python :: 3.")
    ]
    return str(max(names, key=lambda name: int(name.split(".")[1])))


@pytest.mark.parametrize("version", [(3, 11), (3, 12), (3, 13)])
def test_every_supported_version_passes_in_silence(version: tuple[int, int], root: Path) -> None:
    result = check_as(version, root)

    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ((3, 10), "This is Python 3.10, which is older than Heliograph supports."),
        ((3, 14), "This is Python 3.14, which is newer than TensorFlow has packages for."),
    ],
)
def test_other_versions_are_refused_in_one_line_that_names_the_fix(
    version: tuple[int, int], reason: str, root: Path
) -> None:
    result = check_as(version, root)

    assert result.returncode == 1
    assert result.stderr.startswith(reason)
    assert result.stderr.count("\n") == 1
    assert re.search(r"[Rr]un: make setup PYTHON=\S*python3\.1[123]$", result.stderr.strip())


def test_without_a_fitting_python_the_message_says_to_install_one(
    root: Path, newest_python: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")

    result = check_as((3, 14), root)

    assert result.stderr.endswith(
        f"Install one of them, then run: make setup PYTHON=python{newest_python}\n"
    )


def old_interpreters() -> list[Path]:
    """Return interpreters of unsupported versions on this machine."""
    candidates = [Path(f) for name in ("python3.10", "python3.14") if (f := shutil.which(name))]
    candidates += sorted((Path.home() / ".pyenv" / "versions").glob("3.10.*/bin/python"))
    # A version manager's name may be on the path and start nothing.
    return [
        candidate
        for candidate in candidates
        if subprocess.run([candidate, "-c", ""], capture_output=True).returncode == 0
    ]


def test_a_real_interpreter_of_another_version_is_refused(root: Path) -> None:
    interpreters = old_interpreters()
    if not interpreters:
        pytest.skip("this machine has neither Python 3.10 nor 3.14")

    result = subprocess.run(
        [interpreters[0], root / "tools" / "check_python.py"], capture_output=True, text=True
    )

    assert result.returncode == 1
    assert "Heliograph needs Python 3.11 to 3.13" in result.stderr


def test_a_fitting_interpreter_is_found(root: Path) -> None:
    version = "{}.{}".format(*sys.version_info)

    result = subprocess.run(
        [sys.executable, root / "tools" / "check_python.py", "--find", "3.99", version],
        capture_output=True,
        text=True,
    )

    assert (result.returncode, result.stdout) == (0, f"{sys.executable}\n")


def test_finding_nothing_is_an_exit_code(root: Path) -> None:
    result = subprocess.run(
        [sys.executable, root / "tools" / "check_python.py", "--find", "3.99"],
        capture_output=True,
        text=True,
    )

    assert (result.returncode, result.stdout.strip()) == (1, "")


def test_every_file_names_the_same_versions(root: Path, pyproject: dict[str, Any]) -> None:
    classifiers = {
        classifier.rsplit(" ", 1)[1]
        for classifier in pyproject["project"]["classifiers"]
        if classifier.startswith("Programming Language :: Python :: 3.")
    }
    workflow = (root / ".github" / "workflows" / "test.yml").read_text()
    tested = re.search(r"python: \[(.*)\]", workflow)
    assert tested is not None

    assert classifiers == {"3.11", "3.12", "3.13"}
    assert pyproject["project"]["requires-python"] == ">=3.11,<3.14"
    assert set(re.findall(r"3\.\d+", tested.group(1))) == classifiers
    assert pyproject["tool"]["mypy"]["python_version"] == "3.11"
    assert pyproject["tool"]["ruff"]["target-version"] == "py311"
