"""Files below a folder or inside a zip archive, read by the same two calls."""

from __future__ import annotations

import os
import threading
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Protocol

from heliograph.errors import InvalidDatasetError


class FileTree(Protocol):
    """A tree of files."""

    @property
    def location(self) -> str:
        """Where the tree is, for messages."""

    def paths(self) -> list[PurePosixPath]:
        """Return the path of every file that is not hidden, relative to the tree, sorted."""

    def read(self, path: PurePosixPath) -> bytes:
        """Read a file; may be called from several threads.

        Raises:
            InvalidDatasetError: It cannot be read; the message is the reason alone.
        """


def open_tree(location: Path) -> FileTree:
    """Open a folder or a zip archive.

    Raises:
        InvalidDatasetError: It is neither, or cannot be read.
    """
    try:
        if location.is_dir():
            return DirectoryTree(location)
        if not location.exists():
            raise InvalidDatasetError(f"{location} does not exist; give an existing --data")
        if zipfile.is_zipfile(location):
            return ZipTree(location)
    except (OSError, zipfile.BadZipFile) as error:
        raise InvalidDatasetError(f"{location} cannot be read: {error}") from error
    raise InvalidDatasetError(f"{location} is neither a folder nor a zip archive")


class DirectoryTree:
    """Files below a folder; links to folders are followed."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def location(self) -> str:
        """The folder."""
        return str(self._root)

    def paths(self) -> list[PurePosixPath]:
        """Return the path of every file that is not hidden, relative to the folder, sorted.

        Raises:
            InvalidDatasetError: The folder, or one below it, cannot be listed.
        """
        return sorted(self._walk())

    def read(self, path: PurePosixPath) -> bytes:
        """Read a file.

        Raises:
            InvalidDatasetError: It cannot be read; the message is the reason alone.
        """
        try:
            return (self._root / path).read_bytes()
        except OSError as error:
            raise InvalidDatasetError(error.strerror or str(error)) from error

    def _walk(self) -> Iterator[PurePosixPath]:
        seen: set[str] = set()
        for folder, folders, files in os.walk(self._root, onerror=_refuse, followlinks=True):
            # A link to a folder above it would never end.
            if (real := os.path.realpath(folder)) in seen:
                folders.clear()
                continue
            seen.add(real)
            folders[:] = [name for name in folders if not _is_hidden(name)]
            below = PurePosixPath(Path(folder).relative_to(self._root).as_posix())
            yield from (below / name for name in files if not _is_hidden(name))


class ZipTree:
    """Files inside a zip archive, which is never unpacked."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._archive = zipfile.ZipFile(path)
        self._entries = {
            PurePosixPath(entry.filename): entry
            for entry in self._archive.infolist()
            if not entry.is_dir()
        }
        self._lock = threading.Lock()

    @property
    def location(self) -> str:
        """The archive."""
        return str(self._path)

    def paths(self) -> list[PurePosixPath]:
        """Return the path of every file that is not hidden, sorted."""
        return sorted(path for path in self._entries if not any(map(_is_hidden, path.parts)))

    def read(self, path: PurePosixPath) -> bytes:
        """Read a file.

        Raises:
            InvalidDatasetError: It cannot be read; the message is the reason alone.
        """
        try:
            with self._lock:
                return self._archive.read(self._entries[path])
        except (OSError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise InvalidDatasetError(f"damaged in the archive: {error}") from error


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _refuse(error: OSError) -> None:
    raise InvalidDatasetError(f"{error.filename} cannot be read: {error.strerror}")
