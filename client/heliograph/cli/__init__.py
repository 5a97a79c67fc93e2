"""The command `heliograph`: one entry point, one line for an error, exit codes of sysexits.h."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from heliograph.cli.commands import COMMANDS, Command
from heliograph.errors import HeliographError

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT, as shells have it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: Arguments after the program's name; those of the process when None.

    Returns:
        The exit code: 0, the error's own, 2 for wrong usage, or 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    command = next((known for known in COMMANDS if words and known.name == words[0]), None)
    if command is None:
        _parse_nothing(words)
        return 0
    try:
        return _run(command, words[1:])
    except HeliographError as error:
        request = f" (request {error.request_id})" if error.request_id else ""
        print(f"heliograph {command.name}: {error.message}{request}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone, as in `heliograph … | head`; keep Python from
        # complaining about it once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(command: Command, words: list[str]) -> int:
    module = command.load()
    parser = argparse.ArgumentParser(
        prog=f"heliograph {command.name}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.configure(parser)
    arguments = parser.parse_args(words)
    try:
        return module.run(arguments)
    except ModuleNotFoundError as error:
        raise command.missing(error) from error


def _parse_nothing(words: list[str]) -> None:
    width = max(len(command.name) for command in COMMANDS)
    table = "\n".join(
        f"  {command.name:<{width}}  {command.summary}"
        + (f"  [{command.extra}]" if command.extra else "")
        for command in COMMANDS
    )
    parser = argparse.ArgumentParser(
        prog="heliograph",
        description="Image classifiers from a training run to a production gRPC endpoint.",
        epilog=(
            f"commands, with the extra that each needs:\n{table}\n\n"
            "heliograph COMMAND --help explains a command; pip install 'heliograph[EXTRA]' brings "
            "an extra, 'heliograph[all]' everything."
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action="version", version=f"heliograph {version('heliograph')}"
    )
    parser.add_argument(
        "command", choices=[command.name for command in COMMANDS], metavar="COMMAND"
    )
    parser.parse_args(words or ["--help"])
