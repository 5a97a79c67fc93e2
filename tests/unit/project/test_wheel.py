"""The wheel has every package whole, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel that a release would publish, built with what is installed."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder],
        cwd=root,
        check=True,
        capture_output=True,
    )
    (file,) = folder.glob("*.whl")
    return zipfile.ZipFile(file)


@pytest.fixture
def packages(pyproject: dict[str, Any]) -> list[Path]:
    return [
        Path(name) for name in pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    ]


def test_it_has_the_files_of_the_packages_and_no_others(
    wheel: zipfile.ZipFile, packages: list[Path], project_files: list[Path]
) -> None:
    expected = {
        str(file.relative_to(package.parent))
        for package in packages
        for file in project_files
        if file.is_relative_to(package)
    }

    built = {name for name in wheel.namelist() if ".dist-info/" not in name}

    assert built == expected


def test_every_package_of_the_repository_is_in_it(root: Path, packages: list[Path]) -> None:
    existing = {
        file.parent.relative_to(root)
        for part in ("client", "server", "training", "deploy")
        for file in (root / part).glob("*/__init__.py")
    }

    assert existing == set(packages)


def test_every_package_is_typed(wheel: zipfile.ZipFile, packages: list[Path]) -> None:
    names = wheel.namelist()

    assert [package.name for package in packages if f"{package.name}/py.typed" not in names] == []


def test_the_generated_code_and_its_types_are_in_it(wheel: zipfile.ZipFile) -> None:
    assert set(wheel.namelist()) >= {
        "heliograph/v1/classifier_pb2.py",
        "heliograph/v1/classifier_pb2.pyi",
        "heliograph/v1/classifier_pb2_grpc.py",
        "heliograph/v1/classifier_pb2_grpc.pyi",
        "heliograph/tfserving/v1/prediction_pb2.py",
    }


def test_it_needs_only_the_base_and_names_its_license(wheel: zipfile.ZipFile) -> None:
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    lines = wheel.read(name).decode().splitlines()

    unconditional = {
        line.removeprefix("Requires-Dist: ").split(">")[0]
        for line in lines
        if line.startswith("Requires-Dist: ") and "extra ==" not in line
    }
    assert unconditional == {"grpcio", "protobuf", "googleapis-common-protos"}
    assert "License-Expression: Apache-2.0" in lines
    assert f"{name.removesuffix('METADATA')}licenses/LICENSE" in wheel.namelist()
