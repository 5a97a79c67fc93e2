"""What protects a page on somebody's own machine from the other pages in their browser.

A page elsewhere can make the browser call this server: under a name of its own that it resolves to
127.0.0.1 (DNS rebinding), or by a form or script that posts across sites. The first is told by the
Host header, the second by Sec-Fetch-Site, or Origin in browsers that do not send it.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
"""Names under which a browser on the same machine calls."""

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class SecurityHeaders:
    """Adds the headers that tell a browser what the page may do: nothing beyond this server."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class SameSiteOnly:
    """Refuses requests under a foreign name, and posts that come from another site's page."""

    def __init__(self, app: ASGIApp, allowed_hosts: Collection[str] | None) -> None:
        """Guard an application.

        Args:
            app: The application.
            allowed_hosts: Names and addresses, without ports, that a Host header may carry; None
                allows all.
        """
        self._app = app
        self._allowed_hosts = allowed_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if not self._is_allowed_host(headers.get("host", "")):
            await JSONResponse(
                {
                    "error": "this server does not answer under the name that the Host header "
                    "carries; start it with --allow-host NAME if it should",
                    "reason": "MISDIRECTED_REQUEST",
                },
                421,
            )(scope, receive, send)
        elif scope["method"] not in _SAFE_METHODS and _is_cross_site(headers):
            await JSONResponse(
                {"error": "another site's page may not call this server", "reason": "CROSS_SITE"},
                403,
            )(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_allowed_host(self, host: str) -> bool:
        if self._allowed_hosts is None:
            return True
        return _host_name(f"//{host}") in self._allowed_hosts


def _is_cross_site(headers: Headers) -> bool:
    """Tell from what browsers add to a request; programs that are not browsers send neither."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    if origin is None:
        return False
    # A proxy in front may have ended TLS: the schemes may differ, the authority may not.
    try:
        return urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
    except ValueError:
        return True


def _host_name(url: str) -> str | None:
    """Return the host of a URL in lower case, without port and brackets; None when malformed."""
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
