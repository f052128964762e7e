"""The command line on a real photograph: verbs, names of outputs, errors and exit codes."""

import io
import json
import os
import re
import subprocess
import sys
import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageCms
from skimage import data as pictures

import icc_examples
import tadan
from cli_examples import command, fails, run
from tadan.bitstream import MAGIC, Header, Limits, ScheduleField, Stream, Tile, read_stream, write_stream
from tadan.codec.options import EncodeOptions
from tadan.codec.writer import Encoded
from tadan.errors import TadanError, UnreadableInput

WIDTH, HEIGHT = 96, 80
HEAVY = ("numpy", "PIL.ImageFile", "onnxruntime", "constriction", "torch", "matplotlib")


@pytest.fixture(scope="module")
def chelsea():
    return Image.fromarray(pictures.chelsea()[100 : 100 + HEIGHT, 130 : 130 + WIDTH])


@pytest.fixture
def photo(chelsea, tmp_path):
    chelsea.save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture(scope="module")
def stream(chelsea):
    """Bytes of one encoded photograph."""
    return tadan.Codec(threads=1).encode(chelsea, quality=60)


@pytest.fixture
def stream_file(stream, tmp_path):
    (tmp_path / "photo.tdn").write_bytes(stream)
    return tmp_path / "photo.tdn"


class FakeCodec:
    """Keeps the picture as PNG inside a real container: enough to test which files are read and written."""

    calls: list
    limits = tadan.Limits()

    def __init__(self, model=None, *, threads=None, **options):
        self.calls.append({"model": model, "threads": threads, **options})

    def encode_picture(self, image, options):
        self.calls.append(options)
        buffer = io.BytesIO()
        try:
            picture = image if isinstance(image, Image.Image) else Image.open(image)
            picture.convert("RGB").save(buffer, "PNG")
        except OSError as error:
            raise UnreadableInput(f"cannot open {image}: {error}") from error
        header = Header(picture.width, picture.height, "RGB", options.quality, b"anything" * 2, ScheduleField("2x2"))
        return Encoded(write_stream(Stream(header, {}, (Tile(0, buffer.getvalue()),))), 0.0)

    def decode(self, data, *, region=None, stages=None, reduce=1):
        return Image.open(io.BytesIO(read_stream(data).tiles[0].payload))


@pytest.fixture
def fake(monkeypatch):
    FakeCodec.calls = []
    monkeypatch.setattr(tadan, "Codec", FakeCodec, raising=False)
    return FakeCodec


# --- the main job, with the real codec ---


def test_a_photograph_goes_in_and_comes_back(photo, chelsea, tmp_path):
    small, back = tmp_path / "small.tdn", tmp_path / "back.png"
    line = run("encode", photo, small, "-q", 80, "--schedule", "4x4", "--verify", "--threads", 1).stdout
    assert re.search(rf"{small.stat().st_size:,} bytes +\d+\.\d{{3}} bpp +\d+\.\d\d s", line)
    assert f"{WIDTH} x {HEIGHT} RGB" in run("decode", small, back).stdout
    error = np.asarray(Image.open(back), float) - np.asarray(chelsea, float)
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 24


def test_profile_exif_and_xmp_are_passed_on(chelsea, tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x010E] = "a cat"
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'></x:xmpmeta>"
    chelsea.save(tmp_path / "in.jpg", icc_profile=profile, exif=exif, xmp=xmp)
    run("encode", tmp_path / "in.jpg", tmp_path / "a.tdn")
    for suffix in (".png", ".jpg", ".webp", ".tif", ".avif"):
        run("decode", tmp_path / "a.tdn", tmp_path / f"out{suffix}")
        with Image.open(tmp_path / f"out{suffix}") as out:
            assert out.info["icc_profile"] == profile, suffix
            assert out.info["xmp"] == xmp, suffix
            assert out.getexif()[0x010E] == "a cat", suffix


