"""Every requirement has a pin, an oldest version that is tested, and a reason."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version


def requirements_of(pyproject: dict[str, Any]) -> list[Requirement]:
    """Return what users and developers of the project install by name."""
    project = pyproject["project"]
    texts = [
        *project["dependencies"],
        *(text for texts in project["optional-dependencies"].values() for text in texts),
        *pyproject["dependency-groups"]["dev"],
    ]
    requirements = [Requirement(text) for text in texts]
    return [each for each in requirements if each.name != project["name"]]


def read_requirements(path: Path) -> list[Requirement]:
    lines = [line.split("#")[0].strip() for line in path.read_text().splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith("-")]


def pins(path: Path) -> dict[str, Version]:
    """Return name and version of every `==` line that counts on Python 3.12."""
    result: dict[str, Version] = {}
    for requirement in read_requirements(path):
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", requirement
        marker = requirement.marker
        if marker is None or marker.evaluate({"python_version": "3.12"}):
            result[canonicalize_name(requirement.name)] = Version(specifier.version)
    return result


def test_the_lock_has_names_and_versions_and_nothing_else(root: Path) -> None:
    for line in (root / "constraints.txt").read_text().splitlines():
        assert re.fullmatch(r"#.*|[a-z0-9.-]+==[0-9][a-z0-9.]*( ; [a-z_]+ [!=<>]+ '[^']+')?", line)


def test_every_requirement_is_pinned_to_a_version_that_it_allows(
    root: Path, pyproject: dict[str, Any]
) -> None:
    locked = pins(root / "constraints.txt")

    for requirement in requirements_of(pyproject):
        version = locked[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), requirement


def test_the_oldest_versions_of_the_sdk_are_the_ones_tested(
    root: Path, pyproject: dict[str, Any]
) -> None:
    tested = pins(root / "tests" / "environments" / "sdk-oldest.txt")
    declared = {}
    for text in pyproject["project"]["dependencies"]:
        requirement = Requirement(text)
        (specifier,) = requirement.specifier
        assert specifier.operator == ">="
        declared[canonicalize_name(requirement.name)] = Version(specifier.version)

    assert {name: tested[name] for name in declared} == declared


def test_the_newest_versions_of_the_sdk_are_the_locked_ones(
    root: Path, pyproject: dict[str, Any]
) -> None:
    path = root / "tests" / "environments" / "sdk-newest.txt"
    declared = {Requirement(text).name for text in pyproject["project"]["dependencies"]}

    assert {requirement.name for requirement in read_requirements(path)} >= declared
    assert "-c ../../constraints.txt" in path.read_text().splitlines()


def test_contributing_gives_a_reason_for_every_requirement(
    root: Path, pyproject: dict[str, Any]
) -> None:
    rows = re.findall(
        r"^\| (`[^|]+) \| ([^|]+) \|", (root / "CONTRIBUTING.md").read_text(), re.MULTILINE
    )
    explained = {
        canonicalize_name(name): reason.strip()
        for names, reason in rows
        for name in re.findall(r"`([^`]+)`", names)
    }
    required = {canonicalize_name(requirement.name) for requirement in requirements_of(pyproject)}
    required |= {
        canonicalize_name(requirement.name)
        for requirement in read_requirements(root / "protos" / "requirements.txt")
    }

    assert required - explained.keys() == set()
    assert all(explained[name] for name in required)


@pytest.mark.parametrize(
    "extra", ["image", "gateway", "loadtest", "modelserver", "training", "web"]
)
def test_the_extra_all_has_every_part(extra: str, pyproject: dict[str, Any]) -> None:
    (everything,) = pyproject["project"]["optional-dependencies"]["all"]

    assert extra in Requirement(everything).extras
