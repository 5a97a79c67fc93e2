"""The manifest of a version: every file, by size and SHA-256."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from heliograph.errors import CorruptVersionError
from heliograph.manifest import MANIFEST_PATH, verify_manifest, write_manifest


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """A version with its manifest."""
    for name, content in (
        ("saved_model.pb", b"graph"),
        ("variables/variables.index", b""),
        ("assets.extra/heliograph/contract.json", b"{}"),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    write_manifest(tmp_path)
    return tmp_path


def test_an_untouched_version_matches(version: Path) -> None:
    manifest = verify_manifest(version)

    assert [file.path for file in manifest.files] == [
        "assets.extra/heliograph/contract.json",
        "saved_model.pb",
        "variables/variables.index",
    ]
    graph = manifest.files[1]
    assert (graph.size, graph.sha256) == (5, hashlib.sha256(b"graph").hexdigest())


def test_the_manifest_can_be_written_again(version: Path) -> None:
    (version / "saved_model.pb").write_bytes(b"another graph")

    write_manifest(version)

    verify_manifest(version)


def test_an_empty_folder_does_not_matter(version: Path) -> None:
    (version / "assets").mkdir()

    verify_manifest(version)


def _missing(version: Path) -> None:
    (version / "variables" / "variables.index").unlink()


def _added(version: Path) -> None:
    (version / "variables" / "more").write_bytes(b"")


def _changed(version: Path) -> None:
    (version / "saved_model.pb").write_bytes(b"grapH")


def _truncated(version: Path) -> None:
    (version / "saved_model.pb").write_bytes(b"")


def _without_manifest(version: Path) -> None:
    (version / MANIFEST_PATH).unlink()


def _torn_manifest(version: Path) -> None:
    path = version / MANIFEST_PATH
    path.write_bytes(path.read_bytes()[:-20])


def _binary_manifest(version: Path) -> None:
    (version / MANIFEST_PATH).write_bytes(b"\xff\xfe")


def _empty_manifest(version: Path) -> None:
    (version / MANIFEST_PATH).write_text("{}")


def _other_path(version: Path) -> None:
    path = version / MANIFEST_PATH
    content = json.loads(path.read_text())
    content["files"][1]["path"] = "../outside"
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_missing, "lacks variables/variables.index"),
        (_added, "has variables/more, which its manifest does not"),
        (_changed, "saved_model.pb differs from the manifest"),
        (_truncated, "saved_model.pb differs from the manifest"),
        (_without_manifest, "no readable manifest"),
        (_torn_manifest, "no readable manifest"),
        (_binary_manifest, "no readable manifest"),
        (_empty_manifest, "has assets.extra/heliograph/contract.json, which"),
        (_other_path, "lacks ../outside"),
    ],
)
def test_a_version_that_differs_is_corrupt(
    spoil: Callable[[Path], None], message: str, version: Path
) -> None:
    spoil(version)

    with pytest.raises(CorruptVersionError) as caught:
        verify_manifest(version)

    assert message in caught.value.message


def test_a_file_that_cannot_be_read_makes_the_version_corrupt(
    version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(file: object, name: str) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(hashlib, "file_digest", broken)

    with pytest.raises(CorruptVersionError, match=r"cannot read .*: Input/output error"):
        verify_manifest(version)
