"""The error tree: total, unambiguous, documented."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from heliograph import errors

DOCUMENT = Path(__file__).parents[3] / "docs/errors.md"
CLASSES = [
    value
    for value in vars(errors).values()
    if isinstance(value, type)
    and issubclass(value, errors.HeliographError)
    and value is not errors.HeliographError
]


def test_every_status_but_ok_has_a_class() -> None:
    statuses = {code.name for code in grpc.StatusCode} - {"OK"}
    assert set(errors.BY_STATUS) == statuses
    assert all(errors.BY_STATUS[status].status == status for status in statuses)


def test_every_reason_belongs_to_one_class() -> None:
    assert len({error.reason for error in CLASSES}) == len(CLASSES)
    assert {error.reason: error for error in CLASSES} == errors.BY_REASON


@pytest.mark.parametrize("error", CLASSES)
def test_the_document_says_what_the_class_says(error: type[errors.HeliographError]) -> None:
    summary = (error.__doc__ or "").splitlines()[0]
    cells = (f"`{error.reason}`", error.status, f"`{error.__name__}`", error.exit_code, summary)
    row = f"| {' | '.join(map(str, cells))} |"
    assert row in DOCUMENT.read_text().splitlines()


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = {
        line.strip("│├└─ ").split()[0]
        for line in (errors.__doc__ or "").splitlines()
        if "──" in line
    }
    assert drawn == {error.__name__ for error in CLASSES}
