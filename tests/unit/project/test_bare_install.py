"""The base install starts by itself and says what the rest needs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from heliograph.cli.commands import COMMANDS, Command
from heliograph.errors import MissingExtraError

ARGUMENTS = {
    "train": ["--dataset", "digits", "--output", "run"],
    "evaluate": ["run"],
    "export": ["run", "--repository", "models", "--model", "digits"],
    "samples": ["--dataset", "digits", "--output", "samples"],
    "serve": ["--repository", "models"],
    "model-server": ["--model_name=digits", "--model_base_path=models/digits"],
    "loadtest": ["--images", "photos", "--rate", "1"],
    "web": [],
}
"""A call of each command that needs an extra, as far as the command line goes without error."""

NEEDING = [command for command in COMMANDS if command.extra]


def run(*command: str | Path, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_the_environment_is_bare(sdk_python: Path) -> None:
    names = ["numpy", "PIL", "rich", "structlog", "tensorflow"]
    program = f"import importlib.util as u; print([n for n in {names} if u.find_spec(n)])"

    result = run(sdk_python, "-c", program)

    assert result.stdout == "[]\n"


def test_help_lists_every_command_with_the_extra_that_it_needs(sdk_python: Path) -> None:
    result = run(sdk_python.with_name("heliograph"), "--help")

    assert (result.returncode, result.stderr) == (0, "")
    lines = {line.split()[0]: line for line in result.stdout.splitlines() if line.strip()}
    for command in COMMANDS:
        assert command.summary in lines[command.name]
        assert not command.extra or f"[{command.extra}]" in lines[command.name]


@pytest.mark.parametrize("command", NEEDING, ids=[command.name for command in NEEDING])
def test_a_command_without_its_extra_names_it_in_one_line(
    command: Command, sdk_python: Path, tmp_path: Path
) -> None:
    program = sdk_python.with_name("heliograph")

    result = run(program, command.name, *ARGUMENTS[command.name], folder=tmp_path)

    assert result.returncode == MissingExtraError.exit_code
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith(f"heliograph {command.name}: needs ")
    assert result.stderr.endswith(f"pip install 'heliograph[{command.extra}]'\n")
    assert list(tmp_path.iterdir()) == []


def test_the_clients_can_be_imported(sdk_python: Path) -> None:
    result = run(sdk_python, "-W", "error", "-c", "from heliograph import AsyncClient, Client")

    assert (result.returncode, result.stderr) == (0, "")
