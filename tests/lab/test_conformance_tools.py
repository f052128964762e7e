"""Golden streams for other decoders, the verb, and making them."""

import json
import shutil

import numpy as np
import pytest

from conformance_examples import (
    MODEL_SET,
    STORED_SET,
    changed_tile,
    failures,
    flipped,
    run,
    save_changed,
    small_set,
)
from model_examples import exported_bytes
from tadan.bitstream import read_header
from tadan.codec.codec import Codec
from tadan.conformance import check_dumps, check_sets, load_sets
from tadan.conformance.dumps import read_dump, write_reference
from tadan.conformance.golden import LATENTS_SUFFIX, MANIFEST, PACKAGED
from tadan.errors import Corrupt, UnreadableInput
from tadan.models import load_model, read_model
from tadan.models.store import BUNDLED
from tadan_lab.golden.cases import CASES
from tadan_lab.golden.make import main, make_model_set, make_stored_set

SETS = load_sets(PACKAGED)
STREAMS = [(golden, stream) for golden in SETS if golden.model for stream in golden.streams]
NAME = "schedule-4x4-opt-8"


# --- other implementations -------------------------------------------------------------------------------------------


def test_what_is_written_for_others_is_what_they_are_compared_with(tmp_path):
    golden = small_set(tmp_path / "sets", NAME, "mode-rgba", "bad-version")
    stored = small_set(tmp_path / "sets", "stored-png", source=STORED_SET)
    out = tmp_path / "out"
    paths = list(write_reference([golden, stored], out, threads=1))
    assert {path.name for path in paths} >= {MANIFEST, f"{NAME}.tdn", f"{NAME}{LATENTS_SUFFIX}", "bad-version.tdn"}
    assert [one.manifest() for one in load_sets(out)] == [golden.manifest(), stored.manifest()]
    assert all(outcome.ok for outcome in check_dumps([golden, stored], out))
    assert all(outcome.ok for outcome in check_sets(load_sets(out), threads=1))

    path = out / golden.name / f"{NAME}{LATENTS_SUFFIX}"
    dump = np.frombuffer(path.read_bytes(), "<i4").copy()
    dump[-1] += 1  # the last channel of the last position
    path.write_bytes(dump.tobytes())
    [wrong] = [outcome for outcome in check_dumps([golden], out) if not outcome.ok]
    assert (wrong.name, wrong.step) == (NAME, "latents")
    assert "of 8: y_hat differs" in wrong.detail
    path.write_bytes(dump.tobytes()[:-4])
    [wrong] = [outcome for outcome in check_dumps([golden], out) if not outcome.ok]
    assert "bytes instead of" in wrong.detail
    path.unlink()
    save_changed(out / stored.name / "stored-png.png", 1)
    assert [outcome.step for outcome in check_dumps([golden, stored], out)] == ["latents", None, "pixels"]


def test_latents_order_is_that_of_the_decoder():
    """Values gathered from finished latents carry the checksums that the walk took."""
    for golden, stream in STREAMS[:3]:
        tiles = Codec(threads=1).decode_latents(golden.read(stream.name, ".tdn"))
        header = read_header(golden.read(stream.name, ".tdn"))
        dump = read_dump(header, b"".join(p.astype("<i4").tobytes() for t in tiles for p in (t.z_hat, t.y_hat)))
        for trace, record in zip(dump.traces(), stream.tiles, strict=True):
            assert trace.first_difference(record) is None


# --- the verb --------------------------------------------------------------------------------------------------------


def test_the_verb_says_which_stream_fails_and_exits_with_1(tmp_path):
    golden = small_set(tmp_path, NAME, "bad-version")
    tile = golden.streams[0].tiles[0]
    changed_tile(golden, y=(flipped(tile.y[0]), *tile.y[1:]))
    shown = run("--data", tmp_path, code=1)
    assert f"FAIL  {golden.name}/{NAME}: latents: tile 1 of 1, stage 1 of 8" in shown
    assert f"pass  {golden.name}/bad-version: refused with UnsupportedVersion" in shown
    assert "1 of 2 passed" in shown
    assert "does not conform" in shown
    document = json.loads(run("--data", tmp_path, "--json", code=1))
    assert (document["ok"], [one["ok"] for one in document["outcomes"]]) == (False, [False, True])


