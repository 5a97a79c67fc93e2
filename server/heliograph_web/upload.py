"""An uploaded image: read as it arrives, within limits of size and time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from heliograph.errors import ImageTooLargeError, InvalidArgumentError

FIELD = "image"
"""Field of the form that carries the image."""

MEBIBYTE = 1024 * 1024

_FORM_BYTES = 16 * 1024
"""Room for what surrounds the image in the form: boundaries, headers, other fields."""
_DISCARDED_BYTES = 32 * MEBIBYTE
"""How much of a body that is too large is still read."""
_USAGE = f"send the image as the file {FIELD!r} of a multipart/form-data form"


@dataclass(frozen=True)
class UploadLimits:
    """How much may be uploaded, and in what time."""

    max_bytes: int = 10 * MEBIBYTE
    """Largest image in bytes; the gateway has a limit of its own."""
    seconds: float = 60.0
    """Time from the headers of a request to the end of its body."""


async def read_image(request: Request, limits: UploadLimits) -> bytes:
    """Return the image of an uploaded form.

    No more than the limit is held in memory, whatever is sent.

    Raises:
        InvalidArgumentError: The body is no such form, or has no image in it.
        ImageTooLargeError: The image has more bytes than the limit.
        HTTPException: 408 when the body does not arrive in time.
    """
    content_type = request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != "multipart/form-data":
        raise InvalidArgumentError(_USAGE)
    room = limits.max_bytes + _FORM_BYTES
    parser = MultiPartParser(
        request.headers, _within(request, room, limits.max_bytes), max_files=1, max_fields=8
    )
    # Files stay in memory, which the limit bounds, and never touch a disk.
    parser.spool_max_size = room
    try:
        async with asyncio.timeout(limits.seconds):
            form = await parser.parse()
    except TimeoutError as error:
        raise HTTPException(408, f"the upload took longer than {limits.seconds:g} s") from error
    except MultiPartException as error:
        raise InvalidArgumentError(f"the form cannot be read; {_USAGE}") from error
    image = form.get(FIELD)
    if not isinstance(image, UploadFile):
        raise InvalidArgumentError(f"the form has no file {FIELD!r}; {_USAGE}")
    content = await image.read()
    if len(content) > limits.max_bytes:
        raise _too_large(limits.max_bytes)
    return content


async def _within(request: Request, room: int, max_bytes: int) -> AsyncGenerator[bytes, None]:
    """Yield the body, up to `room` bytes of it.

    What exceeds that is read and thrown away for a while: a client that is cut off in the middle
    of sending sees a broken connection instead of the answer.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > room + _DISCARDED_BYTES:
        raise _too_large(max_bytes)
    received = 0
    async with aclosing(request.stream()) as stream:
        async for chunk in stream:
            received += len(chunk)
            if received <= room:
                yield chunk
            elif received > room + _DISCARDED_BYTES:
                break
    if received > room:
        raise _too_large(max_bytes)


def _too_large(max_bytes: int) -> ImageTooLargeError:
    return ImageTooLargeError(f"the image has more than {max_bytes / MEBIBYTE:g} MiB")
