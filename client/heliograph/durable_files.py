"""Files that are there whole or not at all, also after kill -9 or a power cut.

A shared volume can be trusted with rename, link and O_EXCL, and with neither locks nor databases,
so these are all that the repository uses.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from heliograph.errors import StorageError

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS}


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an OSError about writing `path` into a StorageError that says what to do."""
    try:
        yield
    except OSError as error:
        advice = {
            errno.ENOSPC: "the disk is full; free some space and try again",
            errno.EDQUOT: "the disk quota is used up; free some space and try again",
            errno.EFBIG: "the file is larger than the limit of this process (ulimit -f)",
            errno.EROFS: "the file system is read-only",
            errno.EACCES: "permission denied; check the owner and mode of the folder",
        }.get(error.errno or 0, error.strerror or str(error))
        raise StorageError(f"cannot write {path}: {advice}") from error


def write_whole(path: Path, content: bytes) -> None:
    """Write or replace a file; every reader sees the old content or the new, never a mixture.

    Raises:
        StorageError: It could not be written; the old file, if any, is untouched.
    """
    with storage_errors(path):
        temporary = _write_temporary(path, content)
        try:
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)


def create_exclusively(path: Path, content: bytes) -> None:
    """Create a file that must not exist yet.

    Raises:
        FileExistsError: Somebody else created it first.
        StorageError: It could not be written, and is not there.
    """
    with storage_errors(path):
        temporary = _write_temporary(path, content)
        try:
            _link(temporary, path, content)
        except FileExistsError:
            exists = True
        else:
            exists = False
            sync_directory(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
    if exists:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


def sync_directory(path: Path) -> None:
    """Make the entries of a directory survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(root: Path) -> None:
    """Make every file and directory below `root` survive a power cut."""
    for folder, _, files in os.walk(root, topdown=False):
        for name in files:
            sync_file(Path(folder) / name)
        sync_directory(Path(folder))


def sync_file(path: Path) -> None:
    """Make the content of a file survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_temporary(path: Path, content: bytes) -> Path:
    temporary = path.with_name(f".tmp-{path.name}-{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _link(temporary: Path, path: Path, content: bytes) -> None:
    try:
        path.hardlink_to(temporary)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # Some network file systems have no hard links. O_EXCL is as exclusive; a reader may see
        # the file before its content, which it reports as unreadable and tries again.
        with path.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
