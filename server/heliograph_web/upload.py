"""An uploaded image: read as it arrives, within limits of size and time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request

from heliograph.errors import ConfigurationError, ImageTooLargeError
from heliograph.images import MAX_IMAGE_BYTES
from heliograph_web.form import ImageForm

MEBIBYTE = 1024 * 1024

_FORM_BYTES = 16 * 1024
"""Room for what surrounds the image in the form: boundaries, headers, other fields."""
_DISCARDED_BYTES = 32 * MEBIBYTE
"""How much of a body that is too large is still read."""


@dataclass(frozen=True)
class UploadLimits:
    """How much may be uploaded, and in what time."""

    max_bytes: int = 10 * MEBIBYTE
    """Largest image in bytes; the gateway has a limit of its own."""
    seconds: float = 60.0
    """Time from the headers of a request to the end of its body."""

    def __post_init__(self) -> None:
        if not 1 <= self.max_bytes <= MAX_IMAGE_BYTES:
            raise ConfigurationError(
                f"the largest image has {self.max_bytes} bytes; use 1 to {MAX_IMAGE_BYTES}"
            )
        if not 0 < self.seconds < math.inf:
            raise ConfigurationError(f"an upload has {self.seconds} s; use seconds above 0")


async def read_image(request: Request, limits: UploadLimits) -> bytes:
    """Return the image of an uploaded form.

    No more than the limit is held in memory, whatever is sent.

    Raises:
        InvalidArgumentError: The body is no such form, or has no image in it.
        ImageTooLargeError: The image has more bytes than the limit.
        HTTPException: 408 when the body does not arrive in time.
    """
    form = ImageForm(request.headers.get("content-type", ""))
    try:
        async with asyncio.timeout(limits.seconds), aclosing(_body(request, limits)) as body:
            async for chunk in body:
                form.write(chunk)
    except TimeoutError as error:
        raise HTTPException(408, f"the upload took longer than {limits.seconds:g} s") from error
    image = form.image()
    if len(image) > limits.max_bytes:
        raise _too_large(limits)
    return image


async def _body(request: Request, limits: UploadLimits) -> AsyncGenerator[bytes, None]:
    """Yield the body of a request up to what the limit leaves room for.

    What exceeds that is read and thrown away for a while: a client that is cut off in the middle
    of sending sees a broken connection instead of the answer.
    """
    room = limits.max_bytes + _FORM_BYTES
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > room + _DISCARDED_BYTES:
        raise _too_large(limits)
    received = 0
    async with aclosing(request.stream()) as stream:
        async for chunk in stream:
            received += len(chunk)
            if received <= room:
                yield chunk
            elif received > room + _DISCARDED_BYTES:
                break
    if received > room:
        raise _too_large(limits)


def _too_large(limits: UploadLimits) -> ImageTooLargeError:
    return ImageTooLargeError(
        f"the image has more than {limits.max_bytes / MEBIBYTE:.3g} MiB ({limits.max_bytes} bytes)"
    )