def test_the_verb_lists_and_writes(tmp_path):
    small_set(tmp_path / "sets", NAME)
    assert "named 4x4-opt-8" in run("--data", tmp_path / "sets", "--list")
    [listed] = json.loads(run("--data", tmp_path / "sets", "--list", "--json"))
    assert listed["streams"][0]["name"] == NAME
    run("--data", tmp_path / "sets", "--out", tmp_path / "out", "--threads", "1")
    assert "1 of 1 passed" in run("--data", tmp_path / "sets", "--check", tmp_path / "out")
    assert run("--data", tmp_path / "sets", "--check", tmp_path / "out", "--quiet") == ""


def test_misuse_and_damaged_manifests_are_bad_input(tmp_path):
    run("--data", tmp_path, code=2)
    run("--list", "--out", tmp_path, code=2)
    golden = small_set(tmp_path, NAME)
    path = golden.folder / MANIFEST
    text = path.read_text()
    for wrong in (
        text[:-20],
        "[]",
        "{}",
        text.replace('"shows"', '"show"', 1),
        text.replace('"tiles": [', '"tiles": 3, "x": [', 1),
    ):
        path.write_text(wrong)
        with pytest.raises(Corrupt, match="manifest"):
            load_sets(tmp_path)
    run("--data", tmp_path, code=2)


# --- making ----------------------------------------------------------------------------------------------------------


def test_making_again_gives_the_same_files(tmp_path):
    """On one machine; another may round g_a's output elsewhere, which is why streams are kept and not made."""
    cases = [case for case in CASES if case.name in ("size-17x33", "quality-10", "inline-groups")]
    first, second = (make_model_set(tmp_path / name / "set", load_model(), cases) for name in "ab")
    assert first.manifest() == second.manifest()
    assert (len(first.streams), len(first.damaged)) == (len(cases) + 2, len(MODEL_SET.damaged))
    assert failures([first]) == []
    assert failures([make_stored_set(tmp_path / "stored")]) == []


def test_sets_are_never_overwritten_silently(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tadan_lab.golden.cases.CASES", CASES[-1:])
    assert main([str(tmp_path)]) == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    path = next(path for path in before if path.suffix == ".tdn")
    path.write_bytes(b"mine")
    assert main([str(tmp_path)]) == 2
    assert "--force" in capsys.readouterr().err
    assert path.read_bytes() == b"mine"
    assert main([str(tmp_path), "--force"]) == 0
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_shipping_a_model_replaces_that_of_its_name_and_its_set(tmp_path, monkeypatch):
    monkeypatch.setattr("tadan_lab.golden.cases.CASES", CASES[-1:])
    monkeypatch.setattr("tadan_lab.golden.make.BUNDLED", tmp_path)
    small_set(tmp_path / "sets", NAME)
    path = tmp_path / "new" / "model.safetensors"
    path.parent.mkdir()
    path.write_bytes(exported_bytes())
    assert main([str(tmp_path / "sets"), "--ship", str(path)]) == 0
    assert (tmp_path / "photo.safetensors").read_bytes() == path.read_bytes()
    made = {"v1-stored", f"v1-{read_model(path).id_hex}"}
    assert {folder.name for folder in (tmp_path / "sets").iterdir()} == made
    path.write_bytes(b"damaged")
    assert main([str(tmp_path / "sets"), "--ship", str(path)]) == 2
    assert main([str(tmp_path / "sets"), "--ship", str(path), "--as", "../out"]) == 2
    assert {folder.name for folder in (tmp_path / "sets").iterdir()} == made


def test_a_second_model_ships_beside_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr("tadan_lab.golden.cases.CASES", CASES[-1:])
    monkeypatch.setattr("tadan_lab.golden.make.BUNDLED", tmp_path)
    first, second = tmp_path / "photo.safetensors", tmp_path / "new" / "model.safetensors"
    shutil.copy(BUNDLED / "photo.safetensors", first)
    second.parent.mkdir()
    second.write_bytes(exported_bytes())
    old = tmp_path / "sets" / f"v1-{read_model(first).id_hex}"
    old.mkdir(parents=True)
    (old / MANIFEST).write_text("{}")
    assert main([str(tmp_path / "sets"), "--ship", str(second), "--as", "photo-psnr"]) == 0
    assert (tmp_path / "photo-psnr.safetensors").read_bytes() == second.read_bytes()
    made = {old.name, "v1-stored", f"v1-{read_model(second).id_hex}"}
    assert {folder.name for folder in (tmp_path / "sets").iterdir()} == made


def test_a_folder_without_sets_is_refused(tmp_path):
    with pytest.raises(UnreadableInput):
        load_sets(tmp_path)
