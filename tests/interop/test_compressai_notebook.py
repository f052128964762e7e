"""The notebook of docs/compressai.md runs, and its page's code too."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from compressai_examples import needs_compressai

needs_compressai()

ROOT = Path(__file__).parents[2]
MISSING = any(find_spec(name) is None for name in ("nbclient", "ipykernel"))


@pytest.mark.slow
@pytest.mark.skipif(
    MISSING and "TADAN_TESTS_NO_SKIP" not in os.environ, reason="nbclient or ipykernel is not installed"
)
def test_the_notebook_runs(tmp_path):
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(ROOT / "docs" / "notebooks" / "compressai.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = "".join(out.get("text", "") for cell in notebook.cells for out in cell.get("outputs", []))
    assert "all equal" in printed


@pytest.mark.slow
def test_the_code_of_the_page_runs(tmp_path):
    """With a smaller ELIC and smaller pictures."""
    text = (ROOT / "docs" / "compressai.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    assert "Elic2022Official()" in code
    code = code.replace("Elic2022Official()", "Elic2022Official(16, 32, [4, 4, 8, 8, 8])").replace("256, 256", "64, 64")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
