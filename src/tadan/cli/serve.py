"""``tadan serve``: the codec over HTTP."""

from __future__ import annotations

import signal
import socket
from pathlib import Path
from typing import Annotated

import typer

from tadan.cli import options
from tadan.errors import InvalidInput
from tadan.optional import require


def serve(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 for all networks.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for a free one.")] = 8000,
    store: Annotated[
        str, typer.Option(help="Folder or URL (s3://, gs://) of the pictures; none keeps none.")
    ] = "tadan-pictures",
    cache: Annotated[Path | None, typer.Option(help="Folder of renditions, which may be emptied at any time.")] = None,
    cache_size: Annotated[str, typer.Option(help="Bytes that renditions may take: 500M, 4G.")] = "1G",
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that work; default: one for each core.")] = None,
    queue: Annotated[int, typer.Option(min=1, help="Requests that may work or wait; others are answered 429.")] = 64,
    deadline: Annotated[float, typer.Option(min=0.1, help="Seconds after which a request is given up.")] = 120,
    max_body: Annotated[str, typer.Option(help="Bytes of one body: 20M.")] = "100M",
    tokens: Annotated[
        Path | None, typer.Option(help="File of tokens, one a line; also TADAN_TOKENS, by commas. None: open to all.")
    ] = None,
    public_reads: Annotated[bool, typer.Option("--public-reads", help="Hand out pictures without a token.")] = False,
    origin: Annotated[
        list[str] | None, typer.Option(help="Origin that browsers may call from; may be repeated.")
    ] = None,
    profile: options.ProfileFile = None,
    model: options.ModelName = None,
    decoder: Annotated[
        str | None,
        typer.Option(
            metavar="full|lite|auto", help="What shows .tdn files; auto: lite while requests wait.", show_default="full"
        ),
    ] = None,
    max_pixels: options.MaxPixels = None,
    memory: options.Memory = None,
) -> None:
    """Serve the codec over HTTP: encode, decode, keep pictures and hand them out in the format that a client takes."""
    require("fastapi", "serve", "tadan serve")
    require("pebble", "serve", "tadan serve")
    require("fsspec", "serve", "tadan serve")
    uvicorn = require("uvicorn", "serve", "tadan serve")
    from tadan.serve.app import create_app
    from tadan.serve.settings import Settings, read_tokens

    own = options.ProfileChoice(profile, context)
    chosen = {
        "cache": cache,
        "workers": own.of_machine("workers", workers),
        "max_pixels": None if max_pixels is None else options.parse_size(max_pixels, "--max-pixels"),
        "memory": own.of_machine("memory", None if memory is None else options.parse_size(memory, "--memory")),
        "decoder": decoder,
        **{name: own(name, None) for name in ("quality", "effort", "schedule", "tile")},
    }
    settings = Settings(
        store=None if store == "none" else store,
        cache_bytes=options.parse_size(cache_size, "--cache-size"),
        queue_jobs=queue,
        deadline=deadline,
        max_body=options.parse_size(max_body, "--max-body"),
        tokens=read_tokens(tokens),
        public_reads=public_reads,
        origins=tuple(origin or ()),
        model=own.model(model),
        **{name: value for name, value in chosen.items() if value is not None},  # type: ignore[arg-type]
    )
    if host not in ("127.0.0.1", "localhost", "::1") and not settings.tokens:
        typer.echo(
            "warning: everybody who reaches this address may encode, keep and remove pictures; see --tokens", err=True
        )
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        raise InvalidInput(f"cannot listen at {host}:{port} ({error}); choose another --port or --host") from error
    config = uvicorn.Config(
        create_app(settings),
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=int(deadline) + 5,
    )
    server = uvicorn.Server(config)

    def end(_number: int, _frame: object) -> None:
        server.should_exit = True

    for name in ("SIGTERM", "SIGINT"):  # uvicorn raises them again when all is done; an orderly end is no failure
        signal.signal(getattr(signal, name), end)
    shown = f"[{host}]" if ":" in host else host
    typer.echo(f"tadan serves at http://{shown}:{listening.getsockname()[1]}/  (Ctrl-C ends it)", err=True)
    server.run(sockets=[listening])
