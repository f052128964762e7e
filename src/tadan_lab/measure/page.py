"""The shell of a self-contained HTML page: escaping, tables, style, and one small script that only adds comfort."""

import base64
import hashlib
import html
from collections.abc import Sequence

from tadan.text import plain


def text(value: object) -> str:
    """Return ``value`` as HTML text or attribute value, whatever it holds."""
    return html.escape(plain(str(value)), quote=True)


def number(value: float | None, shown: str) -> str:
    """Return ``shown`` with the unrounded value beside it for machines: ``<data value="0.103828">0.1038</data>``."""
    return shown if value is None else f'<data value="{value!r}">{shown}</data>'


def table(caption: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of cells that are HTML already; the first cell of a row is its heading."""
    head = "".join(f'<th scope="col">{text(heading)}</th>' for heading in headings)
    body = "\n".join(
        f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>' for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(caption)}"><table>'
        f"<caption>{text(caption)}</caption><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def section(identifier: str, title: str, *parts: str) -> str:
    """Return a section under a heading; ``parts`` are HTML."""
    inner = "\n".join(part for part in parts if part)
    return f'<section aria-labelledby="{identifier}"><h2 id="{identifier}">{text(title)}</h2>\n{inner}\n</section>'


def page(title: str, body: Sequence[str]) -> bytes:
    """Return the whole document, UTF-8; a policy in it forbids the browser to fetch anything or run other scripts."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{text(title)}</title>",
        f"<style>{STYLE}</style></head><body>",
        f"<header><h1>{text(title)}</h1></header><main>",
        *body,
        f"</main><script>{SCRIPT}</script></body></html>",
    ]
    return "\n".join(lines).encode()


STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --soft: #59636e; --line: #d1d9e0; --shade: #f3f5f7;
  --good: #116329; --bad: #a40e26; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ec; --paper: #14171a; --soft: #a3adb7; --line: #3a424a; --shade: #1f2429; --good: #56d364;
    --bad: #ff8f88; }
  .plot svg { filter: invert(0.92) hue-rotate(180deg); }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem clamp(1rem, 4vw, 3rem); max-width: 90rem; color: var(--ink);
  background: var(--paper); font: 1rem/1.5 system-ui, sans-serif; font-variant-numeric: tabular-nums; }
h1 { font-size: 1.6rem; line-height: 1.25; } h2 { margin-top: 2.5rem; font-size: 1.25rem; }
h3 { margin: 2rem 0 .5rem; font-size: 1.05rem; overflow-wrap: anywhere; }
p, li { max-width: 75ch; } .soft, caption, figcaption { color: var(--soft); } .good { color: var(--good); }
.bad { color: var(--bad); } .scroll { overflow-x: auto; }
table { border-collapse: collapse; } caption { text-align: left; padding-bottom: .4rem; }
th, td { padding: .25rem .8rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
th:first-child { text-align: left; padding-left: 0; font-weight: 600; } thead th { background: var(--shade); }
tbody th { overflow-wrap: anywhere; }
pre { padding: .7rem; background: var(--shade); white-space: pre-wrap; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; } dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; } figure { margin: 0; }
.plot svg { width: 100%; min-width: 40rem; height: auto; }
.panels { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start; } .panel { max-width: 24rem; }
.panel img, .stage img { display: block; } .panel img { max-width: 100%; height: auto; }
.panel b { color: var(--ink); } figcaption { padding-top: .3rem; font-size: .9rem; }
.compare { margin-top: 1rem; } .compare label, .compare button { margin-right: 1rem; font: inherit; }
.stage { position: relative; display: inline-block; max-width: 100%; overflow: auto; margin-top: .5rem; }
.stage img { image-rendering: pixelated; max-width: none; } .stage img + img { position: absolute; top: 0; left: 0; }
@media print {
  :root { --ink: #000; --paper: #fff; --soft: #444; --line: #999; --shade: #fff; --good: #000; --bad: #000; }
  .plot svg { filter: none; min-width: 0; } .compare { display: none; } .scroll { overflow: visible; }
  .panel, tr, figure { break-inside: avoid; } h2, h3 { break-after: avoid; } body { padding: 0; font-size: 10pt; }
}
"""

# Adds a divider to drag and a button to blink under each picture; without it the panels above say the same.
SCRIPT = """
"use strict";
for (const exhibit of document.querySelectorAll(".exhibit")) {
  const panels = [...exhibit.querySelectorAll(".panel")];
  const make = (tag, parent, fields) => parent.appendChild(Object.assign(document.createElement(tag), fields));
  const box = make("div", exhibit, { className: "compare" });
  const labelled = (words, tag, fields) => make(tag, make("label", box, { textContent: words + " " }), fields);
  const choice = (words, names, chosen) => {
    const select = labelled(words, "select", {});
    names.forEach((name, index) => make("option", select, { textContent: name, value: index }));
    select.selectedIndex = chosen;
    return select;
  };
  const names = panels.map((panel) => panel.dataset.label);
  const left = choice("Left:", names, 1), right = choice("Right:", names, Math.min(2, names.length - 1));
  const zoom = choice("Zoom:", ["1x", "2x", "3x"], 1);
  const divider = labelled("Divider:", "input", { type: "range", min: 0, max: 100, value: 50 });
  const blink = make("button", box, { type: "button", textContent: "Blink" });
  const stage = make("div", make("div", box, {}), { className: "stage" });
  const below = make("img", stage, {}), above = make("img", stage, {});
  let timer = 0, hidden = false;
  const draw = () => {
    for (const [image, select] of [[below, left], [above, right]]) {
      const source = panels[select.selectedIndex].querySelector("img");
      image.src = source.src;
      image.alt = source.alt;
      image.width = source.getAttribute("width") * (zoom.selectedIndex + 1);
    }
    above.style.clipPath = timer ? (hidden ? "inset(100%)" : "none") : `inset(0 0 0 ${divider.value}%)`;
  };
  for (const control of [left, right, zoom, divider]) control.addEventListener("input", draw);
  stage.addEventListener("pointermove", (event) => {
    const edges = below.getBoundingClientRect();
    divider.value = (100 * (event.clientX - edges.left)) / edges.width;
    draw();
  });
  blink.addEventListener("click", () => {
    clearInterval(timer);
    timer = timer ? 0 : setInterval(() => { hidden = !hidden; draw(); }, 700);
    blink.setAttribute("aria-pressed", String(timer !== 0));
    draw();
  });
  draw();
}
"""
