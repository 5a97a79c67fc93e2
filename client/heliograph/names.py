"""What a model, a version and a version label may be called.

Names become directories, metric labels and parts of error messages, so they are checked before
anything else is done with them.
"""

from __future__ import annotations

import re

from heliograph.errors import InvalidModelNameError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", re.ASCII)
_LONGEST_ECHO = 64
LARGEST_VERSION = 2**63 - 1
"""TensorFlow Serving parses version directories as int64."""


def check_model_name(name: str) -> str:
    """Return the name of a model.

    Raises:
        InvalidModelNameError: It is not 1 to 128 letters, digits, `_`, `-` or `.`, the first a
            letter or digit.
    """
    return _check("model name", name)


def is_name(text: str) -> bool:
    """Return whether a model or a version label may be called so."""
    return _NAME.fullmatch(text) is not None


def check_version_label(label: str) -> str:
    """Return a version label; the rules and the error are those of a model name."""
    return _check("version label", label)


def check_version(version: int) -> int:
    """Return a version number.

    Raises:
        InvalidModelNameError: It is not in 1 … 2⁶³ − 1.
    """
    if not 1 <= version <= LARGEST_VERSION:
        raise InvalidModelNameError(f"version {version} is not in 1 … {LARGEST_VERSION}")
    return version


def _check(what: str, name: str) -> str:
    if not is_name(name):
        shown = ascii(name if len(name) <= _LONGEST_ECHO else name[:_LONGEST_ECHO] + "…")
        raise InvalidModelNameError(
            f"{shown} is no {what}: 1 to 128 letters, digits, '_', '-' or '.', "
            "the first a letter or digit"
        )
    return name
