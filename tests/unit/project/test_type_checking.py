"""mypy looks at every Python file of the repository."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def test_every_python_file_is_type_checked(
    pyproject: dict[str, Any], project_files: list[Path]
) -> None:
    checked = [Path(name) for name in pyproject["tool"]["mypy"]["files"]]

    unchecked = [
        str(file)
        for file in project_files
        if file.suffix == ".py" and not any(file.is_relative_to(path) for path in checked)
    ]

    assert pyproject["tool"]["mypy"]["strict"] is True
    assert unchecked == [], "add their folder to tool.mypy.files in pyproject.toml"
