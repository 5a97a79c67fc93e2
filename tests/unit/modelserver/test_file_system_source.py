from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from heliograph_modelserver.source import (
    FileSystemSource,
    MonitoredModel,
    VersionPolicy,
    aspired_versions,
    index_versions,
    parse_version,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FOUND = {1: "1", 2: "2", 3: "00000003", 10: "10"}


class Recorder:
    """Keeps what a source aspires."""

    def __init__(self) -> None:
        self.aspired: dict[str, dict[int, str]] = {}

    def __call__(self, name: str, versions: Mapping[int, str]) -> None:
        self.aspired[name] = dict(versions)


def specific(*versions: int) -> VersionPolicy:
    return VersionPolicy("specific", versions=frozenset(versions))


@pytest.mark.parametrize(
    ("name", "version"),
    [("1", 1), ("00000123", 123), ("0", 0), ("-7", -7), (str(2**63 - 1), 2**63 - 1)],
)
def test_a_directory_named_as_a_number_is_a_version(name: str, version: int) -> None:
    assert parse_version(name) == version


@pytest.mark.parametrize(
    "name", ["", "latest", "1.0", "v1", ".tmp-1", "1_000", "٣", str(2**63), "1-2"]
)
def test_any_other_name_is_ignored(name: str) -> None:
    assert parse_version(name) is None


def test_of_two_names_for_a_version_the_lexicographically_later_wins() -> None:
    assert index_versions(["1", "001", "01"]) == {1: "1"}


def test_latest_serves_the_highest_version_by_default() -> None:
    assert aspired_versions(VersionPolicy(), FOUND) == {10: "10"}


def test_latest_serves_as_many_versions_as_it_is_told_and_at_least_one() -> None:
    assert aspired_versions(VersionPolicy(num_versions=2), FOUND) == {10: "10", 3: "00000003"}
    assert aspired_versions(VersionPolicy(num_versions=0), FOUND) == {10: "10"}


def test_all_serves_every_version() -> None:
    assert aspired_versions(VersionPolicy("all"), FOUND) == FOUND


def test_specific_serves_those_named_that_exist() -> None:
    assert aspired_versions(specific(2, 7), FOUND) == {2: "2"}


def test_a_poll_reports_versions_with_their_directories(tmp_path: Path) -> None:
    (tmp_path / "0002").mkdir()
    (tmp_path / "notes").mkdir()
    recorder = Recorder()

    FileSystemSource(recorder, poll_wait_seconds=0).update([MonitoredModel("m", str(tmp_path))])

    assert recorder.aspired == {"m": {2: str(tmp_path / "0002")}}


def test_a_missing_base_path_leaves_its_model_as_it_was_and_the_others_are_polled(
    tmp_path: Path,
) -> None:
    (tmp_path / "here" / "1").mkdir(parents=True)
    recorder = Recorder()

    FileSystemSource(recorder, poll_wait_seconds=0).update(
        [
            MonitoredModel("gone", str(tmp_path / "gone")),
            MonitoredModel("here", str(tmp_path / "here")),
        ]
    )

    assert recorder.aspired == {"here": {1: str(tmp_path / "here" / "1")}}


def test_without_isolation_a_missing_base_path_ends_the_poll_for_all_models(
    tmp_path: Path,
) -> None:
    (tmp_path / "here" / "1").mkdir(parents=True)
    recorder = Recorder()

    FileSystemSource(recorder, poll_wait_seconds=0, isolate_models=False).update(
        [
            MonitoredModel("here", str(tmp_path / "here")),
            MonitoredModel("gone", str(tmp_path / "gone")),
        ]
    )

    assert recorder.aspired == {}


def test_an_empty_base_path_unloads_everything(tmp_path: Path) -> None:
    version = tmp_path / "1"
    version.mkdir()
    recorder = Recorder()
    source = FileSystemSource(recorder, poll_wait_seconds=0)
    source.update([MonitoredModel("m", str(tmp_path))])

    version.rmdir()
    source.poll()

    assert recorder.aspired == {"m": {}}


def test_a_model_that_is_no_longer_configured_is_no_longer_aspired(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    recorder = Recorder()
    source = FileSystemSource(recorder, poll_wait_seconds=0)
    source.update([MonitoredModel("m", str(tmp_path))])

    source.update([])

    assert recorder.aspired == {"m": {}}


def test_a_negative_poll_wait_never_looks(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    recorder = Recorder()

    FileSystemSource(recorder, poll_wait_seconds=-1).update([MonitoredModel("m", str(tmp_path))])

    assert recorder.aspired == {}


def test_a_path_that_cannot_exist_is_like_a_missing_one() -> None:
    recorder = Recorder()

    FileSystemSource(recorder, poll_wait_seconds=0).update([MonitoredModel("m", "/\0")])

    assert recorder.aspired == {}
