from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[2]
DOCUMENT = TESTS.parent / "docs" / "model-server.md"


def test_every_test_that_the_document_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", DOCUMENT.read_text()))
    folders = [TESTS / "congruence", *TESTS.glob("*/modelserver")]
    existing = {
        name
        for folder in folders
        for file in folder.glob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)
    }

    assert named
    assert named <= existing, named - existing
