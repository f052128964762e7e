"""The report as one HTML file, from ``poc.json`` and the crops beside it."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tadan.errors import UnreadableInput
from tadan.files import read_bytes
from tadan.optional import require
from tadan_lab.measure.named_points import NamedPoint, by_rate
from tadan_lab.measure.page import policy, template, text
from tadan_lab.poc.kpis import KPIS
from tadan_lab.poc.plan import SECTIONS
from tadan_lab.poc.plots import plots
from tadan_lab.poc.verdict import FAIL, NOT_MEASURED, PASS

_ALT = {
    "sizes": "Histogram of the sizes of the pictures; the numbers stand above the bars",
    "saving": "Bytes of every picture against each codec; the table below has percentiles",
    "latency": "Seconds of encoding and decoding, cold and warm; the table has the same numbers",
    "loads": "Latency over the rate of arrivals; the table has the same numbers",
    "held": "Latency over time at the rate that was held",
    "memory": "Peak memory over megapixels; the table has the same numbers",
    "money": "Money saved over the number of reads; the table has the formulas' parts",
}
_TIMED = ("latency", "scenarios", "memory", "recovery")
_BUSY = 2.0  # times the cores; the section before, which may have used them all, still counts in the average
_MARKS = {PASS: "✓", FAIL: "✗", NOT_MEASURED: "–"}


def shown(value: float | None, unit: str = "") -> str:
    """A figure with three significant digits and its unit; ``-`` where there is none."""
    if value is None:
        return "-"
    if not math.isfinite(value):
        return "infinite"
    rounded = float(f"{value:.3g}")
    if abs(rounded) >= 100 or value == int(value):
        digits = f"{value:,.0f}"
    else:
        digits = f"{value:.{max(0, 2 - math.floor(math.log10(abs(rounded))))}f}"
    return f"{digits} {unit}".rstrip()


def signed(value: float | None, unit: str = "%") -> str:
    """``-41.2 %``; ``-`` where there is none."""
    return "-" if value is None else f"{value:+.1f} {unit}".rstrip()


def html_report(document: Mapping[str, Any], out: Path) -> bytes:
    """The page.

    Args:
        document: what :class:`tadan_lab.poc.run.Run` saved.
        out: folder of the crops.

    Raises:
        MissingPackage: Jinja2 or matplotlib is not installed.
        UnreadableInput: a crop is missing.
    """
    markup = require("markupsafe", "lab", "The report").Markup
    sections = document["sections"]
    drawn = {name: _inline(svg, _ALT[name], markup) for name, svg in plots(sections).items()}
    judged = [row for row in document["kpis"] if row["verdict"] is not None]
    page = template("poc.html.j2").render(
        title=f"Proof of concept: {document['folder']}",
        policy=markup(policy()),
        style=markup(text("report.css") + text("poc.css")),
        document=document,
        sections=sections,
        left_out=[name for name in SECTIONS if name not in sections],
        judged=[{**row, "mark": _MARKS[row["verdict"]]} for row in judged],
        others=[row for row in document["kpis"] if row["verdict"] is None and row["value"] is not None],
        summary=summary(document),
        busy=busy_sections(document),
        state=_state(document["tally"]),
        plots=drawn,
        points=by_rate([NamedPoint(**one) for one in sections.get("bytes", {}).get("named_points", [])]),
        crops=_crops(sections.get("bytes"), out),
        shown=shown,
        signed=signed,
        thresholds=KPIS,
        compared=document.get("compare"),
    )
    return str(page).encode()


def _state(tally: Mapping[str, int]) -> str:
    """Class of the headline."""
    return "bad" if tally[FAIL] else "unknown" if tally[NOT_MEASURED] or not tally[PASS] else "good"


def busy_sections(document: Mapping[str, Any]) -> list[str]:
    """Sections of times that began while more processes wanted to run than twice the cores: others were at work."""
    cores = document["machine"].get("cores", "")
    most = _BUSY * int(cores) if cores.isdecimal() else math.inf
    return [name for name, run in document["runs"].items() if name in _TIMED and (run.get("load_before") or 0) > most]


def summary(document: Mapping[str, Any]) -> list[str]:
    """The report in a few sentences, each from measured figures only."""
    found, sections = [], document["sections"]
    values = {row["key"]: row["value"] for row in document["kpis"]}
    if "pictures" in sections:
        one = sections["pictures"]
        found.append(
            f"{one['readable']:,} of {one['files']:,} files can be read; of a sample of {one['sample']}, "
            f"{shown(one['stored_percent'], '%')} would be stored as they are because that is better."
        )
    if "bytes" in sections:
        parts = []
        for row in sections["bytes"]["equal"]:
            if row["score"] == sections["bytes"]["score"] and row["percent"] is not None:
                word = "smaller" if row["percent"] < 0 else "larger"
                parts.append(f"{abs(row['percent']):.0f} % {word} than {row['rival']}")
        if parts:
            found.append(
                f"At equal visual quality (SSIMULACRA2 {sections['bytes']['score']:g}) files are {', '.join(parts)}."
            )
    if values.get("encode_p90_s") is not None:
        found.append(
            f"Nine of ten pictures are encoded within {shown(values['encode_p90_s'], 's')} and decoded within "
            f"{shown(values['decode_p90_s'], 's')} on this machine."
        )
    if "scenarios" in sections:
        held, bound = sections["scenarios"]["service"]["held"], sections["scenarios"]["bound_s"]
        found.append(
            f"The service answered {shown(held['within_percent'], '%')} of {held['arrived']:,} requests within "
            f"{bound:g} s while {shown(held['offered_per_s'])} arrived in a second for {held['seconds']:.0f} s."
        )
    if values.get("peak_memory_mb") is not None:
        largest = max(row["megapixels"] for row in sections["memory"]["rows"])
        found.append(
            f"No process took more than {shown(values['peak_memory_mb'], 'MB')} up to {largest:.0f} megapixels."
        )
    if "money" in sections:
        for row in sections["money"]["rows"][:1]:
            found.append(_money_line(row, sections["money"]["prices"]))
    return found


def _money_line(row: Mapping[str, Any], prices: Mapping[str, Any]) -> str:
    reads = row["pays_from_reads"]
    when = "never pays" if reads is None else "pays at once" if reads == 0 else f"pays from {shown(reads)} reads on"
    word = "saved" if row["clients"] >= 0 else "lost"
    total = f"{abs(row['clients']):,.0f} {prices['currency']}"
    return (
        f"Against {row['rival']}, with clients that decode, a picture {when}: {total} {word} for "
        f"{prices['pictures']:,} pictures in {prices['months']:g} months, by prices of {prices['as_of']}."
    )


def _inline(svg: str, words: str, markup: Any) -> Any:
    label = markup('<svg role="img" aria-label="{}" ').format(words)
    return markup(svg[svg.index("<svg") :].replace("<svg ", str(label), 1))


def _crops(section: Mapping[str, Any] | None, out: Path) -> dict[str, str]:
    """Data URIs by name of file."""
    found = {}
    for one in [] if section is None else section["worst"]:
        for panel in one["panels"]:
            path = out / panel["file"]
            if path.resolve().parent != (out / "crops").resolve():
                raise UnreadableInput(f"{panel['file']} is no crop of this report; run the section again: --redo bytes")
            found[panel["file"]] = f"data:image/png;base64,{base64.b64encode(read_bytes(path)).decode()}"
    return found