def test_strip_leaves_metadata_out(chelsea, tmp_path):
    chelsea.save(tmp_path / "in.jpg", icc_profile=icc_examples.adobe_rgb(), xmp=b"<x:xmpmeta/>")
    run("encode", tmp_path / "in.jpg", tmp_path / "kept.tdn", "-e", 0)
    run("encode", tmp_path / "in.jpg", tmp_path / "stripped.tdn", "-e", 0, "--strip")
    assert set(read_stream((tmp_path / "kept.tdn").read_bytes()).metadata) == {"icc", "xmp"}
    assert read_stream((tmp_path / "stripped.tdn").read_bytes()).metadata == {}


def test_pipes_carry_files_and_nothing_else(photo):
    encoded = command("encode", "-", "-", "-q", 50, stdin=photo.open("rb"))
    assert encoded.returncode == 0, encoded.stderr
    assert encoded.stdout.startswith(MAGIC)
    assert b"bpp" in encoded.stderr
    decoded = command("decode", "-", input=encoded.stdout)
    with Image.open(io.BytesIO(decoded.stdout)) as image:
        assert (image.format, image.size) == ("PNG", (WIDTH, HEIGHT))


def test_verify_prints_checksums_and_fails_on_a_damaged_file(stream, stream_file, tmp_path):
    shown = run("verify", stream_file).stdout
    assert re.search(r"photo\.tdn: ok, .*\n +tile 1 +latents [0-9a-f]{8}", shown)
    damaged = bytearray(stream)
    damaged[-10] ^= 1
    (tmp_path / "bad.tdn").write_bytes(damaged)
    result = run("verify", tmp_path / "bad.tdn", stream_file, "--json", code=1)
    assert re.search(r"error: .*bad\.tdn.*checksum", result.stderr)
    fails("verify", tmp_path / "bad.tdn", tmp_path / "missing.tdn", message="missing")
    bad, good = map(json.loads, result.stdout.splitlines())
    assert (bad["ok"], bad["error"], good["ok"]) == (False, "Corrupt", True)
    assert good["tiles"][0] in shown
    assert good["file_bytes"] == len(stream)


def test_info_shows_the_header(stream, stream_file):
    assert f"{WIDTH} x {HEIGHT} RGB" in run("info", stream_file).stdout
    facts = json.loads(run("info", "--json", stream_file).stdout)
    assert (facts["width"], facts["height"], facts["quality"], facts["schedule"]) == (WIDTH, HEIGHT, 60, "4x4-opt-4")
    assert facts["file_bytes"] == len(stream)


def test_info_model_counts_the_arithmetic_of_the_decoder():
    shown = run("model", "info").stdout
    assert float(re.search(r"^ +2x2 +([\d.]+)", shown, re.MULTILINE)[1]) <= 30
    facts = json.loads(run("model", "info", "--json").stdout)
    assert facts["id"] in shown
    assert facts["decoder_kmac_per_pixel"]["checkerboard"] <= 30
    for name, total in facts["decoder_kmac_per_pixel"].items():
        assert total == pytest.approx(sum(facts["decoder_parts"][name].values()), abs=1e-3)
    groups = len(facts["config"]["group_sizes"])
    assert facts["sequential_steps"] == {name: groups * count for name, count in facts["stages"].items()}
    fails("model", "info", "no-such-model", message="no-such-model.*--model FILE")


def test_info_and_help_load_nothing_heavy(stream_file):
    for arguments in (["info", str(stream_file)], ["--help"]):
        script = (
            "import sys\nfrom tadan.cli.main import run\ntry:\n    run()\nfinally:\n"
            f"    print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
        )
        result = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=60)
        assert (result.returncode, result.stderr.strip()) == (0, "[]")


