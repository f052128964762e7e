"""``tadan info``: what the header of a file says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from tadan.cli import files, options
from tadan.cli.report import Done, Report


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
