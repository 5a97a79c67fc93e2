"""The manifest of a version: size and SHA-256 of every file, written last."""

from __future__ import annotations

import hashlib
from pathlib import Path

from google.protobuf import json_format

from heliograph.durable_files import write_whole
from heliograph.errors import CorruptVersionError
from heliograph.v1.contract_pb2 import Manifest, ManifestFile

MANIFEST_PATH = Path("assets.extra/heliograph/manifest.json")
"""Below the version's directory."""


def write_manifest(version_directory: Path) -> Manifest:
    """Write the manifest of a version whose other files are complete.

    Raises:
        StorageError: It could not be written.
    """
    manifest = Manifest(
        files=[_describe(version_directory, path) for path in _files(version_directory)]
    )
    text = json_format.MessageToJson(manifest, preserving_proto_field_name=True)
    write_whole(version_directory / MANIFEST_PATH, text.encode())
    return manifest


def verify_manifest(version_directory: Path) -> Manifest:
    """Compare the files of a version with its manifest.

    Raises:
        CorruptVersionError: There is no manifest, or a file is missing, added or changed.
    """
    try:
        text = (version_directory / MANIFEST_PATH).read_bytes()
        manifest = json_format.Parse(text, Manifest(), ignore_unknown_fields=True)
    except (OSError, json_format.ParseError, UnicodeDecodeError) as error:
        raise CorruptVersionError(
            f"{version_directory} has no readable manifest: {error}"
        ) from error
    promised = {file.path: file for file in manifest.files}
    actual = {path.relative_to(version_directory).as_posix() for path in _files(version_directory)}
    for path in sorted(promised.keys() | actual):
        if path not in actual:
            raise CorruptVersionError(f"{version_directory} lacks {path}")
        if path not in promised:
            raise CorruptVersionError(
                f"{version_directory} has {path}, which its manifest does not"
            )
        try:
            found = _describe(version_directory, version_directory / path)
        except OSError as error:
            raise CorruptVersionError(
                f"{version_directory}: cannot read {path}: {error.strerror}"
            ) from error
        if found != promised[path]:
            raise CorruptVersionError(f"{version_directory}: {path} differs from the manifest")
    return manifest


def _files(version_directory: Path) -> list[Path]:
    own = version_directory / MANIFEST_PATH
    return sorted(path for path in version_directory.rglob("*") if path.is_file() and path != own)


def _describe(version_directory: Path, path: Path) -> ManifestFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return ManifestFile(
        path=path.relative_to(version_directory).as_posix(),
        size=path.stat().st_size,
        sha256=digest,
    )
