"""W3C trace context: the headers by which a call joins the trace of its caller."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from heliograph.errors import InvalidArgumentError

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_TRACESTATE = re.compile(r"[\x20-\x7e]{1,512}")

_CURRENT: ContextVar[tuple[tuple[str, str], ...]] = ContextVar("heliograph_trace", default=())


@contextmanager
def trace_context(traceparent: str, tracestate: str | None = None) -> Iterator[None]:
    """Send these headers with every call made inside the block, by this thread or task.

    Args:
        traceparent: As W3C Trace Context spells it: `00-<trace id>-<span id>-<flags>`.
        tracestate: Vendors' own part, passed on as it is.

    Raises:
        InvalidArgumentError: A header is malformed.
    """
    token = _CURRENT.set(trace_headers(traceparent, tracestate))
    try:
        yield
    finally:
        _CURRENT.reset(token)


def trace_headers(traceparent: str, tracestate: str | None = None) -> tuple[tuple[str, str], ...]:
    """Check the headers of a trace and return them as metadata of a call.

    Raises:
        InvalidArgumentError: A header is malformed.
    """
    if not _TRACEPARENT.fullmatch(traceparent):
        raise InvalidArgumentError(
            f"traceparent {traceparent!r} is not of the form 00-<32 hex>-<16 hex>-<2 hex>"
        )
    if tracestate is None:
        return (("traceparent", traceparent),)
    if not _TRACESTATE.fullmatch(tracestate):
        raise InvalidArgumentError("tracestate must be 1 to 512 printable ASCII characters")
    return ("traceparent", traceparent), ("tracestate", tracestate)


def current_trace_headers() -> tuple[tuple[str, str], ...]:
    """Return the headers of the innermost `trace_context` block, as metadata of a call."""
    return _CURRENT.get()
