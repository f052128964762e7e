"""``tadan selftest``: does this installation, or another decoder, decode the golden streams as it must?"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tadan.cli import options
from tadan.cli.report import EXIT_WANTING, Report
from tadan.errors import InvalidInput

if TYPE_CHECKING:
    from tadan.conformance import GoldenSet, Outcome


def selftest(
    check: Annotated[
        Path | None,
        typer.Option(help="Compare the latents that another decoder wrote below this folder.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Write streams, latents and manifests for another decoder.", show_default=False
        ),
    ] = None,
    latents: Annotated[
        bool, typer.Option("--latents", help="Compare latents only; works without ONNX Runtime.")
    ] = False,
    as_list: Annotated[bool, typer.Option("--list", help="Only say what the golden streams are.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for all.")] = False,
    threads: options.Threads = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Golden streams of this folder instead of the packaged ones.", show_default=False),
    ] = None,
    quiet: Annotated[bool, typer.Option("-Q", "--quiet", help="Print failures only.")] = False,
) -> None:
    """Decode the golden streams, compare latents, pixels and errors; exit code 1 if any differs."""
    if (check is not None) + (out is not None) + as_list > 1:
        raise InvalidInput("--check, --out and --list exclude each other; give one of them")
    from tadan.conformance import check_dumps, check_sets, load_sets
    from tadan.conformance.golden import PACKAGED

    sets = load_sets(PACKAGED if data is None else data)
    report = Report(quiet or as_json)
    if as_list:
        _list(sets, report, as_json)
    elif out is not None:
        _write(sets, out, threads, report)
    else:
        outcomes = []
        for outcome in check_sets(sets, threads, pixels=not latents) if check is None else check_dumps(sets, check):
            outcomes.append(outcome)
            if not as_json:
                _show(outcome, report)
        _finish(sets, outcomes, _facts(), report, as_json)


def _show(outcome: Outcome, report: Report) -> None:
    name = f"{outcome.set}/{outcome.name}"
    if outcome.ok:
        report.line(f"pass  {name}: {outcome.detail}")
    else:
        Report().line(f"FAIL  {name}: {outcome.step}: {outcome.detail}")


def _finish(
    sets: list[GoldenSet], outcomes: list[Outcome], facts: dict[str, str], report: Report, as_json: bool
) -> None:
    failed = sum(not outcome.ok for outcome in outcomes)
    if as_json:
        document = {
            "ok": not failed,
            "facts": facts,
            "sets": [{"name": one.name, "format_version": one.format_version, "model": one.model} for one in sets],
            "outcomes": [{**asdict(outcome), "seconds": round(outcome.seconds, 4)} for outcome in outcomes],
        }
        typer.echo(json.dumps(document))
    for name, value in facts.items():
        report.line(f"{name}: {value}")
    models = ", ".join(one.model for one in sets if one.model)
    report.line(f"models: {models or 'none'}")
    verdict = "conforms" if not failed else "does not conform"
    seconds = sum(outcome.seconds for outcome in outcomes)
    report.line(f"{len(outcomes) - failed} of {len(outcomes)} passed in {seconds:.1f} s: {verdict}")
    if failed:
        raise typer.Exit(EXIT_WANTING)


def _list(sets: list[GoldenSet], report: Report, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([{"folder": str(one.folder), **json.loads(one.manifest())} for one in sets]))
    for golden in sets:
        report.line(f"{golden.name}: format version {golden.format_version}, model {golden.model or 'none'}")
        for stream in golden.streams:
            escapes = f", {stream.escapes:,} escapes" if stream.escapes else ""
            what = f"{stream.width}x{stream.height} {stream.mode}, quality {stream.quality}, {stream.steps} steps"
            report.line(f"  {stream.name}: {stream.shows}; {what}{escapes}")
        for damaged in golden.damaged:
            report.line(f"  {damaged.name}: {damaged.shows}; {damaged.error}")


def _write(sets: list[GoldenSet], out: Path, threads: int | None, report: Report) -> None:
    from tadan.conformance.dumps import write_reference

    count = sum(1 for _ in write_reference(sets, out, threads))
    report.line(f"{out}: {count} files in {len(sets)} folders; docs/conformance.md says what they hold")


def _facts() -> dict[str, str]:
    import platform

    from tadan.core import kernel
    from tadan.entropy.ans import CODER
    from tadan.machine import machine_facts

    return {**machine_facts(), "integer core": kernel(), "entropy coder": CODER, "platform": platform.platform()}
