"""What came of a batch, from its journal: JSON and HTML for reading, CSV with every picture."""

from __future__ import annotations

import csv
import html
import io
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from tadan.batch.journal import Journal
from tadan.batch.tally import shown_bytes, shown_seconds
from tadan.files import make_folder, write_atomically
from tadan.text import plain

_EXAMPLES = 20  # failures of each class that are shown; the CSV has all
_COLUMNS = ["source", "state", "output", "key", "bytes_in", "bytes_out", "pixels", "seconds", "kind", "message"]


def summary(journal: Journal, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Figures of a journal: of its last run, and of all pictures in it.

    Args:
        journal: with a run that has ended.
        facts: of the run, which the journal does not hold; taken over as they are.
    """
    return {
        "made": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        **facts,
        "pictures": _states(journal, "1"),
        "this_run": _states(journal, f"run = {journal.run:d}"),
        "failures": _failures(journal),
        "slowest": _slowest(journal),
        "runs": _runs(journal),
    }


def write_report(journal: Journal, content: Mapping[str, Any], base: Path) -> list[Path]:
    """Write ``base`` + .json, .html and .csv; the paths. UnwritableOutput if that fails."""
    make_folder(base.parent)
    paths = [base.with_name(base.name + suffix) for suffix in (".json", ".html", ".csv")]
    write_atomically(paths[0], json.dumps(content, indent=1).encode() + b"\n")
    write_atomically(paths[1], page(content).encode())
    write_atomically(paths[2], lambda file: _write_rows(journal, file))
    return paths


def _states(journal: Journal, where: str) -> dict[str, Any]:
    counts = dict(journal.rows(f"SELECT state, count(*) FROM pictures WHERE {where} GROUP BY state ORDER BY state"))
    sums = (
        "count(*), total(bytes_in), total(bytes_out), total(pixels), total(seconds), total(read_seconds), "
        "total(write_seconds), max(peak_bytes), total(verified)"
    )
    row = next(journal.rows(f"SELECT {sums} FROM pictures WHERE state = 'done' AND {where}"))
    names = ("encoded", "bytes_in", "bytes_out", "pixels", "seconds", "read_seconds", "write_seconds", "peak_bytes")
    whole = {
        name: value if "seconds" in name or value is None else int(value)
        for name, value in zip(names, row[:8], strict=True)
    }
    rate = whole["pixels"] / whole["seconds"] if whole["seconds"] else None
    return {"states": counts, **whole, "verified": int(row[8]), "pixels_per_worker_second": rate}


def _failures(journal: Journal) -> list[dict[str, Any]]:
    """Classes of failures with some of their pictures, the most frequent first."""
    found = []
    kinds = "SELECT kind, count(*) FROM pictures WHERE state = 'failed' GROUP BY kind ORDER BY count(*) DESC, kind"
    for kind, count in list(journal.rows(kinds)):
        some = "SELECT source, message FROM pictures WHERE state = 'failed' AND kind IS ? ORDER BY source LIMIT ?"
        examples = [{"source": source, "message": text} for source, text in journal.rows(some, (kind, _EXAMPLES))]
        found.append({"kind": kind, "count": count, "examples": examples})
    return found


def _slowest(journal: Journal) -> list[dict[str, Any]]:
    query = (
        "SELECT source, seconds, pixels, peak_bytes FROM pictures WHERE state = 'done' ORDER BY seconds DESC LIMIT 5"
    )
    return [dict(zip(("source", "seconds", "pixels", "peak_bytes"), row, strict=True)) for row in journal.rows(query)]


def _runs(journal: Journal) -> list[dict[str, Any]]:
    query = "SELECT id, begun, ended, state, recipe, settings, unchanged FROM runs ORDER BY id DESC LIMIT 20"
    names = ("id", "begun", "ended", "state", "recipe", "settings", "unchanged")
    found = [dict(zip(names, row, strict=True)) for row in journal.rows(query)]
    return [{**row, "settings": json.loads(row["settings"])} for row in found]


def _write_rows(journal: Journal, file: IO[bytes]) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="")
    rows = csv.writer(text)
    rows.writerow(_COLUMNS)
    for row in journal.rows(f"SELECT {', '.join(_COLUMNS)} FROM pictures ORDER BY source"):
        rows.writerow(row)
    text.flush()
    text.detach()


_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; } td, th { padding: .2rem .8rem; border-bottom: 1px solid #8884; }
th { text-align: left; } td + td { text-align: right; } .text td { text-align: left; overflow-wrap: anywhere; }
@media (prefers-color-scheme: dark) { body { background: #161616; color: #ddd; } }
"""


def page(content: Mapping[str, Any]) -> str:
    """The report as one page of HTML without scripts and without anything from elsewhere."""
    whole, run = content["pictures"], content["this_run"]
    heads = ["", "all runs", "last run"]
    body = [
        f"<h1>Batch {_text(content.get('source', ''))} &rarr; {_text(content.get('destination', ''))}</h1>",
        f"<p>{_text(content['made'])}, {_text(content.get('state', ''))}. {_text(content.get('reason') or '')}</p>",
        _table(heads, _figures(whole, run)),
    ]
    if content["failures"]:
        body.append("<h2>Failures by class</h2>")
        body.append(_table(["class", "pictures"], [(one["kind"], f"{one['count']:,}") for one in content["failures"]]))
        for one in content["failures"]:
            rows = [(example["source"], example["message"]) for example in one["examples"]]
            body.append(f"<h3>{_text(one['kind'])}</h3>" + _table(["picture", "message"], rows, "text"))
    if content["slowest"]:
        slow = [
            (one["source"], f"{one['seconds']:.2f} s", f"{one['pixels'] / 1e6:.2f} MP") for one in content["slowest"]
        ]
        body.append("<h2>Slowest pictures</h2>" + _table(["picture", "seconds", "size"], slow))
    if content.get("dollars_per_million"):
        rows = [(name.replace("_", " "), f"{value:,.2f}") for name, value in content["dollars_per_million"].items()]
        body.append("<h2>Dollars for a million pictures</h2>" + _table(["", ""], rows))
    settings = content["runs"][0]["settings"] if content["runs"] else {}
    body.append("<h2>Settings</h2>" + _table(["", ""], [(name, str(value)) for name, value in settings.items()]))
    facts = content.get("machine", {})
    body.append("<h2>Machine</h2>" + _table(["", ""], [(name, str(value)) for name, value in facts.items()]))
    style = f"<style>{_STYLE}</style>"
    return f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Tadan batch</title>{style}\n' + "\n".join(
        body
    )


