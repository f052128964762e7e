"""``tadan batch`` as users run it: reports, exit codes, signals, SIGKILL."""

import csv
import json
import signal
import subprocess
import sys
import time

import pytest

import tadan
from batch_examples import pictures
from cli_examples import fails, run
from tadan.codec.profile import Profile
from tadan_lab.measure.kills import PROCESS, WORKER, Rehearsal

QUICK = ("-e", "0", "--workers", "1")


def test_the_report_tells_all(tmp_path):
    source = pictures(tmp_path / "source", 3)
    (source / "<bad>.png").write_bytes(b"nonsense")
    result = run("batch", source, tmp_path / "out", *QUICK, "--report", tmp_path / "told" / "all", code=2)
    assert "3 encoded" in result.stdout
    assert "UnreadableInput" in result.stderr
    facts = json.loads((tmp_path / "told" / "all.json").read_text())
    assert facts["pictures"]["states"] == {"done": 3, "failed": 1}
    assert facts["failures"][0]["kind"] == "UnreadableInput"
    assert facts["pictures"]["bytes_out"] == sum(one.stat().st_size for one in (tmp_path / "out").rglob("*.tdn"))
    assert facts["pictures"]["pixels"] == 3 * 48 * 64
    page = (tmp_path / "told" / "all.html").read_text()
    assert "&lt;bad&gt;.png" in page
    assert "<bad>" not in page
    with (tmp_path / "told" / "all.csv").open(newline="") as file:
        rows = {row["source"]: row for row in csv.DictReader(file)}
    assert len(rows) == 4
    assert all((row["output"] != "") == (row["state"] == "done") for row in rows.values())
    again = run("batch", source, tmp_path / "out", *QUICK, code=2)
    assert "3 unchanged" in again.stdout
    assert "1 failed before" in again.stdout


def test_a_profile_says_how_and_options_win_over_it(tmp_path):
    source = pictures(tmp_path / "source", 2)
    Profile(quality=31, schedule="2x2", effort=0).save(tmp_path / "p.toml")
    for words, quality in ((("-q", "72"), 72), ((), 31)):
        run("batch", source, tmp_path / "out", "--naming", "mirror", "--profile", tmp_path / "p.toml", *words)
        found = [tadan.inspect(path) for path in (tmp_path / "out").rglob("*.tdn")]
        assert {(one.quality, one.schedule) for one in found if one.content == "latents"} <= {(quality, "2x2")}
        assert {one.quality for one in found} == {quality}


def test_what_cannot_be_asked_for(tmp_path, monkeypatch):
    source = pictures(tmp_path / "source", 1)
    fails("batch", source, tmp_path / "out", "--naming", "number", message="hash or mirror")
    fails("batch", tmp_path / "gone", tmp_path / "out", message="no folder")
    fails("batch", source, "nowhere://bucket", message="cannot write to nowhere://bucket")
    fails("batch", source, tmp_path / "out", "-q", "50", "--lossless", message="exclude each other")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    fails("batch", source, tmp_path / "out", message=r'pip install "tadan\[batch\]"')


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_ends_in_order_and_the_next_run_goes_on(tmp_path, name):
    source = pictures(tmp_path / "source", 24)
    command = [sys.executable, "-m", "tadan", "batch", str(source), str(tmp_path / "out"), *QUICK]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not list((tmp_path / "out").rglob("*.tdn")) and process.poll() is None:
        time.sleep(0.005)
    number = getattr(signal, name)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number, errors
    assert "Traceback" not in errors
    facts = json.loads((tmp_path / "out" / "tadan-batch-report.json").read_text())
    assert facts["state"] == "stopped"
    assert facts["reason"] == name
    made = facts["pictures"]["states"]["done"]
    assert 0 < made < 24
    assert f"{24 - made} encoded" in run("batch", source, tmp_path / "out", *QUICK).stdout


@pytest.mark.slow
def test_kills_at_random_moments_leave_nothing_wrong(tmp_path):
    rehearsal = Rehearsal(pictures(tmp_path / "source", 16), tmp_path, 1, ("-e", "0"), seed=4)
    trials = rehearsal.run([PROCESS, WORKER], 1, ["mirror"])
    assert [one.faults for one in trials] == [(), ()]
