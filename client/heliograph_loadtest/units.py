"""Durations and shares as people write them, and figures as they read them."""

from __future__ import annotations

import argparse
import re

_SECONDS = {
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "": 1.0,
    "m": 60.0,
    "min": 60.0,
    "h": 3600.0,
}
_DURATION = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*([a-zµ]*)")


def parse_seconds(text: str) -> float:
    """Return a duration in seconds: `500ms`, `30s`, `5m`, `1h`, or a number of seconds.

    Raises:
        argparse.ArgumentTypeError: It is none of these.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None or match[2] not in _SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration; write 500ms, 30s, 5m or 1h")
    return float(match[1]) * _SECONDS[match[2]]


def parse_share(text: str) -> float:
    """Return a share from `10%`, or from a number such as 0.1.

    Raises:
        argparse.ArgumentTypeError: It is neither, or not from 0 to 1.
    """
    number = text.strip()
    percent = number.endswith("%")
    try:
        share = float(number.removesuffix("%")) / (100 if percent else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share; write 10% or 0.1")
    return share


def number(value: float) -> str:
    """Return a figure with three significant digits, or all digits of what is larger."""
    if value == 0:
        return "0"
    decimals = sum(abs(value) < limit for limit in (1, 10, 100))
    return f"{value:,.{decimals}f}"


def milliseconds(seconds: float) -> str:
    """Return seconds as a figure in milliseconds, without the unit."""
    return number(seconds * 1e3)


def duration(seconds: float) -> str:
    """Return a duration in the unit that suits it."""
    if seconds < 1:
        return f"{seconds * 1e3:.4g} ms"
    if seconds < 120:
        return f"{seconds:.4g} s"
    return f"{seconds / 60:.4g} min" if seconds < 7200 else f"{seconds / 3600:.4g} h"


def percent(share: float) -> str:
    """Return a share in percent, with the digits that matter near 0 and near 100."""
    distance = min(share, 1 - share)
    decimals = 0 if distance == 0 else 1 if distance >= 0.001 else 3
    return f"{share:.{decimals}%}"


def size(count: float) -> str:
    """Return a number of bytes in the unit that suits it."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