def _figures(*columns: Mapping[str, Any]) -> list[tuple[str, ...]]:
    def row(name: str, shown: Any) -> tuple[str, ...]:
        return (name, *(shown(one) for one in columns))

    def saved(one: Mapping[str, Any]) -> str:
        return f"{100 * (1 - one['bytes_out'] / one['bytes_in']):.1f} %" if one["bytes_in"] else "-"

    def speed(one: Mapping[str, Any]) -> str:
        rate = one["pixels_per_worker_second"]
        return f"{rate / 1e6:.3f} MP/s" if rate else "-"

    states = sorted({state for one in columns for state in one["states"]})
    return [
        *(row(state, lambda one, state=state: f"{one['states'].get(state, 0):,}") for state in states),
        row("verified", lambda one: f"{one['verified']:,}"),
        row("bytes of encoded pictures", lambda one: shown_bytes(one["bytes_in"])),
        row("bytes of their files", lambda one: shown_bytes(one["bytes_out"])),
        row("saved", saved),
        row("megapixels", lambda one: f"{one['pixels'] / 1e6:,.1f}"),
        row("time of workers", lambda one: shown_seconds(one["seconds"])),
        row("of each worker", speed),
        row("largest worker", lambda one: shown_bytes(one["peak_bytes"] or 0)),
    ]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    head = "".join(f"<th>{_text(one)}</th>" for one in heads)
    lines = ("".join(f"<td>{_text(cell)}</td>" for cell in row) for row in rows)
    return f'<table class="{kind}"><tr>{head}</tr>' + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _text(value: object) -> str:
    return html.escape(plain(str(value)))
