"""The files of the page, read once and served from memory."""

from __future__ import annotations

import hashlib
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_MEDIA_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_START = "index.html"


def page_routes() -> list[Route]:
    """Return a route for every file of `page/`; `index.html` is `/`."""
    folder = files("heliograph_web") / "page"
    return [
        Route(
            "/" if file.name == _START else f"/page/{file.name}",
            _File(file.read_bytes(), _MEDIA_TYPES[file.name.rpartition(".")[2]]).answer,
            methods=["GET"],
        )
        for file in sorted(folder.iterdir(), key=lambda file: file.name)
        if file.name.rpartition(".")[2] in _MEDIA_TYPES
    ]


class _File:
    """Answers with one file; a browser that has it already is told so."""

    def __init__(self, content: bytes, media_type: str) -> None:
        self._content = content
        self._headers = {
            "Cache-Control": "no-cache",
            "Content-Type": media_type,
            "ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"',
        }

    async def answer(self, request: Request) -> Response:
        """Answer a request for the file."""
        if request.headers.get("if-none-match") == self._headers["ETag"]:
            return Response(status_code=304, headers=self._headers)
        return Response(self._content, headers=self._headers)
