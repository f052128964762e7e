"""The document of the interface is true: schemathesis asks whatever it allows, and more."""

import os
import shutil
import subprocess

import pytest

MISSING = shutil.which("schemathesis") is None and "TADAN_TESTS_NO_SKIP" not in os.environ


@pytest.mark.slow
@pytest.mark.skipif(MISSING, reason='schemathesis is not installed; run: pip install "schemathesis>=4"')
def test_no_request_gives_an_answer_that_is_not_documented(service_at, tmp_path):
    """Statuses, media types, headers, no 5xx. A body of bytes may be refused, which no schema can foresee."""
    line = ["schemathesis", "run", f"{service_at}/openapi.json", "--max-examples", "12", "--seed", "7"]
    line += ["--exclude-checks", "positive_data_acceptance", "--request-timeout", "60", "--no-color"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
