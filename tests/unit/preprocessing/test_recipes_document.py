"""docs/recipes.md says what is true: its recipes parse, its example runs, no step is missing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from heliograph.errors import BY_REASON
from heliograph.preprocessing import RECIPE_VERSION, ImageLimits, parse_recipe
from heliograph.preprocessing.jpeg import MAX_SCANS
from heliograph.preprocessing.recipe import MAX_LENGTH
from heliograph.preprocessing.steps import STEPS

DOCUMENT = (Path(__file__).parents[3] / "docs" / "recipes.md").read_text()


def test_every_step_has_a_row() -> None:
    rows = re.findall(r"^\| `([a-z_]+)[(`]", DOCUMENT, re.MULTILINE)
    assert set(rows) >= set(STEPS)


def test_every_recipe_parses_and_is_canonical() -> None:
    blocks = re.findall(r"```recipe\n(.*?)\n```", DOCUMENT)
    cells = re.findall(r"^\|.*\| `((?:decode|bytes)[^`]*)` \|$", DOCUMENT, re.MULTILINE)
    assert len(blocks) + len(cells) > 8
    for text in (*blocks, *(cell.replace("\\|", "|") for cell in cells)):
        assert str(parse_recipe(text)) == text


def test_the_example_prints_what_it_says(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example = re.search(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    assert example is not None
    exec(example[1], {"path": images / "photo_420.jpg"})
    printed = capsys.readouterr().out.splitlines()
    assert printed[:-1] == re.findall(r"  # (.*)", example[1])


def test_every_number_is_the_one_in_the_code() -> None:
    limits = ImageLimits()
    assert f"recipe version {RECIPE_VERSION}" in DOCUMENT
    assert f"more than {MAX_SCANS} scans" in DOCUMENT
    assert f"at most {MAX_LENGTH}\n" in DOCUMENT
    assert f"| {limits.max_bytes // 2**20} MiB |" in DOCUMENT
    assert f"`max_pixels` | {limits.max_pixels:,} |" in DOCUMENT
    assert f"`max_side` | {limits.max_side:,} |" in DOCUMENT
    assert f"`formats` | {', '.join(limits.formats)} |" in DOCUMENT


def test_every_reason_exists() -> None:
    reasons = set(re.findall(r"`([A-Z]+_[A-Z_]+)`", DOCUMENT)) - {"INVALID_ARGUMENT"}
    assert reasons
    assert reasons <= set(BY_REASON)
