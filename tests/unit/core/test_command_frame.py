"""The command `heliograph`: a static table of commands, one line for an error, exit codes."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from heliograph.cli import main
from heliograph.cli.commands import COMMANDS, Command
from heliograph.errors import (
    BY_REASON,
    HeliographError,
    MissingExtraError,
    StorageError,
    UnavailableError,
)

Behaviour = Callable[[argparse.Namespace], int]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[Behaviour], None]:
    """Install a command `try` that takes `--count` and behaves as told."""

    class Module:
        def __init__(self, behaviour: Behaviour) -> None:
            self.run = behaviour

        def configure(self, parser: argparse.ArgumentParser) -> None:
            parser.description = "Try something."
            parser.epilog = "examples:\n  heliograph try --count 2"
            parser.add_argument("--count", type=int, default=1)

    def install(behaviour: Behaviour) -> None:
        monkeypatch.setattr(Command, "load", lambda self: Module(behaviour))
        monkeypatch.setattr("heliograph.cli.COMMANDS", (Command("try", "", "training", "try it"),))

    return install


def test_a_command_gets_its_arguments_and_gives_the_exit_code(
    install: Callable[[Behaviour], None],
) -> None:
    install(lambda arguments: int(arguments.count))

    assert main(["try", "--count", "3"]) == 3
    assert main(["try"]) == 1


def test_an_error_is_one_line_that_names_the_command(
    install: Callable[[Behaviour], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(arguments: argparse.Namespace) -> int:
        raise StorageError("cannot write models: the disk is full")

    install(fail)

    assert main(["try"]) == os.EX_IOERR
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == "heliograph try: cannot write models: the disk is full\n"


def test_an_error_of_a_server_names_the_request(
    install: Callable[[Behaviour], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(arguments: argparse.Namespace) -> int:
        raise UnavailableError("cannot reach it", request_id="r-7")

    install(fail)

    assert main(["try"]) == os.EX_UNAVAILABLE
    assert capsys.readouterr().err == "heliograph try: cannot reach it (request r-7)\n"


@pytest.mark.parametrize("error", BY_REASON.values(), ids=lambda error: error.__name__)
def test_every_error_has_an_exit_code_of_sysexits(error: type[HeliographError]) -> None:
    assert os.EX_USAGE < error.exit_code <= os.EX_CONFIG


def test_an_interrupt_ends_with_130_and_no_traceback(
    install: Callable[[Behaviour], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(arguments: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    install(interrupt)

    assert main(["try"]) == 128 + signal.SIGINT
    assert capsys.readouterr().err == ""


def test_a_package_that_a_command_misses_is_named_with_its_extra(
    install: Callable[[Behaviour], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(arguments: argparse.Namespace) -> int:
        importlib.import_module("tensorflow_of_another_planet.keras")
        return 0

    install(fail)

    assert main(["try"]) == MissingExtraError.exit_code
    assert capsys.readouterr().err == (
        "heliograph try: needs tensorflow_of_another_planet, which is not installed: "
        "pip install 'heliograph[training]'\n"
    )


def test_a_module_of_our_own_that_is_missing_is_a_bug_and_shows_as_one(
    install: Callable[[Behaviour], None],
) -> None:
    def fail(arguments: argparse.Namespace) -> int:
        importlib.import_module("heliograph.of_another_planet")
        return 0

    install(fail)

    with pytest.raises(ModuleNotFoundError):
        main(["try"])


def test_without_a_command_every_command_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([])

    assert caught.value.code == 0
    output = capsys.readouterr().out
    for command in COMMANDS:
        assert command.name in output
        assert command.summary in output


def test_a_command_that_does_not_exist_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["server"])

    assert caught.value.code == 2
    assert "invalid choice: 'server'" in capsys.readouterr().err


def test_help_keeps_the_lines_of_the_examples(
    install: Callable[[Behaviour], None], capsys: pytest.CaptureFixture[str]
) -> None:
    install(lambda arguments: 0)

    with pytest.raises(SystemExit) as caught:
        main(["try", "--help"])

    assert caught.value.code == 0
    assert "examples:\n  heliograph try --count 2\n" in capsys.readouterr().out


def test_options_cannot_be_abbreviated(
    install: Callable[[Behaviour], None], capsys: pytest.CaptureFixture[str]
) -> None:
    install(lambda arguments: 0)

    with pytest.raises(SystemExit) as caught:
        main(["try", "--cou", "2"])

    assert caught.value.code == 2
    assert "--cou" in capsys.readouterr().err


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    from importlib.metadata import version

    with pytest.raises(SystemExit):
        main(["--version"])

    assert capsys.readouterr().out == f"heliograph {version('heliograph')}\n"


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\n"
        "from heliograph.cli import main\n"
        "from heliograph.cli.commands import Command\n"
        "import heliograph.cli as cli\n"
        "class Module:\n"
        "    configure = staticmethod(lambda parser: None)\n"
        "    @staticmethod\n"
        "    def run(arguments):\n"
        "        sys.stdin.read()\n"
        "        for _ in range(100_000): print('a line of output')\n"
        "        return 0\n"
        "cli.COMMANDS = (Command('try', '', '', ''),)\n"
        "Command.load = lambda self: Module\n"
        "sys.exit(main(['try']))\n"
    )
    process = subprocess.Popen(
        [sys.executable, program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    process.stdout.close()

    _, errors = process.communicate(timeout=60)

    assert (process.returncode, errors) == (0, "")


def test_the_table_imports_no_command() -> None:
    program = "import sys; import heliograph.cli.commands; print(*sorted(sys.modules))"

    modules = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()

    assert not {command.module for command in COMMANDS} & set(modules)
