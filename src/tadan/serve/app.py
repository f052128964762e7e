"""The application: what surrounds every request. Routes are in :mod:`coding`, :mod:`gallery` and :mod:`iiif`."""

from __future__ import annotations

import hashlib
import hmac
import json
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from tadan import __version__
from tadan.codec.options import FULL, LITE
from tadan.models import load_model
from tadan.models.lite import find_lite
from tadan.serve.metrics import Metrics
from tadan.serve.page import FILES
from tadan.serve.pool import Gate, Problem, Workers
from tadan.serve.settings import AUTO, Settings
from tadan.serve.store import Cache, Store
from tadan.serve.work import Answer, Task, pixels_in_work

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/openapi.json", "/", *(f"/{name}" for name in FILES)})
OPEN_PREFIX = "/weights/"  # of the models that are installed: who gets pictures needs them
READ_PREFIXES = ("/pictures/", "/iiif/")
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}


class Service:
    """What the routes share."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.metrics = settings, Metrics()
        self.gate = Gate(settings, self.metrics)
        self.store = None if settings.store is None else Store(settings.store)
        self.cache = Cache(settings.cache, settings.cache_bytes)
        self.workers: Workers | None = None
        self.is_ready = False
        self._tokens = [hashlib.sha256(token.encode()).digest() for token in settings.tokens]

    def lets_in(self, request: Request) -> bool:
        """Whether a request has a token, or needs none."""
        path = request.url.path
        is_open = path in OPEN_PATHS or path.startswith(OPEN_PREFIX)
        if not self._tokens or is_open or request.method == "OPTIONS":
            return True
        reads = request.method in ("GET", "HEAD")
        if reads and self.settings.public_reads and path.startswith(READ_PREFIXES):
            return True
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        given = hashlib.sha256(token.strip().encode()).digest()
        known = [hmac.compare_digest(given, one) for one in self._tokens]
        return scheme.lower() == "bearer" and any(known)

    async def body(self, request: Request) -> bytes:
        """The body of a request; Problem 413 as soon as it is too long, 429 if others take the room, 400 if empty."""
        most = self.settings.max_body
        too_long = Problem(413, "BodyTooLarge", f"the body is longer than {most:,} bytes; send a smaller picture")
        stated = request.headers.get("content-length", "")
        if stated.isdecimal() and int(stated) > most:
            raise too_long
        parts, length = [], 0
        try:
            async for part in request.stream():
                if length + len(part) > most:
                    raise too_long
                self.gate.receive(length, len(part))
                length += len(part)
                parts.append(part)
        finally:
            self.gate.receiving -= length
        if not length:
            raise Problem(400, "EmptyBody", "the body is empty; send a picture in it")
        return b"".join(parts)

    @property
    def prefers_lite(self) -> bool:
        """Whether the next .tdn file should be shown by the lite decoder."""
        many = self.gate.load.jobs > self.settings.workers  # somebody waits
        return self.settings.decoder == LITE or (self.settings.decoder == AUTO and many)

    async def do(self, request: Request, task: Task) -> Answer:
        """Have a task done for a request, as far as there is room."""
        if self.workers is None:
            raise Problem(503, "NotReady", "the service is starting; come again", {"Retry-After": "2"})
        async with self.gate.room(len(task.data), pixels_in_work(task)):
            return await self.workers.do(task, request.is_disconnected)

    def close(self) -> None:
        """Let nobody in any more, and finish what runs."""
        self.gate.closed, self.is_ready = True, False
        if self.workers is not None:
            self.workers.close()


def create_app(settings: Settings) -> FastAPI:
    """The ASGI application for ``uvicorn`` or any other server.

    Raises:
        ModelMissing: there is no such model, or it has no lite decoder although the settings ask for one.
    """
    from tadan.serve import coding, gallery, iiif, page

    if settings.decoder != FULL:
        find_lite(load_model(settings.model))

    service = Service(settings)

    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
        service.workers = Workers(settings, service.metrics)
        try:
            await service.workers.ready()
            service.is_ready = True
            yield
        finally:
            service.close()

    app = FastAPI(
        title="Tadan",
        version=__version__,
        description="Pictures to .tdn and back; pictures that are kept and handed out as clients take them.",
        lifespan=life,
        docs_url=None,  # these load scripts from elsewhere
        redoc_url=None,
    )
    app.state.service = service
    for routes in (coding, gallery, iiif, page):
        app.include_router(routes.router(service))
    _health(app, service)
    _errors(app)
    app.add_middleware(_Around, service=service)
    if settings.origins:
        from fastapi.middleware.cors import CORSMiddleware

        exposed = ["ETag", "Retry-After", "Tadan-Content", "Tadan-Decoder", "Tadan-Width", "Tadan-Height"]
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=exposed,
        )
    return app


def _health(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", tags=["health"], summary="The process lives")
    async def healthz() -> dict[str, str]:
        return {"status": "alive", "version": __version__}

    @app.get("/readyz", tags=["health"], summary="Requests can be served", responses={503: {"description": "not yet"}})
    async def readyz() -> JSONResponse:
        ready = service.is_ready
        return JSONResponse({"status": "ready" if ready else "not ready"}, 200 if ready else 503)

    @app.get("/metrics", tags=["health"], summary="Figures for Prometheus", response_class=PlainTextResponse)
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


def _errors(app: FastAPI) -> None:
    def told(status: int, kind: str, message: str, headers: Any = None) -> JSONResponse:
        return JSONResponse({"error": kind, "message": message}, status, headers)

    @app.exception_handler(Problem)
    async def problem(_request: Request, error: Problem) -> JSONResponse:
        return told(error.status, error.kind, error.message, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        said = "; ".join(f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in error.errors())
        return told(400, "InvalidInput", said)

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> JSONResponse:
        headers = dict(error.headers or {})
        if error.status_code == 405:  # of all routes with this path, not of the first one
            headers["Allow"] = ", ".join(sorted(_methods(app, request)))
        return told(error.status_code, "HTTPError", str(error.detail), headers)


def _methods(app: FastAPI, request: Request) -> set[str]:
    """Methods that the path of a request has."""
    return {
        method
        for route in app.routes
        if route.matches({**request.scope, "type": "http"})[0] is not Match.NONE
        for method in getattr(route, "methods", None) or ()
    }


class _Around:
    """Tokens, the log, metrics and headers. Plain ASGI: what Starlette makes of functions hides that clients leave."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request, answer = Request(scope), _Answered(send, uuid.uuid4().hex[:16])
        begun = time.perf_counter()
        try:
            if self._service.lets_in(request):
                await self._app(scope, receive, answer)
            else:
                content = {"error": "Unauthorized", "message": "send a token: Authorization: Bearer TOKEN"}
                await JSONResponse(content, 401, {"WWW-Authenticate": "Bearer"})(scope, receive, answer)
        except ClientDisconnect:
            answer.status = answer.status or 499
        except Exception as error:  # a mistake of the service: told in the log, not to the client
            _log({"id": answer.number, "level": "error", "error": type(error).__name__, "message": str(error)})
            if answer.status:  # too late to say so
                raise
            message = f"a mistake of the service; its log has it under {answer.number}"
            await JSONResponse({"error": "Internal", "message": message}, 500)(scope, receive, answer)
        finally:
            self._note(request, answer, time.perf_counter() - begun)

    def _note(self, request: Request, answer: _Answered, seconds: float) -> None:
        name, metrics = getattr(request.scope.get("route"), "path", "none"), self._service.metrics
        metrics.requests.labels(name, answer.status).inc()
        metrics.request_seconds.observe(seconds)
        facts = {"method": request.method, "path": request.url.path, "status": answer.status}
        sizes = {"in": request.headers.get("content-length", "0"), "out": answer.length}
        _log({"id": answer.number, "level": "info", **facts, "seconds": round(seconds, 4), **sizes})


class _Answered:
    """Sends an answer on, with the headers that all have, and keeps its status (0: none was sent)."""

    def __init__(self, send: Send, number: str) -> None:
        self._send, self.number, self.status, self.length = send, number, 0, ""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self.number
            for key, value in SECURITY_HEADERS.items():
                headers.setdefault(key, value)
            self.status, self.length = message["status"], headers.get("content-length", "")
        await self._send(message)


def _log(facts: dict[str, Any]) -> None:
    """One line of JSON to standard error."""
    line = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **facts}
    print(json.dumps(line, ensure_ascii=True), file=sys.stderr, flush=True)
