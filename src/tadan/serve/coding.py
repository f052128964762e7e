"""Routes without a memory: a body in, an answer out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from tadan.serve.pool import Problem
from tadan.serve.work import MEDIA_TYPES, Answer, Task, Wish

if TYPE_CHECKING:
    from tadan.serve.app import Service

Form = Literal["png", "jpeg", "webp", "avif"]
Quality = Annotated[int, Query(ge=1, le=100, description="1 (smallest file) to 100 (best picture).")]
SomeQuality = Annotated[int | None, Query(ge=1, le=100, description="Of JPEG, WebP or AVIF.")]
Side = Annotated[int | None, Query(ge=1, le=65535, description="Pixels at most; pictures are not enlarged.")]
Region = Annotated[
    str | None, Query(pattern=r"^\d{1,6},\d{1,6},\d{1,6},\d{1,6}$", description="x,y,width,height in pixels.")
]
Stages = Annotated[int | None, Query(ge=0, le=100_000, description="A preview from the first stages.")]
LosslessJpeg = Annotated[bool, Query(description="Keep a JPEG byte for byte; it is handed out as it was.")]
TargetSize = Annotated[int | None, Query(ge=1, description="Bytes that the answer has at most.")]

_BINARY = {"schema": {"type": "string", "format": "binary"}}
PICTURE_BODY = {"requestBody": {"required": True, "content": {"image/*": _BINARY, "application/octet-stream": _BINARY}}}
STREAM_BODY = {
    "requestBody": {"required": True, "content": {"image/x-tadan": _BINARY, "application/octet-stream": _BINARY}}
}
_SAID = {"type": "object", "properties": {"error": {"type": "string"}, "message": {"type": "string"}}}
_ERROR = {"content": {"application/json": {"schema": _SAID}}}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": text, **_ERROR}
    for status, text in {
        400: "a parameter or an empty body",
        401: "a token is needed",
        413: "too many bytes or pixels",
        415: "no picture of a kind that is read here",
        422: "a damaged file, a missing model, or a target that cannot be met",
        429: "enough to do; come again after Retry-After",
        500: "a mistake of the service",
        503: "starting, ending, or out of memory",
        504: "not done in time",
    }.items()
}


def answers(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """Responses of a route that gives such media types."""
    return {200: {"content": {kind: _BINARY for kind in kinds}, "description": "done"}, **ERRORS}


PICTURES = answers(*(kind for name, kind in MEDIA_TYPES.items() if name != "tdn"))


def parsed_region(text: str | None) -> tuple[int, int, int, int] | None:
    """``x,y,w,h``; Problem 400 if it has no pixel."""
    if text is None:
        return None
    x, y, w, h = (int(part) for part in text.split(","))
    if not w or not h:
        raise Problem(400, "InvalidInput", "a region has a width and a height of at least one pixel")
    return x, y, w, h


def picture_response(answer: Answer, form: str) -> Response:
    """A picture."""
    told = ("width", "height", "decoder")
    headers = {f"Tadan-{name.title()}": str(answer.facts[name]) for name in told if name in answer.facts}
    return Response(answer.data, media_type=MEDIA_TYPES[form], headers=headers)


async def encoded(service: Service, request: Request, body: bytes, options: dict[str, Any]) -> Answer:
    """Encode a body, and count it."""
    answer = await service.do(request, Task("encode", body, None, options))
    service.metrics.encoded.labels(answer.facts["content"]).inc()
    service.metrics.bytes_in.inc(len(body))
    service.metrics.bytes_out.inc(len(answer.data))
    return answer


def router(service: Service) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["coding"])

    @routes.post("/encode", summary="A picture to .tdn", responses=answers("image/x-tadan"), openapi_extra=PICTURE_BODY)
    async def encode(
        request: Request,
        quality: Quality = service.settings.quality,
        effort: Annotated[int, Query(ge=0, le=9)] = service.settings.effort,
        schedule: Annotated[str, Query(max_length=200)] = service.settings.schedule,
        lossless: bool = False,
        lossless_jpeg: LosslessJpeg = False,
        strip: bool = False,
        target_size: TargetSize = None,
        target_score: Annotated[float | None, Query(gt=-1000, le=100, description="SSIMULACRA2.")] = None,
    ) -> Response:
        if (target_size is not None) + (target_score is not None) + lossless + lossless_jpeg > 1:
            raise Problem(400, "InvalidInput", "ask for one of a size, a score, lossless and lossless_jpeg")
        body = await service.body(request)
        options: dict[str, Any] = {"quality": quality, "effort": effort, "schedule": schedule}
        options |= {"lossless": lossless, "lossless_jpeg": lossless_jpeg, "strip": strip}
        options |= {"tile": service.settings.tile}
        options |= {"target_size": target_size, "target_score": target_score}
        answer = await encoded(service, request, body, options)
        response = picture_response(answer, "tdn")
        response.headers["Tadan-Content"] = answer.facts["content"]
        return response

    @routes.post("/decode", summary=".tdn to a picture", responses=PICTURES, openapi_extra=STREAM_BODY)
    async def decode(
        request: Request,
        format: Form = "png",
        quality: SomeQuality = None,
        w: Side = None,
        h: Side = None,
        region: Region = None,
        stages: Stages = None,
    ) -> Response:
        size = None if w is None and h is None else (w, h)
        body = await service.body(request)
        wish = Wish(format, quality, parsed_region(region), size, stages=stages, lite=service.prefers_lite)
        return picture_response(await service.do(request, Task("show", body, wish)), format)

    @routes.post("/transcode", summary="A picture to another format", responses=PICTURES, openapi_extra=PICTURE_BODY)
    async def transcode(
        request: Request,
        format: Form = "avif",
        quality: SomeQuality = None,
        w: Side = None,
        h: Side = None,
        target_size: TargetSize = None,
    ) -> Response:
        size = None if w is None and h is None else (w, h)
        wish = Wish(format, quality, None, size, target_size=target_size)
        body = await service.body(request)
        return picture_response(await service.do(request, Task("convert", body, wish)), format)

    @routes.post("/info", summary="What the header of a .tdn file says", responses=ERRORS, openapi_extra=STREAM_BODY)
    async def info(request: Request) -> JSONResponse:
        return JSONResponse((await service.do(request, Task("info", await service.body(request)))).facts)

    @routes.post("/verify", summary="Check every checksum of a .tdn file", responses=ERRORS, openapi_extra=STREAM_BODY)
    async def verify(request: Request) -> JSONResponse:
        body = await service.body(request)
        return JSONResponse((await service.do(request, Task("verify", body))).facts)

    return routes
