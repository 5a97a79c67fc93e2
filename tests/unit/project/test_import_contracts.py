"""import-linter notices when a part imports what it must not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PARTS = ("client", "server", "training")


@pytest.fixture
def copy_of_the_packages(root: Path, tmp_path: Path) -> Path:
    for part in PARTS:
        shutil.copytree(
            root / part,
            tmp_path / part,
            ignore=lambda folder, names: [
                name
                for name in names
                if not name.endswith(".py") and not (Path(folder) / name).is_dir()
            ],
        )
    shutil.copy(root / "pyproject.toml", tmp_path)
    return tmp_path


def check_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter over the packages below `folder`, not over the installed ones."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(folder / part) for part in PARTS)}
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )


def test_the_packages_keep_the_contracts(copy_of_the_packages: Path) -> None:
    result = check_imports(copy_of_the_packages)

    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("module", "imported", "contract"),
    [
        (
            "client/heliograph/errors.py",
            "heliograph_gateway",
            "The SDK imports none of the other parts",
        ),
        ("client/heliograph/errors.py", "tensorflow", "The SDK imports none of the other parts"),
        (
            "server/heliograph_modelserver/__init__.py",
            "heliograph_training",
            "The other parts do not know each other",
        ),
        (
            "server/heliograph_gateway/__init__.py",
            "tensorflow_serving",
            "Gateway, web and load test never import TensorFlow",
        ),
        (
            "server/heliograph_web/__init__.py",
            "keras",
            "Gateway, web and load test never import TensorFlow",
        ),
    ],
)
def test_a_forbidden_import_is_noticed(
    module: str, imported: str, contract: str, copy_of_the_packages: Path
) -> None:
    with (copy_of_the_packages / module).open("a") as file:
        file.write(f"\nimport {imported}\n")

    result = check_imports(copy_of_the_packages)

    assert result.returncode != 0
    assert f"{contract} BROKEN" in result.stdout
