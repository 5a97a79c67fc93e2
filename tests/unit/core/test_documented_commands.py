"""Every command in the documents is one that the command line takes."""

from __future__ import annotations

import argparse
import re
import shlex
from itertools import takewhile
from pathlib import Path

import pytest

from heliograph.cli.commands import COMMANDS

ROOT = Path(__file__).parents[3]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PLACEHOLDERS = re.compile(r"\[|…|\.\.\.|COMMAND")


def command_lines(document: Path) -> list[str]:
    """Return what follows `heliograph` in shell blocks, with continued lines joined."""
    blocks = re.findall(r"```(?:sh|bash|console)\n(.*?)```", document.read_text(), re.DOTALL)
    lines = [
        line.strip().removeprefix("$ ")
        for block in blocks
        for line in block.replace("\\\n", " ").splitlines()
    ]
    return [
        line.removeprefix("heliograph ").partition(" #")[0]
        for line in lines
        if line.startswith("heliograph ") and not PLACEHOLDERS.search(line)
    ]


EXAMPLES = [
    pytest.param(line, id=f"{document.name}: {line}")
    for document in DOCUMENTS
    for line in command_lines(document)
]


def test_the_readme_shows_commands() -> None:
    assert len(command_lines(DOCUMENTS[0])) >= 4


@pytest.mark.parametrize("line", EXAMPLES)
def test_the_command_line_takes_it(line: str) -> None:
    name, *words = takewhile(lambda word: word not in {"|", ">", "&"}, shlex.split(line))
    command = next(command for command in COMMANDS if command.name == name)
    parser = argparse.ArgumentParser(prog=name, exit_on_error=False, allow_abbrev=False)
    command.load().configure(parser)
    parser.parse_args(words)