def test_a_stream_of_another_model_names_it(stream, tmp_path):
    parsed = read_stream(stream)
    other = replace(parsed, header=replace(parsed.header, model_id=bytes.fromhex("0badc0de" * 4)))
    (tmp_path / "other.tdn").write_bytes(write_stream(other))
    fails("decode", tmp_path / "other.tdn", message=r"0badc0de0badc0de|model")
    assert not (tmp_path / "other.png").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:20], "ends"),
        (lambda data: data[:8] + b"\xc8" + data[9:], "pip install --upgrade tadan"),
        (lambda data: b"\xff\xd8\xff\xe0" + data, "JPEG picture; .*tadan encode"),
        (lambda data: b"", "empty"),
    ],
    ids=["truncated", "version", "jpeg", "empty"],
)
def test_files_that_are_not_good_streams(change, message, stream, tmp_path):
    (tmp_path / "bad.tdn").write_bytes(change(stream))
    for verb in ("info", "decode"):
        fails(verb, tmp_path / "bad.tdn", message=rf"(?s)error: .*bad\.tdn: .*{message}")
    damaged = message in ("ends", "empty")  # what is whole but not ours, or of a later version, cannot be checked
    shown = run("verify", tmp_path / "bad.tdn", code=1 if damaged else 2).stderr
    assert re.search(rf"(?s)error: .*bad\.tdn: .*{message}", shown)


# --- which files are read and written ---


def test_options_reach_the_codec(photo, fake, monkeypatch):
    fails("encode", photo, "--model", "no-such-model", message="^error: there is no model 'no-such-model'")
    monkeypatch.setattr("tadan.models.load_model", lambda name: SimpleNamespace(check_encoder=lambda: None))
    options = ["-q", 7, "--schedule", "best", "--effort", 5, "--verify", "--tile", 64, "--strip", "--tune", "eye"]
    run("encode", photo, *options, "--threads", 3, "--model", "m", "-Q")
    sizes = ["--max-pixels", "2M", "--memory", "1.5G"]
    run("encode", photo, photo.with_name("b.tdn"), *sizes, "--lossless", "--no-fallback")
    first, second = (
        EncodeOptions(quality=7, schedule="best", verify=True, effort=5, tile=64, strip=True, tune="eye"),
        EncodeOptions(lossless=True, fallback=False),
    )
    limited = {"model": None, "threads": None, "limits": Limits(max_pixels=2_000_000), "memory": 1_500_000_000}
    assert fake.calls == [{"model": "m", "threads": 3}, first, limited, second]
    assert photo.with_suffix(".tdn").exists()


def test_folders_keep_their_structure_below_out_dir(chelsea, tmp_path, fake):
    album, out, back = tmp_path / "album", tmp_path / "new" / "out", tmp_path / "back"
    for name in ("b.PNG", "sub/a.jpg", "sub/.hidden.png", "note.txt"):
        (album / name).parent.mkdir(parents=True, exist_ok=True)
        chelsea.save(album / name, "PNG")
    assert run("encode", album, "--out-dir", out).stdout.count("bpp") == 2
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.tdn")) == ["b.tdn", "sub/a.tdn"]
    assert run("decode", out, "--out-dir", back, "--quiet").output == ""
    assert sorted(path.relative_to(back).as_posix() for path in back.rglob("*.png")) == ["b.png", "sub/a.png"]


def test_one_bad_file_does_not_stop_the_others(photo, tmp_path, fake):
    (tmp_path / "bad.jpg").write_text("not a picture")
    (tmp_path / "empty").mkdir()
    inputs = [tmp_path / "bad.jpg", tmp_path / "missing.png", tmp_path / "empty", photo]
    result = run("encode", *inputs, "--out-dir", tmp_path / "out", code=2)
    for name in ("bad.jpg", "missing.png", "empty"):
        assert re.search(rf"error: .*{name}", result.stderr), name
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["photo.tdn"]


def test_two_inputs_never_share_an_output(photo, tmp_path, fake):
    (tmp_path / "photo.bmp").write_bytes(photo.read_bytes())
    fails("encode", photo, tmp_path / "photo.bmp", "--out-dir", tmp_path / "out", message="already the output of")
    fails("encode", photo, tmp_path / "photo.bmp", "-o", tmp_path / "x.tdn", message="2 inputs .*x.tdn.*--out-dir")
    assert not (tmp_path / "x.tdn").exists()


