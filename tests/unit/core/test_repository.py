"""The model repository: versions appear whole, and no number is used twice."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from heliograph.errors import (
    ConfigurationError,
    InvalidModelNameError,
    ModelNotFoundError,
    StorageError,
    VersionNotFoundError,
)
from heliograph.names import LARGEST_VERSION
from heliograph.repository import Repository


def publish(root: Path, content: str = "graph", model: str = "digits") -> int:
    with Repository(root).publish(model) as staging:
        (staging.path / "saved_model.pb").write_text(content)
    return staging.version


def visible(root: Path, model: str = "digits") -> list[str]:
    """Names of a model's entries that are not hidden."""
    return sorted(path.name for path in (root / model).iterdir() if path.name[0] != ".")


def test_versions_count_from_one(tmp_path: Path) -> None:
    assert [publish(tmp_path), publish(tmp_path), publish(tmp_path)] == [1, 2, 3]
    assert Repository(tmp_path).versions("digits") == [1, 2, 3]


def test_a_version_is_invisible_until_it_is_whole(tmp_path: Path) -> None:
    with Repository(tmp_path).publish("digits") as staging:
        (staging.path / "saved_model.pb").write_text("graph")
        assert (staging.version, visible(tmp_path)) == (0, [])
        assert Repository(tmp_path).models() == []

    assert (staging.version, staging.path) == (1, tmp_path / "digits" / "1")
    assert (tmp_path / "digits" / "1" / "saved_model.pb").read_text() == "graph"


def test_a_version_can_be_read_by_other_users(tmp_path: Path) -> None:
    publish(tmp_path)

    assert (tmp_path / "digits" / "1").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_leaves_nothing_behind(failure: type[BaseException], tmp_path: Path) -> None:
    def fail() -> None:
        with Repository(tmp_path).publish("digits") as staging:
            (staging.path / "variables").mkdir()
            (staging.path / "variables" / "data").write_text("half")
            raise failure("in the middle")

    with pytest.raises(failure):
        fail()

    assert not list((tmp_path / "digits").glob(".tmp-*"))
    assert visible(tmp_path) == []


def test_a_failed_write_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "digits").write_text("a file where the model's folder should be")

    with pytest.raises(StorageError, match="cannot write"):
        publish(tmp_path)


def test_no_number_is_used_again_after_a_version_was_removed(tmp_path: Path) -> None:
    publish(tmp_path)
    publish(tmp_path)
    (tmp_path / "digits" / "2" / "saved_model.pb").unlink()
    (tmp_path / "digits" / "2").rmdir()

    assert publish(tmp_path) == 3


def test_versions_written_by_other_tools_are_counted(tmp_path: Path) -> None:
    (tmp_path / "digits" / "00000041").mkdir(parents=True)

    assert Repository(tmp_path).versions("digits") == [41]
    assert Repository(tmp_path).version_path("digits", 41).name == "00000041"
    assert publish(tmp_path) == 42


def test_of_two_folders_with_one_number_the_lexicographically_later_counts(tmp_path: Path) -> None:
    for name in ("7", "007", "07"):
        (tmp_path / "digits" / name).mkdir(parents=True)

    assert Repository(tmp_path).versions("digits") == [7]
    assert Repository(tmp_path).version_path("digits", 7).name == "7"


@pytest.mark.parametrize(
    "name", ["0", "-1", "1.0", "1a", "٣", str(LARGEST_VERSION + 1), ".tmp-1", "assets"]
)
def test_other_folders_are_no_versions(name: str, tmp_path: Path) -> None:
    (tmp_path / "digits" / name).mkdir(parents=True)

    assert Repository(tmp_path).versions("digits") == []
    assert Repository(tmp_path).models() == []


def test_a_file_is_no_version(tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / "1").write_text("not a folder")

    assert Repository(tmp_path).versions("digits") == []


def test_when_the_numbers_are_used_up_the_error_says_so(tmp_path: Path) -> None:
    (tmp_path / "digits" / str(LARGEST_VERSION)).mkdir(parents=True)

    with pytest.raises(StorageError, match="no version number left"):
        publish(tmp_path)


def test_staging_that_nobody_finished_is_removed_after_a_day(tmp_path: Path) -> None:
    publish(tmp_path)
    recent, stale = tmp_path / "digits" / ".tmp-recent", tmp_path / "digits" / ".tmp-stale"
    for folder, age in ((recent, 23 * 3600), (stale, 25 * 3600)):
        folder.mkdir()
        (folder / "saved_model.pb").write_text("half")
        os.utime(folder, (time.time() - age,) * 2)

    publish(tmp_path)

    assert recent.is_dir()
    assert not stale.exists()


def test_models_are_the_folders_with_versions(tmp_path: Path) -> None:
    publish(tmp_path, model="digits")
    publish(tmp_path, model="birds")
    (tmp_path / "empty").mkdir()
    (tmp_path / ".hidden" / "1").mkdir(parents=True)
    (tmp_path / "models.config").write_text("")

    assert Repository(tmp_path).models() == ["birds", "digits"]


def test_a_folder_whose_name_is_no_model_name_is_no_model(tmp_path: Path) -> None:
    publish(tmp_path)
    (tmp_path / "old models" / "1").mkdir(parents=True)

    assert Repository(tmp_path).models() == ["digits"]


def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    publish(tmp_path)
    publish(tmp_path)

    with pytest.raises(ModelNotFoundError, match="has no model birds"):
        Repository(tmp_path).version_path("birds", 1)
    with pytest.raises(VersionNotFoundError, match="no version 3; it has 1, 2"):
        Repository(tmp_path).version_path("digits", 3)
    assert Repository(tmp_path).versions("birds") == []


def test_a_name_never_leads_out_of_the_repository(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    repository = Repository(tmp_path / "models")

    with pytest.raises(InvalidModelNameError):
        repository.versions("..")
    with pytest.raises(InvalidModelNameError):
        publish(tmp_path / "models", model="../outside")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1"]


def test_a_repository_that_is_not_there_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="`heliograph export` makes one"):
        Repository(tmp_path / "gone").models()


def test_a_model_that_cannot_be_read_does_not_hide_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path, model="birds")
    publish(tmp_path, model="digits")
    iterdir = Path.iterdir

    def denied(self: Path) -> object:
        if self.name == "birds":
            raise PermissionError(13, "Permission denied", str(self))
        return iterdir(self)

    monkeypatch.setattr(Path, "iterdir", denied)

    assert Repository(tmp_path).models() == ["birds", "digits"]
    with pytest.raises(ConfigurationError, match=r"cannot read .*birds: Permission denied"):
        Repository(tmp_path).versions("birds")
    assert Repository(tmp_path).versions("digits") == [1]
