"""`--jobs`: processes side by side give the same files, lines in order, and errors that stop nobody else."""

import re

import numpy as np
import pytest
from PIL import Image

from cli_examples import command, run
from photo_examples import photo

NAMES = ["a.png", "b.png", "c.png"]


@pytest.fixture
def album(tmp_path):
    folder = tmp_path / "album"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        Image.fromarray(photo("chelsea", 40 + 8 * number, 56)).save(folder / name)
    Image.fromarray(np.full((20, 20), 30_000, np.uint16)).save(folder / "deep.png")
    (folder / "bad.png").write_text("no picture")
    return folder


@pytest.mark.slow
def test_files_lines_warnings_and_errors_are_those_of_one_process(album, tmp_path):
    shown = {}
    for jobs in (1, 3):
        out = tmp_path / f"out{jobs}"
        done = command("encode", album, "--out-dir", out, "-q", 30, "-e", 0, "--threads", 1, "--jobs", jobs)
        assert done.returncode == 2
        lines = re.sub(r"[\d.]+ s\b", "", done.stdout.decode()).replace(str(out), "")
        assert b"Traceback" not in done.stderr
        # Ours alone: native libraries of a process may write to standard error, too.
        errors = [line for line in done.stderr.splitlines() if line.startswith((b"error:", b"warning:"))]
        shown[jobs] = lines, errors, {path.name: path.read_bytes() for path in out.iterdir()}
    assert shown[1] == shown[3]
    lines, errors, files = shown[3]
    assert [line.split(" -> ")[0][-5:] for line in lines.splitlines()] == [*NAMES, "p.png"]
    assert [b"bad.png" in errors[0], b"deep.png: " in errors[1]] == [True, True]
    assert len(files) == 4


@pytest.mark.slow
def test_decoding_and_verifying_side_by_side(album, tmp_path):
    (album / "bad.png").unlink()
    coded, decoded = tmp_path / "coded", tmp_path / "decoded"
    run("encode", album, "--out-dir", coded, "-q", 30, "-e", 0)
    damaged = bytearray((coded / "b.tdn").read_bytes())
    damaged[-9] ^= 1
    (coded / "b.tdn").write_bytes(damaged)
    done = command("verify", coded, "--jobs", 2, "--threads", 1)
    assert done.returncode == 1
    assert done.stdout.count(b": ok") == 3
    assert b"b.tdn" in done.stderr
    done = command("decode", coded, "--out-dir", decoded, "--salvage", "--jobs", 2, "--threads", 1)
    assert done.returncode == 1
    assert sorted(path.name for path in decoded.iterdir()) == [*NAMES, "deep.png"]