def test_inputs_are_never_replaced(photo, tmp_path, fake):
    fails("encode", photo, "-o", photo, message="is an input too")
    run("encode", photo)
    photo.write_text("the original")
    fails("decode", tmp_path / "photo.tdn", message="photo.png exists.*-f")
    assert photo.read_text() == "the original"
    run("decode", tmp_path / "photo.tdn", "--force")
    assert Image.open(photo).size == (WIDTH, HEIGHT)


@pytest.mark.parametrize("place", [["{dir}/photo.tdn"], ["-o", "{dir}/photo.tdn"], ["--out-dir", "{dir}"], []])
def test_nothing_is_replaced_without_force(place, photo, tmp_path, fake):
    small, where = tmp_path / "photo.tdn", [part.format(dir=tmp_path) for part in place]
    small.write_text("old")
    fails("encode", photo, *where, message="photo.tdn exists.*-f")
    assert "skipped" in run("encode", photo, *where, "--no-clobber").stdout
    assert small.read_text() == "old"
    run("encode", photo, *where, "-f")
    assert small.read_bytes().startswith(MAGIC)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["out.webp"], "second path is the output, and .*out.webp does not end in .tdn.*--out-dir"),
        (["b.jpg"], "b.jpg does not end in .tdn"),
        (["b.jpg", "out.tdn"], "3 inputs; name a folder .*--out-dir"),
        (["b.jpg", "c.jpg", "d.jpg"], "4 inputs"),
        (["folder"], "is a folder; name it with --out-dir"),
    ],
)
def test_a_typing_error_destroys_nothing(names, message, photo, chelsea, tmp_path, fake):
    """The second of two paths is an output, and only one whose name says so."""
    for name in ("photo.tdn", "b.tdn", "out.tdn"):
        (tmp_path / name).write_text("old")
    chelsea.save(tmp_path / "b.jpg")
    (tmp_path / "folder").mkdir()
    fails("encode", photo, *(tmp_path / name for name in names), message=message)
    fails("encode", photo, *(tmp_path / name for name in names), "-f", message=message)
    assert all((tmp_path / name).read_text() == "old" for name in ("photo.tdn", "b.tdn", "out.tdn"))
    assert not (tmp_path / "out.webp").exists()


def test_decoding_does_not_take_a_stream_for_an_output(photo, tmp_path, fake):
    run("encode", photo, tmp_path / "a.tdn")
    run("encode", photo, tmp_path / "b.tdn")
    before = (tmp_path / "b.tdn").read_bytes()
    for force in ([], ["-f"]):
        fails("decode", tmp_path / "a.tdn", tmp_path / "b.tdn", *force, message="b.tdn does not end as a picture")
        fails("decode", tmp_path, *force, message="is a folder; name one for the outputs")
    assert (tmp_path / "b.tdn").read_bytes() == before


