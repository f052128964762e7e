"""Writes the tables of docs/compressai.md and of docs/study.md from the JSON files in docs/results/compressai.

``python tools/compressai_tables.py`` after a new measurement. No figure of these is typed by hand: tests/docs
compare the committed text with what this script gives. Standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmark_page import table

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results" / "compressai"
KINDS = {
    "cheng2020-attn": "Cheng2020, attention (N = {channels}, 5x5 context)",
    "mbt2018": "mbt2018 (N = {channels}, M = 192)",
    "elic2022": "ELIC (N = {channels}, M = 320)",
}


def load(name: str) -> Any:
    """The parsed JSON file ``docs/results/compressai/name``; None if it was not measured."""
    path = RESULTS / name
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def speed() -> str:
    """Seconds, bytes and memory of each model under its own context and under others."""
    names = [(title, f"speed-{kind}{more}.json") for kind, title in KINDS.items() for more in ("", "-2")]
    return "\n\n".join(_speed_of(title, content) for title, name in names if (content := load(name)) is not None)


def _speed_of(title: str, content: Any) -> str:
    """One measurement."""
    rows = content["rows"]
    own = next(row for row in rows if row["codec"].startswith("CompressAI"))
    first = {row["digest"]: row["codec"] for row in reversed(rows)}
    lines = []
    for row in rows:
        same = first[row["digest"]]
        equal = "" if same == row["codec"] else f", equal to {same}"
        seconds = [f"{row[name]:.2f}" for name in ("encode", "decode", "context_encode", "context_decode")]
        ratios = [f"{own[name] / row[name]:.1f}" for name in ("decode", "context_decode")]
        lines.append(
            [row["codec"], row["stages"], *seconds, *ratios, f"{row['bytes']:,}{equal}", f"{row['peak_mb']:.0f}"]
        )
    head = ["context", "stages", "encode, s", "decode, s", "y alone, encode", "y alone, decode"]
    head += ["decode, times as fast", "y alone, times as fast", "bytes", "peak MB"]
    clock = {"cpu": "seconds of the processor", "wall": "seconds"}[content["clock"]]
    about = f"**{title.format(**content)}**, {content['picture']}, {clock}, threads: {content['threads']}"
    return f"{about}\n\n{table(head, lines)}"


def rate() -> str:
    """Contexts trained on frozen latents."""
    return _rates(lambda name: "attention" not in name)


def attention() -> str:
    """The transformer context beside the convolutional one."""
    return _rates(lambda name: "attention" in name or name in ("2x2", "4x4"))


def _rates(wanted: Callable[[str], bool]) -> str:
    content = load("rate.json")
    rows = [row for row in content["rows"] if wanted(row["context"])]
    base = next(row for row in content["rows"] if row["context"] == "2x2")["bpp"]
    lines = []
    for row in rows:
        change = f"{100 * (row['bpp'] / base - 1):+.2f} %"
        lines.append([row["context"], f"{row['bpp']:.4f}", change, f"{row['kmac']:.0f}", f"{row['weights'] / 1e6:.2f}"])
    return table(["context", "bpp", "against 2x2", "kMAC a latent", "M weights"], lines)


def exact() -> str:
    """Crops that decode to other latents under other kernels."""
    lines = []
    for kind in KINDS:
        content = load(f"exact-{kind}.json")
        for row in content["rows"] if content else []:
            model = f"{kind}, {content['context']}, N = {content['channels']}"
            size = f"{100 * (row['exact_bytes'] / row['float_bytes'] - 1):+.2f} %"
            lines.append(
                [model, row["way"], f"{row['floats']} of {row['crops']}", f"{row['exact']} of {row['crops']}", size]
            )
    return table(["model", "decoded", "wrong, floats", "wrong, exact", "bytes, exact against floats"], lines)


#: Pages, and the tables between their marks.
PAGES: dict[Path, dict[str, Callable[[], str]]] = {
    ROOT / "docs" / "compressai.md": {"speed": speed, "rate": rate, "exact": exact},
    ROOT / "docs" / "study.md": {"attention": attention},
}


def filled(page: Path) -> str:
    """The text of a page with its tables made anew."""
    text = page.read_text(encoding="utf-8")
    for name, make in PAGES[page].items():
        begin, end = f"<!-- {name} of tools/compressai_tables.py -->", f"<!-- end of {name} -->"
        head, rest = text.split(begin)
        text = f"{head}{begin}\n{make()}\n{end}{rest.split(end)[1]}"
    return text


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(filled(path), encoding="utf-8")
        print(path)
