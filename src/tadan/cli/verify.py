"""``tadan info`` and ``tadan verify``: what the header of a file says, and whether the file is sound."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from tadan.cli import files, options
from tadan.cli.report import Done, Report
from tadan.errors import Corrupt, TadanError, Truncated


def verify(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="Tadan files, folders of them or '-'.", show_default=False),
    ],
    as_json: options.Json = False,
    jobs: options.Jobs = 1,
    threads: options.Threads = None,
    model: options.ModelName = None,
    max_pixels: options.MaxPixels = None,
    memory: options.Memory = None,
    quiet: options.Quiet = False,
    no_progress: options.NoProgress = False,
) -> None:
    """Decode the latents (or stored pictures) of .tdn files and check every checksum.

    Exit code 0: all are whole. 1: some are damaged. 2: some could not be checked.
    """
    report = Report(quiet or as_json, progress=not no_progress)
    sources = files.expand(paths, files.STREAMS, report)
    if sources:
        choice = options.CodecChoice(model, threads, jobs, max_pixels, memory)
        report.each(sources, lambda source: source.path, _Checking(choice, as_json), jobs)
    report.finish()


@dataclass(frozen=True)
class _Checking:
    """Checks one file after the other, in whatever process it finds itself."""

    choice: options.CodecChoice
    as_json: bool

    def __call__(self, source: files.Source) -> Done:
        try:
            result = self.choice.codec.verify(files.read_source(source.path))
        except (Corrupt, Truncated) as error:
            return Done(document=self._document(source, error), wanting=True, problem=error)
        latents = result.content == "latents"
        stored = "" if latents else f", stored as {result.content.upper()}"
        lines = [f"{source.path}: ok{stored}, {result.sections} sections, {result.file_bytes:,} bytes"]
        for index, checksum in enumerate(result.tiles, start=1):
            lines.append(f"  tile {index}  {'latents' if latents else 'checksum'} {checksum}")
        facts = {"file": str(source.path), "ok": True, "tiles": list(result.tiles), "content": result.content}
        facts |= {"sections": result.sections, "file_bytes": result.file_bytes}
        return Done(tuple(lines), json.dumps(facts) if self.as_json else None)

    def _document(self, source: files.Source, error: TadanError) -> str | None:
        facts = {"file": str(source.path), "ok": False, "error": type(error).__name__, "message": str(error)}
        return json.dumps(facts) if self.as_json else None


def info(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="Tadan files, folders of them or '-'.", show_default=False),
    ],
    as_json: options.Json = False,
) -> None:
    """Show size, quality, model and schedule of .tdn files without decoding them."""
    report = Report(progress=False)
    report.each(files.expand(paths, files.STREAMS, report), lambda source: source.path, _Reading(as_json))
    report.finish()


@dataclass(frozen=True)
class _Reading:
    """Reads the header of one file after the other."""

    as_json: bool

    def __call__(self, source: files.Source) -> Done:
        import tadan

        piped = source.path == files.STANDARD_STREAM
        facts = tadan.inspect(files.read_source(source.path) if piped else source.path).to_dict()
        if self.as_json:
            return Done(document=json.dumps({"file": str(source.path), **facts}))
        return Done((str(source.path), *fact_lines(_shown(facts))))


def _shown(facts: Mapping[str, Any]) -> dict[str, Any]:
    shown = {key: value for key, value in facts.items() if value is not None}
    if "model_id" not in shown:
        shown["content"] = f"stored as {shown['content'].upper()}, no model needed"
    shown["bpp"] = f"{shown['bpp']:.4f}"
    return {"size": f"{shown.pop('width')} x {shown.pop('height')} {shown.pop('mode')}", **shown}


def fact_lines(facts: Mapping[str, Any]) -> list[str]:
    """Names and values in two columns."""
    width = max(len(name) for name in facts)
    lines = []
    for name, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {number}" for key, number in value.items())
        lines.append(f"  {name.replace('_', ' '):{width}}  {value}")
    return lines
