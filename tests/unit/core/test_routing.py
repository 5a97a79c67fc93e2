"""The routing table of a model: the highest revision counts, and nothing is changed in place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from heliograph.errors import ConfigurationError, RevisionConflictError, StorageError
from heliograph.names import LARGEST_VERSION
from heliograph.routing import (
    RoutingTable,
    create_routing,
    highest_stable,
    latest_revision,
    read_routing,
)


def write(folder: Path, **content: Any) -> None:
    (folder / f"routing.{content['revision']}.json").write_text(json.dumps(content))


def test_before_the_first_revision_there_is_no_table(tmp_path: Path) -> None:
    assert latest_revision(tmp_path) == 0
    assert read_routing(tmp_path) is None
    assert highest_stable(tmp_path) == 0
    assert read_routing(tmp_path / "gone") is None


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    table = RoutingTable(
        revision=1,
        stable=3,
        candidate=4,
        weight=0.25,
        shadow=0.5,
        version_labels={"old": 2},
        release="r-1",
    )

    create_routing(tmp_path, table)

    assert read_routing(tmp_path) == table
    assert table.versions() == (2, 3, 4)


def test_the_highest_revision_counts_by_number_not_by_name(tmp_path: Path) -> None:
    for revision, stable in ((2, 20), (9, 90), (10, 100)):
        create_routing(tmp_path, RoutingTable(revision, stable))

    assert latest_revision(tmp_path) == 10
    assert read_routing(tmp_path) == RoutingTable(10, 100)


def test_the_highest_stable_version_is_remembered_after_a_roll_back(tmp_path: Path) -> None:
    for revision, stable in ((1, 1), (2, 2), (3, 1)):
        create_routing(tmp_path, RoutingTable(revision, stable))

    assert highest_stable(tmp_path) == 2


def test_a_revision_is_written_once(tmp_path: Path) -> None:
    create_routing(tmp_path, RoutingTable(1, 1))

    with pytest.raises(RevisionConflictError, match="read it and try again"):
        create_routing(tmp_path, RoutingTable(1, 2))

    assert read_routing(tmp_path) == RoutingTable(1, 1)


def test_a_model_without_a_folder_cannot_be_routed(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot write"):
        create_routing(tmp_path / "gone", RoutingTable(1, 1))


def test_fields_of_newer_releases_are_ignored(tmp_path: Path) -> None:
    write(tmp_path, revision=1, stable=2, sticky_by="user")

    assert read_routing(tmp_path) == RoutingTable(1, 2)


@pytest.mark.parametrize(
    "name",
    ["routing.json", "routing.0.json", "routing.07.json", "routing.-1.json", "routing.٣.json",
     "routing.1.json.tmp", ".tmp-routing.9.json-ab", "routing.1.jsonx", "routing.1e3.json"],
)  # fmt: skip
def test_other_files_are_no_revisions(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("{}")

    assert latest_revision(tmp_path) == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "7",
        "\x00",
        "[" * 100_000,
        '{"revision": 2}',
        '{"stable": 1}',
        '{"revision": 3, "stable": 1}',
        '{"revision": 2, "stable": 0}',
        '{"revision": 2, "stable": -1}',
        '{"revision": 2, "stable": true}',
        '{"revision": 2, "stable": "1"}',
        '{"revision": 2, "stable": 1.0}',
        '{"revision": 2, "stable": 9223372036854775808}',
        '{"revision": 2, "stable": 1, "candidate": "2"}',
        '{"revision": 2, "stable": 1, "weight": 1.5}',
        '{"revision": 2, "stable": 1, "weight": NaN}',
        '{"revision": 2, "stable": 1, "weight": "half"}',
        '{"revision": 2, "stable": 1, "shadow": -0.1}',
        '{"revision": 2, "stable": 1, "version_labels": ["old"]}',
        '{"revision": 2, "stable": 1, "version_labels": {"old": null}}',
        '{"revision": 2, "stable": 1, "version_labels": {"old": [1]}}',
        '{"revision": 2, "stable": 1, "version_labels": {"a/b": 1}}',
    ],
)
def test_a_table_that_makes_no_sense_is_refused_and_not_passed_over(
    text: str, tmp_path: Path
) -> None:
    create_routing(tmp_path, RoutingTable(1, 1))
    (tmp_path / "routing.2.json").write_text(text)

    with pytest.raises(ConfigurationError, match=r"cannot read the routing table .*routing\.2"):
        read_routing(tmp_path)


def test_a_table_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "routing.1.json").write_bytes(b"\xff\xfe")

    with pytest.raises(ConfigurationError, match="cannot read the routing table"):
        read_routing(tmp_path)


def test_a_folder_that_cannot_be_read_is_not_one_without_revisions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_routing(tmp_path, RoutingTable(1, 1))

    def denied(self: Path) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", denied)

    with pytest.raises(ConfigurationError, match="Permission denied"):
        latest_revision(tmp_path)


def test_the_largest_version_can_be_stable(tmp_path: Path) -> None:
    write(tmp_path, revision=1, stable=LARGEST_VERSION)

    assert read_routing(tmp_path) == RoutingTable(1, LARGEST_VERSION)