def test_an_output_that_came_meanwhile_is_kept(photo, tmp_path, fake, monkeypatch):
    small, encode = tmp_path / "small.tdn", FakeCodec.encode_picture

    def slow(self, image, options):
        small.write_text("from another process")
        return encode(self, image, options)

    monkeypatch.setattr(FakeCodec, "encode_picture", slow)
    for force in ([], ["--no-clobber"]):
        fails("encode", photo, small, *force, message="small.tdn: it exists.*-f")
        assert small.read_text() == "from another process"
        small.unlink()
    run("encode", photo, small, "-f")
    assert small.read_bytes().startswith(MAGIC)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photo.png", "small.tdn"]


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/fd/1"), reason="needs /dev/fd")
def test_the_own_streams_are_written_where_they_stand(photo, tmp_path):
    """What standard output was redirected to is neither cut nor replaced."""
    log = tmp_path / "log.bin"
    for name in ("/dev/stdout", "/dev/fd/1"):
        log.write_bytes(b"line\n")
        with log.open("ab") as file:
            done = command("encode", photo, "-o", name, "-q", 20, "-e", 0, "-Q", stdout_to=file)
        assert done.returncode == 0, done.stderr
        assert log.read_bytes().startswith(b"line\n" + MAGIC)
        piped = command("encode", photo, "-o", name, "-q", 20, "-e", 0, "-Q")
        assert log.read_bytes() == b"line\n" + piped.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{dir}/nowhere/x.tdn"], "nowhere.*nothing was written"),
        (["-o", "{dir}"], "is a folder.*--out-dir"),
        (["--out-dir", "{dir}/file"], "cannot create .*file"),
        (["-o", "x.tdn", "--out-dir", "{dir}"], "leave one of them out"),
        (["-q", "0"], "Invalid value for .*-q.* 1"),
        (["-q", "101"], "Invalid value for .*-q.* 100"),
        (["--schedule", "5x5"], "no schedule '5x5'; choose one of: .*4x4"),
    ],
)
def test_arguments_that_cannot_work(arguments, message, photo, tmp_path, fake):
    (tmp_path / "file").write_text("old")
    fails("encode", photo, *(part.format(dir=tmp_path) for part in arguments), message=f"(?s){message}")
    assert (tmp_path / "file").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "photo.png"]


@pytest.mark.skipif(os.name == "nt" or not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_an_error_with_a_message(photo, fake):
    fails("encode", photo, "-o", "/dev/full", message="Cannot write /dev/full: no space left")


def test_formats_that_pillow_cannot_write(photo, tmp_path, fake, monkeypatch):
    run("encode", photo)
    fails("decode", tmp_path / "photo.tdn", tmp_path / "x.docx", message=r"'\.docx'; use \.png")
    monkeypatch.setattr(FakeCodec, "decode", lambda self, *arguments, **options: Image.new("RGBA", (4, 4)))
    fails("decode", tmp_path / "photo.tdn", tmp_path / "x.jpg", message=r"JPEG cannot hold .* RGBA .*\.png")
    assert not (tmp_path / "x.jpg").exists()


def test_standard_input_must_be_a_picture(fake, tmp_path):
    result = run("encode", "-", "-o", tmp_path / "x.tdn", code=2, stdin=b"no picture")
    assert "standard input is not a picture" in result.stderr
    assert not list(tmp_path.iterdir())


# --- the program around the verbs ---


def test_errors_and_interrupts_become_exit_codes(photo, fake, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    def unexpected(*arguments, **options):
        raise TadanError("a strange \x1b[31mname")

    monkeypatch.setattr(FakeCodec, "__init__", unexpected)
    assert "a strange \\x1b[31mname" in run("encode", photo, code=2).stderr
    monkeypatch.setattr(FakeCodec, "__init__", interrupted)
    run("encode", photo, code=130)


def test_warnings_name_the_file(photo, fake, monkeypatch):
    encode = FakeCodec.encode_picture

    def warn(*arguments, **options):
        warnings.warn("16 bits become 8", stacklevel=1)
        return encode(*arguments, **options)

    monkeypatch.setattr(FakeCodec, "encode_picture", warn)
    assert run("encode", photo).stderr == f"warning: {photo}: 16 bits become 8\n"


def test_help_names_every_verb():
    shown = run("--help").stdout
    for verb in ("encode", "decode", "info", "verify", "model", "schedule", "selftest", "lab"):
        assert re.search(rf"\b{verb}\b", shown), verb
    assert re.search(r"Exit codes: 0 done; 1 checked and found wanting; 2 could not; 128 \+ n", shown)
    for verb in ("list", "info", "finetune", "train", "export"):
        assert re.search(rf"\b{verb}\b", run("model", "--help").stdout), verb
    assert run("--version").stdout == f"tadan {tadan.__version__}\n"
    assert "Missing argument" in run("encode", code=2).stderr
    assert "Missing argument" in run("info", code=2).stderr


def test_a_reader_that_leaves_early_is_no_error(stream_file):
    line = [sys.executable, "-m", "tadan", "info", "--json", *[str(stream_file)] * 500]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) in (1, 141)
