"""TensorFlow's errors about files, as errors that say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from heliograph.durable_files import storage_errors
from heliograph.errors import StorageError

_ADVICE = {
    "No space left on device": "the disk is full; free some space and try again",
    "Disk quota exceeded": "the disk quota is used up; free some space and try again",
    "File too large": "the file is larger than the limit of this process (ulimit -f)",
    "Read-only file system": "the file system is read-only",
    "Permission denied": "permission denied; check the owner and mode of the folder",
}


@contextmanager
def tensorflow_storage_errors(path: Path) -> Iterator[None]:
    """Turn errors of TensorFlow and of Python about writing below `path` into a StorageError."""
    import tensorflow as tf

    try:
        with storage_errors(path):
            yield
    except tf.errors.OpError as error:
        for words, advice in _ADVICE.items():
            if words in error.message:
                raise StorageError(f"cannot write {path}: {advice}") from error
        raise
