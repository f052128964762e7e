"""Pictures that are kept: put once, handed out in the format that a client takes, from a cache after the first time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from tadan.bitstream.fields import MAGIC
from tadan.errors import TadanError
from tadan.serve.coding import (
    ERRORS,
    PICTURE_BODY,
    LosslessJpeg,
    Quality,
    Region,
    Side,
    SomeQuality,
    Stages,
    answers,
    encoded,
    parsed_region,
)
from tadan.serve.negotiate import choose_format, matches, requested_part
from tadan.serve.pool import Problem
from tadan.serve.store import Store, checked_key, etag_of
from tadan.serve.work import MEDIA_TYPES, Task, Wish, header_of, pixels_of

if TYPE_CHECKING:
    from tadan.bitstream import Header
    from tadan.serve.app import Service

_CACHE_CONTROL = "public, max-age=60, stale-while-revalidate=3600"
_BOUNDARY = "tadan-stage"
OVERVIEW = Wish("webp", 90, reduce=8)  # that far smaller views are cut from
_LARGE = 2**24  # pixels from which a picture gets its overview when it is put: viewers wait half a minute, no longer
_PROGRESSIVE = (0, 1, 2, 4, 8)  # stages that are shown on the way
MISSING: dict[int | str, dict[str, Any]] = {**ERRORS, 404: {**ERRORS[400], "description": "there is no such picture"}}


class Gallery:
    """The store with its cache, for the routes of pictures and of IIIF."""

    def __init__(self, service: Service) -> None:
        self.service = service

    @property
    def store(self) -> Store:
        """Problem 404 if this service keeps none."""
        if self.service.store is None:
            raise Problem(404, "NoStore", "this service keeps no pictures; start it with --store")
        return self.service.store

    async def stored(self, key: str) -> tuple[bytes, str]:
        """A file and its entity tag."""
        return await asyncio.to_thread(self.store.get, checked_key(key))

    async def wish(self, request: Request, wish: Wish, tag: str) -> Wish:
        """``wish``, to be met by the lite decoder if the service prefers it, unless the better picture is at hand."""
        if not self.service.prefers_lite or matches(request.headers.get("if-none-match"), tag_of(tag, wish)):
            return wish
        kept = await asyncio.to_thread(self.service.cache.has, _name(tag, wish))
        return replace(wish, lite=not kept)

    async def made(self, request: Request, task: Task, tag: str) -> bytes:
        """What a task of showing or converting gives: made once, then from the cache. ``tag``: of its data."""
        if task.wish is None:
            raise RuntimeError("a rendition is made for a wish")
        name = _name(tag, task.wish)
        found = await asyncio.to_thread(self.service.cache.get, name)
        self.service.metrics.cache.labels("miss" if found is None else "hit").inc()
        if found is None:
            found = (await self.service.do(request, task)).data
            await asyncio.to_thread(self.service.cache.put, name, found)
        return found


def tag_of(tag: str, wish: Wish) -> str:
    """Entity tag of a rendition of the file with entity tag ``tag``."""
    return etag_of(tag, repr(wish))


def _name(tag: str, wish: Wish) -> str:
    """Of a rendition in the cache."""
    return f"{tag_of(tag, wish).strip(chr(34))}.{wish.form}"


async def respond(request: Request, make: Callable[[], Awaitable[bytes]], etag: str, form: str, vary: bool) -> Response:
    """What ``make`` gives, a part of it, or, without making it, the news that the client has it already."""
    headers = {"ETag": etag, "Cache-Control": _CACHE_CONTROL, "Accept-Ranges": "bytes"}
    if vary:
        headers["Vary"] = "Accept"
    if matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    data, kind = await make(), MEDIA_TYPES[form]
    part = requested_part(request.headers, etag, len(data)) if request.method == "GET" else None
    if part is None:
        return Response(data, media_type=kind, headers=headers)
    if not part.satisfiable:
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{len(data)}"})
    headers["Content-Range"] = f"bytes {part.first}-{part.last}/{len(data)}"
    return Response(data[part.first : part.last + 1], 206, media_type=kind, headers=headers)


def router(service: Service) -> APIRouter:
    """The routes."""
    routes, gallery = APIRouter(tags=["pictures"]), Gallery(service)

    @routes.put(
        "/pictures/{key:path}",
        summary="Keep a picture; what is no .tdn file yet is encoded",
        responses={**MISSING, 201: {"description": "there was none before"}},
        openapi_extra=PICTURE_BODY,
    )
    async def put(
        request: Request,
        key: str,
        quality: Quality = service.settings.quality,
        effort: Annotated[int, Query(ge=0, le=9)] = service.settings.effort,
        lossless: bool = False,
        lossless_jpeg: LosslessJpeg = False,
        strip: bool = False,
    ) -> JSONResponse:
        store, checked = gallery.store, checked_key(key)
        body = await service.body(request)
        if body.startswith(MAGIC):
            large = pixels_of(body) > _LARGE
            if large:  # which compares every checksum on the way
                await gallery.made(request, Task("show", body, OVERVIEW), etag_of(body))
            else:
                await service.do(request, Task("verify", body))
            data, content = body, "given"
        else:
            usual = service.settings
            options: dict[str, Any] = {"quality": quality, "effort": effort, "schedule": usual.schedule}
            options |= {"tile": usual.tile, "lossless": lossless, "lossless_jpeg": lossless_jpeg, "strip": strip}
            answer = await encoded(service, request, body, options)
            data, content = answer.data, answer.facts["content"]
            if pixels_of(data) > _LARGE:
                with suppress(Problem):  # it can be made later
                    await gallery.made(request, Task("show", data, OVERVIEW), etag_of(data))
        new = await asyncio.to_thread(store.put, checked, data)
        facts = {"key": checked, "bytes": len(data), "bytes_in": len(body), "content": content}
        return JSONResponse(facts, 201 if new else 200, {"ETag": etag_of(data), "Location": f"/pictures/{checked}"})

    @routes.get("/pictures/{key:path}", summary="A picture in the format that the client takes", responses=_SHOWN)
    @routes.head("/pictures/{key:path}", summary="The same without the picture", responses=_SHOWN)
    async def get(
        request: Request,
        key: str,
        format: Literal["tdn", "png", "jpeg", "webp", "avif"] | None = None,
        quality: SomeQuality = None,
        w: Side = None,
        h: Side = None,
        region: Region = None,
        stages: Stages = None,
        progressive: bool = False,
    ) -> Response:
        data, tag = await gallery.stored(key)
        header = kept_header(data)
        form = format or choose_format(request.headers.get("accept"), header.has_alpha)
        if form is None:
            names = ", ".join(MEDIA_TYPES.values())
            raise Problem(406, "NotAcceptable", f"this picture comes as {names}; accept one of them")
        size = None if w is None and h is None else (w, h)
        whole = size is None and region is None and stages is None and not progressive
        if form == "tdn":
            if not whole or quality is not None:
                raise Problem(
                    400, "InvalidInput", ".tdn comes as it is kept; leave out size, region, stages and quality"
                )
            return await respond(request, lambda: _known(data), tag, form, format is None)
        wish = await gallery.wish(request, Wish(form, quality, parsed_region(region), size, stages=stages), tag)
        if progressive and request.method == "GET":
            return _in_stages(gallery, request, data, tag, wish, header)
        show = Task("show", data, wish)
        return await respond(request, lambda: gallery.made(request, show, tag), tag_of(tag, wish), form, format is None)

    @routes.delete(
        "/pictures/{key:path}",
        summary="Remove a picture",
        status_code=204,
        responses={**MISSING, 204: {"description": "removed"}},
    )
    async def delete(key: str) -> Response:
        await asyncio.to_thread(gallery.store.delete, checked_key(key))
        return Response(status_code=204)

    return routes


_SHOWN = {
    **MISSING,
    **answers(*MEDIA_TYPES.values(), f"multipart/x-mixed-replace; boundary={_BOUNDARY}"),
    206: {"description": "a part"},
    304: {"description": "the client has it"},
    404: MISSING[404],
    406: {**ERRORS[400], "description": "the client takes none of the formats"},
    416: {"description": "the part is outside"},
}


def kept_header(data: bytes) -> Header:
    """Header of a kept file; Problem 422 if it is damaged."""
    try:
        return header_of(data)
    except TadanError as error:
        raise Problem(422, type(error).__name__, f"what is kept there is damaged: {error}") from error


async def _known(data: bytes) -> bytes:
    return data


def _in_stages(
    gallery: Gallery, request: Request, data: bytes, tag: str, wish: Wish, header: Header
) -> StreamingResponse:
    """Ever better previews, then the picture, each a part of one answer that replaces the one before it."""
    stages = () if header.schedule is None else _PROGRESSIVE

    async def parts() -> AsyncIterator[bytes]:
        shown = None
        for one in (*stages, None):
            picture = await gallery.made(request, Task("show", data, replace(wish, stages=one)), tag)
            if picture != shown:  # a schedule of fewer stages is complete before
                shown = picture
                head = (
                    f"--{_BOUNDARY}\r\nContent-Type: {MEDIA_TYPES[wish.form]}\r\nContent-Length: {len(picture)}\r\n\r\n"
                )
                yield head.encode() + picture + b"\r\n"
        yield f"--{_BOUNDARY}--\r\n".encode()

    kind = f"multipart/x-mixed-replace; boundary={_BOUNDARY}"
    return StreamingResponse(parts(), media_type=kind, headers={"Cache-Control": "no-store", "Vary": "Accept"})
