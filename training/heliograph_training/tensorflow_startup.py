"""Importing TensorFlow without the lines that it writes before anyone can ask it not to.

TensorFlow 2.21 logs to the file descriptor of stderr while it is imported and when it first looks
for a GPU, some of it whatever TF_CPP_MIN_LOG_LEVEL says.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


def start_tensorflow() -> None:
    """Import TensorFlow and Keras; what they write to stderr is shown only when it fails.

    A TF_CPP_MIN_LOG_LEVEL set by the user is respected, and shows everything.
    """
    if "tensorflow" in sys.modules:
        return
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        import keras
        import tensorflow as tf

        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    with _held_back_stderr():
        import keras  # noqa: F401
        import tensorflow as tf

        tf.config.list_physical_devices()
    tf.get_logger().setLevel("ERROR")


@contextmanager
def _held_back_stderr() -> Iterator[None]:
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(original, 2)
            held.seek(0)
            os.write(2, held.read())
            raise
        finally:
            os.dup2(original, 2)
            os.close(original)
