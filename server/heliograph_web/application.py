"""The web application as a whole: one function puts the parts together, in reading order."""

from __future__ import annotations

from collections.abc import Collection

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp

from heliograph import AsyncClient, HeliographError
from heliograph_web.endpoints import Endpoints
from heliograph_web.error_answers import answer_error, answer_fault, answer_http_error
from heliograph_web.pages import page_routes
from heliograph_web.protection import LOOPBACK_HOSTS, SameSiteOnly, SecurityHeaders
from heliograph_web.upload import UploadLimits

DEFAULT_LIMITS = UploadLimits()


def create_application(
    client: AsyncClient,
    *,
    model: str | None = None,
    limits: UploadLimits = DEFAULT_LIMITS,
    allowed_hosts: Collection[str] | None = LOOPBACK_HOSTS,
) -> ASGIApp:
    """Return the web application.

    Args:
        client: Client of the gateway; it stays the caller's to close.
        model: Model asked where a request names none; None for the only one served.
        limits: Limits of an upload.
        allowed_hosts: Names, without ports, that a Host header may carry; None allows all.
    """
    application = Starlette(
        routes=[*page_routes(), *Endpoints(client, model=model, limits=limits).routes()],
        exception_handlers={
            HeliographError: answer_error,
            HTTPException: answer_http_error,
            ClientDisconnect: _answer_nobody,
            Exception: answer_fault,
        },
    )
    return SecurityHeaders(SameSiteOnly(application, allowed_hosts))


async def _answer_nobody(_: Request, __: Exception) -> Response:
    """End a request whose client has gone, without a traceback in the log."""
    return Response(status_code=499)
