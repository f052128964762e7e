"""Puts what docs/demo needs beside it: the built decoder, weights, and one script of all files for ``file://``.

``python tools/web_demo.py docs/demo`` completes the page in a checkout, ``... FOLDER`` writes it anywhere; the site has
it by tools/mkdocs_hooks.py. Any static host can serve the folder.
"""

from __future__ import annotations

import base64
import json
import shutil
import sys
from pathlib import Path

from tadan.models import load_model

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "demo"
SITE = ROOT / "src" / "tadan" / "serve" / "site"
BUILT = ("tadan-polyfill.js", "tadan.wasm", "tadan-scalar.wasm")
SOURCES = (".html", ".css", ".js", ".tdn")
FILES = "tadan-files.js"


def complete(folder: Path) -> list[Path]:
    """Write what is missing of the demo into ``folder``; the files."""
    folder.mkdir(parents=True, exist_ok=True)
    own = [path for path in PAGE.iterdir() if path.suffix in SOURCES and path.name not in (*BUILT, FILES)]
    if folder.resolve() != PAGE:
        for path in own:
            shutil.copyfile(path, folder / path.name)
    for name in BUILT:
        shutil.copyfile(SITE / name, folder / name)
    model = load_model()
    weights = folder / f"{model.id_hex}.safetensors"
    weights.write_bytes(model.decoder_only().to_bytes())
    carried = {name: (SITE / name).read_bytes() for name in BUILT if name.endswith(".wasm")}
    carried |= {"tadan-worker.js": (SITE / BUILT[0]).read_bytes(), weights.name: weights.read_bytes()}
    carried |= {path.name: path.read_bytes() for path in own if path.suffix == ".tdn"}
    texts = {name: base64.b64encode(data).decode() for name, data in carried.items()}
    (folder / FILES).write_text(f"globalThis.TADAN_FILES = {json.dumps(texts)};\n")
    return sorted(folder.iterdir())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: python {sys.argv[0]} FOLDER")
    for written in complete(Path(sys.argv[1])):
        print(written)
