"""The npm package ``web/``: where it is, and what its tests need."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

WEB = Path(__file__).parents[2] / "web"
SITE = Path(__file__).parents[2] / "src" / "tadan" / "serve" / "site"
BUILT = ("tadan-polyfill.js", "tadan.wasm", "tadan-scalar.wasm")  # files of SITE that come from WEB


def needs_node():
    """Skip, or with TADAN_TESTS_NO_SKIP fail, where the package cannot be built."""
    programs = [name for name in ("node", "npx", "clang", "wasm-ld") if shutil.which(name) is None]
    missing = ", ".join(programs) or (
        "" if (WEB / "node_modules").is_dir() else "packages; run: npm install --prefix web"
    )
    if missing:
        text = f"web/ cannot be built here, missing: {missing}"
        pytest.fail(text) if "TADAN_TESTS_NO_SKIP" in os.environ else pytest.skip(text)


def run(*command, timeout=600):
    """What a command prints in ``web/``; its output is the message if it fails."""
    done = subprocess.run(command, cwd=WEB, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@cache
def built():
    """Folder of a fresh build."""
    needs_node()
    run("node", "build.mjs")
    return WEB / "dist"
