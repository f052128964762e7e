"""The page at ``/``: files that come with the package."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

from tadan.serve.negotiate import matches
from tadan.serve.store import etag_of

if TYPE_CHECKING:
    from tadan.serve.app import Service

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
}
_FILES = ("index.html", "page.js", "page.css")


def router(_service: Service) -> APIRouter:
    """The routes: the page and what it loads."""
    routes = APIRouter(include_in_schema=False)
    folder = files("tadan.serve") / "site"
    for name in _FILES:
        data = (folder / name).read_bytes()
        kind = _KINDS[name[name.rindex(".") :]]
        routes.add_api_route("/" if name == "index.html" else f"/{name}", _giver(data, kind), methods=["GET", "HEAD"])
    return routes


def _giver(data: bytes, kind: str) -> Callable[[Request], Awaitable[Response]]:
    etag = etag_of(data)
    headers = {"ETag": etag, "Cache-Control": "no-cache"}

    async def give(request: Request) -> Response:
        if matches(request.headers.get("if-none-match"), etag):
            return Response(status_code=304, headers=headers)
        return Response(data, media_type=kind, headers=headers)

    return give
