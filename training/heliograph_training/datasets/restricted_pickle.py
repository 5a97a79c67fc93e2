"""Pickle files of arrays, read without the power that pickle gives to their author.

A pickle can name any function to be called. This reader knows only what rebuilds a NumPy array and
refuses every other name.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

from heliograph.errors import InvalidDatasetError

_ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("_codecs", "encode"),
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return one of the few things that arrays are made of."""
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no array needs")
        if name == "_reconstruct":
            return np.ndarray.__reduce__(np.empty(0))[0]
        return super().find_class(module, name)


def load_restricted(content: bytes) -> Any:
    """Load a pickle of arrays, lists, dictionaries, numbers and strings.

    Strings of Python 2 become bytes.

    Raises:
        InvalidDatasetError: The pickle is damaged, or asks for anything else.
    """
    try:
        return _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:
        # A damaged pickle raises nearly anything.
        raise InvalidDatasetError(f"not a pickle of arrays: {error}") from error
