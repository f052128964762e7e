"""IIIF Image API 3.0, level 1 (https://iiif.io/api/image/3.0/), so that viewers zoom into kept pictures of any size.

A key with '/' in it is written with %2F, as the specification asks. It arrives decoded, and is told from the right.
Far smaller views of large pictures come from an overview that is made once: of very large ones when they are put.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from tadan.serve.gallery import MISSING, OVERVIEW, Gallery, kept_header, respond, tag_of
from tadan.serve.negotiate import matches
from tadan.serve.pool import Problem
from tadan.serve.store import checked_key, etag_of
from tadan.serve.work import MEDIA_TYPES, Task, Wish

if TYPE_CHECKING:
    from tadan.serve.app import Service

PROFILE = "http://iiif.io/api/image/3/context.json"
TILE = 512  # pixels a side that viewers should ask for
DIRECT_PIXELS = 2**22  # up to here a view is decoded for itself
_FORMS = {"jpg": "jpeg", "png": "png", "webp": "webp", "avif": "avif"}
_NUMBER = r"\d{1,7}"


@dataclass(frozen=True)
class View:
    """What a request asks for, in pixels of the picture: a region, and the size that it is to have."""

    region: tuple[int, int, int, int]
    size: tuple[int, int]

    @property
    def pixels(self) -> int:
        """Of the region."""
        return self.region[2] * self.region[3]


def parsed_view(region: str, size: str, rotation: str, quality: str, width: int, height: int) -> View:
    """Read the parameters of a request; Problem 400 for what is malformed, 501 for what level 1 need not have."""
    if rotation != "0":
        raise Problem(
            501 if re.fullmatch(r"!?\d+(\.\d+)?", rotation) else 400, "Rotation", "pictures are not rotated; ask for 0"
        )
    if quality not in ("default", "color"):
        raise Problem(501 if quality in ("gray", "bitonal") else 400, "Quality", "the quality is default")
    box = _region(region, width, height)
    return View(box, _size(size, box[2], box[3]))


def _region(text: str, width: int, height: int) -> tuple[int, int, int, int]:
    if text == "full":
        return 0, 0, width, height
    if text == "square":
        side = min(width, height)
        return (width - side) // 2, (height - side) // 2, side, side
    if text.startswith("pct:"):
        raise Problem(501, "Region", "regions are in pixels here: x,y,w,h")
    if not re.fullmatch(rf"{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}", text):
        raise Problem(400, "Region", "a region is full, square, or x,y,w,h in pixels")
    x, y, w, h = (int(word) for word in text.split(","))
    w, h = min(w, width - x), min(h, height - y)
    if w <= 0 or h <= 0:
        raise Problem(400, "Region", f"the region has no pixel of a picture of {width}x{height}")
    return x, y, w, h


def _size(text: str, width: int, height: int) -> tuple[int, int]:
    if text == "max":
        return width, height
    if text.startswith(("^", "pct:", "!")):
        raise Problem(501, "Size", "sizes are max, w, or ,h or w,h here; pictures are not enlarged")
    found = re.fullmatch(rf"({_NUMBER})?,({_NUMBER})?", text)
    if found is None or text == ",":
        raise Problem(400, "Size", "a size is max, w, or ,h or w,h")
    w, h = (None if one is None else int(one) for one in found.groups())
    w = max(1, round(width * (h or 0) / height)) if w is None else w
    h = max(1, round(height * w / width)) if h is None else h
    if not 1 <= w <= width or not 1 <= h <= height:
        raise Problem(400, "Size", f"the size is between 1x1 and the region's {width}x{height}")
    return w, h


def info_document(url: str, width: int, height: int) -> dict[str, Any]:
    """``info.json`` of a picture."""
    most = 1
    while max(width, height) > TILE * most:
        most *= 2
    factors = [2**power for power in range(most.bit_length())]
    return {
        "@context": PROFILE,
        "id": url,
        "type": "ImageService3",
        "protocol": "http://iiif.io/api/image",
        "profile": "level1",
        "width": width,
        "height": height,
        "tiles": [{"width": TILE, "height": TILE, "scaleFactors": factors}],
        "sizes": [{"width": -(-width // f), "height": -(-height // f)} for f in reversed(factors) if f > 1],
        "preferredFormats": ["webp", "jpg"],
        "extraFormats": ["png", "webp", "avif"],
        "extraFeatures": ["regionSquare", "sizeByWh"],
    }


class Views:
    """Views of kept pictures."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery
        self._making: dict[str, asyncio.Lock] = {}

    async def show(self, request: Request, kept: tuple[bytes, str], view: View, wish: Wish) -> bytes:
        """A view of a kept file (with its entity tag), from the cache if it was made before."""
        data, tag = kept
        factor = OVERVIEW.reduce or 1
        smaller = min(side / small for side, small in zip(view.region[2:], view.size, strict=True))
        if view.pixels <= DIRECT_PIXELS or smaller < factor:
            return await self._gallery.made(request, Task("show", data, wish), tag)
        lock = self._making.setdefault(tag, asyncio.Lock())
        try:
            async with lock:  # viewers ask for many tiles at once, and it is made once
                overview = await self._gallery.made(request, Task("show", data, OVERVIEW), tag)
        finally:
            if not lock.locked():
                self._making.pop(tag, None)
        x, y, w, h = view.region
        part = replace(wish, region=(x // factor, y // factor, -(-w // factor), -(-h // factor)))
        return await self._gallery.made(request, Task("convert", overview, part), tag_of(tag, OVERVIEW))


def router(service: Service) -> APIRouter:
    """The routes."""
    routes, gallery = APIRouter(tags=["iiif"]), Gallery(service)
    views = Views(gallery)

    @routes.get("/iiif/{rest:path}", summary="IIIF Image API 3, level 1", responses=_ANSWERS)
    async def iiif(request: Request, rest: str) -> Response:
        base = str(request.base_url).rstrip("/")
        if rest.endswith("/info.json"):
            key = checked_key(rest.removesuffix("/info.json"))
            data, tag = await gallery.stored(key)
            header = kept_header(data)
            document = info_document(f"{base}/iiif/{key.replace('/', '%2F')}", header.width, header.height)
            etag = etag_of(tag, "info")
            headers = {"ETag": etag, "Access-Control-Allow-Origin": "*", "Cache-Control": "public, max-age=60"}
            if matches(request.headers.get("if-none-match"), etag):
                return Response(status_code=304, headers=headers)
            kind = f'application/ld+json;profile="{PROFILE}"'
            return JSONResponse(document, headers=headers, media_type=kind)
        parts = rest.rsplit("/", 4)
        if len(parts) < 5:
            return RedirectResponse(f"{base}/iiif/{checked_key(rest).replace('/', '%2F')}/info.json", 303)
        key, region, size, rotation, last = parts
        quality, _, ending = last.partition(".")
        data, tag = await gallery.stored(checked_key(key))
        header = kept_header(data)
        if ending not in _FORMS:
            raise Problem(
                501 if ending in ("tif", "gif", "jp2", "pdf") else 400, "Format", "formats are jpg, png, webp, avif"
            )
        view = parsed_view(region, size, rotation, quality, header.width, header.height)
        wish = await gallery.wish(request, Wish(_FORMS[ending], None, view.region, view.size, exact=True), tag)
        response = await respond(
            request, lambda: views.show(request, (data, tag), view, wish), tag_of(tag, wish), wish.form, vary=False
        )
        response.headers["Access-Control-Allow-Origin"] = "*"
        return response

    return routes


_ANSWERS: dict[int | str, dict[str, Any]] = {
    **MISSING,
    200: {"description": "a view, or info.json", "content": {kind: {} for kind in MEDIA_TYPES.values()}},
    206: {"description": "a part"},
    303: {"description": "to info.json"},
    304: {"description": "the client has it"},
    416: {"description": "the part is outside"},
    501: {"description": "not part of level 1"},
}
