"""Errors as a browser or a script sees them: an HTTP status and a JSON document.

The document is `{"error": message, "reason": REASON}`, with `request_id` where a server logged one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from heliograph.errors import HeliographError, ImageTooLargeError, UnsupportedImageFormatError

HTTP_STATUS: Mapping[str, int] = MappingProxyType(
    {
        "INVALID_ARGUMENT": 400,
        "OUT_OF_RANGE": 400,
        "NOT_FOUND": 404,
        "ALREADY_EXISTS": 409,
        "ABORTED": 409,
        "RESOURCE_EXHAUSTED": 429,
        "CANCELLED": 499,
        "UNKNOWN": 500,
        "INTERNAL": 500,
        "DATA_LOSS": 500,
        "UNIMPLEMENTED": 501,
        # The gateway refuses the token or certificate of this server: no caller can mend that.
        "UNAUTHENTICATED": 502,
        "PERMISSION_DENIED": 502,
        # The model is in no state to answer, whatever the caller sends.
        "FAILED_PRECONDITION": 503,
        "UNAVAILABLE": 503,
        "DEADLINE_EXCEEDED": 504,
    }
)
"""HTTP status of every gRPC status but OK.

As in `google/rpc/code.proto`, but for the three that say more about this server than about the
request. 499 is not registered; a caller who has cancelled does not read it.
"""

_CLOSER: Mapping[str, int] = MappingProxyType(
    {ImageTooLargeError.reason: 413, UnsupportedImageFormatError.reason: 415}
)
"""Reasons for which HTTP has a status of its own."""


def http_status(error: HeliographError) -> int:
    """Return the HTTP status that fits an error."""
    return _CLOSER.get(error.reason, HTTP_STATUS[error.status])


def error_answer(error: HeliographError) -> Response:
    """Return the answer to a request that failed with an error."""
    document = {"error": error.message, "reason": error.reason}
    if error.request_id:
        document["request_id"] = error.request_id
    headers = None
    if error.retry_after is not None:
        headers = {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
    return JSONResponse(document, http_status(error), headers)


async def answer_error(_: Request, error: Exception) -> Response:
    """Answer a HeliographError."""
    assert isinstance(error, HeliographError)
    return error_answer(error)


async def answer_http_error(_: Request, error: Exception) -> Response:
    """Answer an error of HTTP itself, such as an unknown path; its reason is the status's name."""
    assert isinstance(error, HTTPException)
    reason = HTTPStatus(error.status_code).name
    return JSONResponse({"error": error.detail, "reason": reason}, error.status_code, error.headers)


async def answer_fault(_: Request, __: Exception) -> Response:
    """Answer what nobody expected. Starlette raises the exception again, and the server logs it."""
    return JSONResponse(
        {"error": "a fault of the web server; its log says more", "reason": "INTERNAL"}, 500
    )
