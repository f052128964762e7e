"""``tadan verify``: prove that files decode to the latents they were written with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from tadan.cli import files
from tadan.cli.report import Report
from tadan.errors import TadanError


def verify(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="Tadan files, folders of them or '-'.", show_default=False),
    ],
    as_json: files.JsonOption = False,
    threads: files.ThreadsOption = None,
    model: files.ModelOption = None,
    quiet: files.QuietOption = False,
) -> None:
    """Decode the latents (or stored pictures) of .tdn files, check every checksum; exit code 2 if any file fails."""
    report = Report(quiet)
    sources = files.expand(paths, files.STREAMS, report)
    if sources:
        codec = files.open_codec(model, threads)

        def work(source: files.Source) -> None:
            try:
                result = codec.verify(files.read_source(source.path))
            except TadanError as error:
                if as_json:
                    facts = {"file": str(source.path), "ok": False, "error": type(error).__name__}
                    typer.echo(json.dumps({**facts, "message": str(error)}))
                raise
            if as_json:
                facts = {"file": str(source.path), "ok": True, "tiles": list(result.tiles), "content": result.content}
                typer.echo(json.dumps({**facts, "sections": result.sections, "file_bytes": result.file_bytes}))
                return
            latents = result.content == "latents"
            stored = "" if latents else f", stored as {result.content.upper()}"
            report.line(f"{source.path}: ok{stored}, {result.sections} sections, {result.file_bytes:,} bytes")
            for index, checksum in enumerate(result.tiles, start=1):
                report.line(f"  tile {index}  {'latents' if latents else 'checksum'} {checksum}")

        report.each(sources, lambda source: source.path, work)
    report.finish()
