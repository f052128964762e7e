"""Standard streams that are closed or full, commands that are killed, mistakes of ours in the middle of a batch."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from PIL import Image

import tadan
from cli_examples import command, run
from photo_examples import photo
from tadan.cli import files as cli_files
from tadan.errors import Unexpected

DATA = tadan.encode(photo("chelsea", 64, 96), quality=30, effort=0)

posix = pytest.mark.skipif(os.name != "posix", reason="closed descriptors and /dev/full are those of POSIX systems")
needs_full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")


@pytest.fixture
def stream(tmp_path):
    path = tmp_path / "a.tdn"
    path.write_bytes(DATA)
    return path


def shell(line, *arguments):
    """A line of shell, ``tadan`` in it standing for the command."""
    line = line.replace("tadan", f"{sys.executable} -m tadan", 1)
    return subprocess.run(["sh", "-c", line, "sh", *map(str, arguments)], capture_output=True, text=True, timeout=60)


@posix
@pytest.mark.parametrize("verb", ["info", "verify", "decode -o -"])
@pytest.mark.parametrize("where", [">&-", pytest.param("> /dev/full", marks=needs_full)])
def test_output_that_nobody_takes_is_an_error(verb, where, stream):
    result = shell(f'tadan {verb} "$1" {where}', stream)
    assert result.returncode == 2, result
    assert "cannot write standard output: " in result.stderr
    assert "Traceback" not in result.stderr
    assert "mistake" not in result.stderr


@posix
def test_closed_standard_error_changes_nothing(stream, tmp_path):
    assert shell('tadan decode "$1" "$2" 2>&-', stream, tmp_path / "a.png").returncode == 0
    assert Image.open(tmp_path / "a.png").size == (96, 64)


def test_a_reader_that_leaves_early_is_no_error_of_ours(stream):
    line = [sys.executable, "-m", "tadan", "decode", stream, "-o", "-", "--format", "ppm"]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.wait(60) == 141
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()


def default_signals():
    """In a child: whoever runs the tests may ignore a signal (nohup), and the command then ignores it, too."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_killed_command_leaves_nothing_behind(number, tmp_path):
    """Killed while it writes, which is made to take long here."""
    target = tmp_path / "out.tdn"
    target.write_bytes(b"what was there")
    script = """
        import sys, time
        from tadan.cli import main
        from tadan.files import write_atomically

        target, ready = sys.argv[1:]

        def slowly(file):
            file.write(b"half")
            file.flush()
            open(ready, "w").close()
            time.sleep(60)

        main.app.command("hang")(lambda: write_atomically(target, slowly))
        sys.argv = ["tadan", "hang"]
        main.run()
    """
    ready = tmp_path / "ready"
    line = [sys.executable, "-c", textwrap.dedent(script), target, ready]
    process = subprocess.Popen(line, cwd=tmp_path, preexec_fn=default_signals)
    while not ready.exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    code = process.wait(30)
    assert code == (-9 if number == signal.SIGKILL else 128 + number)
    ready.unlink()
    assert target.read_bytes() == b"what was there"
    left = sorted(path.name for path in tmp_path.iterdir())
    if number != signal.SIGKILL or hasattr(os, "O_TMPFILE"):
        assert left == ["out.tdn"]


def test_without_unnamed_files_the_old_way_serves(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    tadan.write(tmp_path / "a.tdn", photo("chelsea", 32, 32), effort=0)
    os.chmod(tmp_path / "a.tdn", 0o640)
    tadan.write(tmp_path / "a.tdn", photo("coffee", 32, 32), effort=0)
    assert (tmp_path / "a.tdn").stat().st_mode & 0o777 == 0o640
    with pytest.raises(tadan.errors.OutputExists):
        tadan.write(tmp_path / "a.tdn", photo("coffee", 32, 32), overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tdn"]


def test_a_mistake_of_ours_costs_one_file_and_says_so(stream, tmp_path, monkeypatch):
    (tmp_path / "b.tdn").write_bytes(DATA)
    read = cli_files.read_source

    def mistaken(path):
        if path.name == "a.tdn":
            raise ZeroDivisionError("division by zero")
        return read(path)

    monkeypatch.setattr(cli_files, "read_source", mistaken)
    result = run("decode", stream, tmp_path / "b.tdn", "--out-dir", tmp_path / "out", code=2)
    assert "ZeroDivisionError: division by zero; this is a mistake of tadan's" in result.stderr.replace("\n", " ")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.png"]
    assert issubclass(Unexpected, tadan.TadanError)


def hostile_exif():
    """EXIF blocks that Pillow accepts into `info` and chokes on when some format writes them."""
    ifd = b"II*\0\x08\0\0\0"
    return {
        "offset beyond the end": b"II*\0\xff\xff\xff\x7f",
        "count beyond the end": ifd + b"\xff\xff" + b"\x0f\x01\x02\0\xff\xff\xff\x7f\0\0\0\0",
        "no header": b"no header at all",
        "wrong type of a number": ifd + b"\x01\0" + b"\x12\x01\x02\0\x04\0\0\0abcd" + b"\0\0\0\0",
        "rational without bytes": ifd + b"\x01\0" + b"\x1a\x01\x05\0\x01\0\0\0\xff\xff\0\0" + b"\0\0\0\0",
        "empty directory": ifd + b"\0\0",
    }


@pytest.mark.parametrize("name", hostile_exif())
@pytest.mark.parametrize("suffix", [".tif", ".avif", ".png", ".jpg", ".webp"])
def test_hostile_exif_never_costs_the_picture(name, suffix, tmp_path):
    from tadan.bitstream import read_stream, write_stream
    from tadan.bitstream.container import Stream

    sound = read_stream(DATA)
    data = write_stream(Stream(sound.header, {"exif": hostile_exif()[name]}, sound.tiles))
    (tmp_path / "x.tdn").write_bytes(data)
    run("decode", tmp_path / "x.tdn", tmp_path / f"x{suffix}")
    assert Image.open(tmp_path / f"x{suffix}").size == (96, 64)


def test_info_reads_no_more_than_the_header(tmp_path):
    path = tmp_path / "large.tdn"
    path.write_bytes(DATA)
    with open(path, "r+b") as file:
        file.truncate(2**36)  # sparse
    result = command("info", path)
    assert result.returncode == 0
    assert b"96 x 64" in result.stdout
