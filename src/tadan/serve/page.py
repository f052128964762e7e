"""The page at ``/``: files that come with the package, and the weights with which browsers decode."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from tadan.errors import TadanError
from tadan.models import find_model, load_model
from tadan.models.lite import find_lite
from tadan.serve.negotiate import matches
from tadan.serve.pool import Problem
from tadan.serve.store import etag_of

if TYPE_CHECKING:
    from tadan.serve.app import Service

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".wasm": "application/wasm",
}
#: The last three are built from ``web/`` (docs/browser.md).
FILES = ("index.html", "page.js", "page.css", "tadan-polyfill.js", "tadan.wasm", "tadan-scalar.wasm")
_FOREVER = {"Cache-Control": "public, max-age=31536000, immutable"}  # an id names its content


def router(service: Service) -> APIRouter:
    """The routes: the page and what it loads, and weights by content id."""
    routes = APIRouter(include_in_schema=False)
    folder = files("tadan.serve") / "site"
    for name in FILES:
        data = (folder / name).read_bytes()
        kind = _KINDS[name[name.rindex(".") :]]
        routes.add_api_route("/" if name == "index.html" else f"/{name}", _giver(data, kind), methods=["GET", "HEAD"])

    @routes.get("/weights/{name}.safetensors")
    async def weights(name: str) -> Response:
        if not re.fullmatch("[0-9a-f]{32}(-lite)?", name):
            raise Problem(404, "ModelMissing", "weights are named by the 32 hexadecimal digits of a model's id")
        try:
            data = await run_in_threadpool(_weights, name, service.settings.model)
        except TadanError as error:
            raise Problem(404, "ModelMissing", f"model {name} is not installed at this service") from error
        return Response(data, media_type="application/octet-stream", headers=_FOREVER)

    return routes


@lru_cache(maxsize=2)
def _weights(name: str, own: str | None) -> bytes:
    """The decoder of the service's own or of an installed model, or its lite decoder, as a model file."""
    model, wanted = load_model(own), name.removesuffix("-lite")
    found = model if model.id_hex == wanted else find_model(bytes.fromhex(wanted))
    shown = found.decoder_only() if wanted == name else find_lite(found).with_latents_of(found)
    return shown.to_bytes()


def _giver(data: bytes, kind: str) -> Callable[[Request], Awaitable[Response]]:
    etag = etag_of(data)
    headers = {"ETag": etag, "Cache-Control": "no-cache"}

    async def give(request: Request) -> Response:
        if matches(request.headers.get("if-none-match"), etag):
            return Response(status_code=304, headers=headers)
        return Response(data, media_type=kind, headers=headers)

    return give
