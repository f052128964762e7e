"""``tadan tune`` as users meet it: a profile that encodes, options that win over it, interruptions, refusals."""

import json
import re

import pytest
from PIL import Image

from cli_examples import fails, run
from machine_examples import machine
from photo_examples import photo
from tadan.bitstream import read_header
from tadan.codec.profile import Profile, load_profile
from tadan.models import load_model
from tadan.tune.benchmark import facts_here

QUICK = ["--minutes", 0.1, "--sample", 2, "--schedules", "hyper 4x4-opt-4", "--efforts", "0,1"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with two photographs, and a profile of this machine that nobody measured."""
    place = tmp_path_factory.mktemp("world")
    (place / "album").mkdir()
    for name in ("chelsea", "coffee"):
        Image.fromarray(photo(name, 96, 112)).save(place / "album" / f"{name}.png")
    (place / "machines").mkdir()
    model = load_model().id_hex
    machine(2, model_id=model, facts=facts_here()).save(place / "machines" / f"this-{model[:8]}.toml")
    return place


@pytest.fixture
def here(world, tmp_path, monkeypatch):
    """The world, with this machine known, in a folder of its own."""
    monkeypatch.setenv("TADAN_MACHINES", str(world / "machines"))
    monkeypatch.setenv("TADAN_CACHE", str(world / "cache"))
    monkeypatch.chdir(tmp_path)
    return world


def test_pictures_and_a_target_in_and_a_profile_out_that_encodes(here, tmp_path):
    shown = run("tune", here / "album", "--for", "bytes, encode<5s", "--plot", "front.svg", *QUICK)
    assert "2 of 2 pictures, at most about" in shown.stderr
    assert "chosen: " in shown.stdout
    profile = load_profile(tmp_path / "tadan-profile.toml")
    assert profile.schedule == "4x4-opt-4", "context always pays where it is cheap"
    assert profile.origin["tuned"]["target"] == "bytes, encode<5s"
    assert profile.origin["pictures"]["sample"] == 2
    assert (tmp_path / "front.svg").read_text().startswith("<?xml")

    fails("tune", here / "album", "--for", "bytes", *QUICK, message="exists and is left as it is")
    again = run("tune", here / "album", "--for", "speed", "-o", "fast.toml", "--json", *QUICK)
    document = json.loads(again.stdout)
    assert document["chosen"]["schedule"] == "hyper"
    assert document["chosen"]["effort"] == load_profile(tmp_path / "fast.toml").effort == 0
    assert document["chosen"]["jobs"] == 2
    assert document["front"]

    run("encode", here / "album", "--out-dir", "coded", "--profile", "fast.toml", "--threads", 1)
    header = read_header((tmp_path / "coded" / "coffee.tdn").read_bytes())
    assert (header.schedule.name, header.quality) == ("hyper", 60)


def test_a_profile_of_another_machine_is_planned_for(here, tmp_path):
    machine(8, 20.0, model_id=load_model().id_hex).save(tmp_path / "slow.toml")
    arguments = ["tune", here / "album", "--machine", "slow.toml", *QUICK]
    run(*arguments, "--for", "bytes, encode<2s", "-o", "p.toml")
    assert load_profile("p.toml").origin["planned_for"] == {
        "processor": "of paper",
        "cores": 8,
        "measured": "2026-01-01",
        "measured_with_model": load_model().id_hex,
    }
    fails(*arguments, "--for", "bytes, encode<20ms", message="no setting meets .* another --machine")


def test_options_win_over_a_profile(here, tmp_path):
    Profile(quality=30, schedule="2x2", effort=0, tile=64).save(tmp_path / "p.toml")
    coffee = here / "album" / "coffee.png"

    def header(*options):
        run("encode", coffee, "x.tdn", "-f", "--threads", 1, "--profile", "p.toml", *options)
        return read_header((tmp_path / "x.tdn").read_bytes())

    own = header()
    assert (own.quality, own.schedule.name, own.tile_size) == (30, "2x2", 64)
    typed = header("-q", 60, "--schedule", "balanced", "--tile", 0)
    assert (typed.quality, typed.schedule.name, typed.tile_size) == (60, "4x4-opt-4", 0)
    assert header("--target-psnr", 30).quality != 30


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('format = "tadan profile 1"\n[encode]\nqualty = 3', "qualty, which nobody reads"),
        (f'format = "tadan profile 1"\n[encode]\nmodel_id = "{"0" * 32}"', "tune again, or remove the line"),
    ],
)
def test_profiles_that_cannot_be_followed(text, message, here, tmp_path):
    (tmp_path / "p.toml").write_text(text)
    coffee = here / "album" / "coffee.png"
    fails("encode", coffee, "x.tdn", "--profile", "p.toml", message=message)
    fails("serve", "--profile", "p.toml", message=message)
    assert not (tmp_path / "x.tdn").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "tune takes a folder and a target"),
        (["{dir}"], "tune takes a folder and a target"),
        (["{dir}", "--measure", "m.toml"], "--measure takes no pictures"),
        (["{dir}", "--for", "beauty"], "begins with one goal"),
        (["{dir}/nothing", "--for", "bytes"], "nothing"),
        (["{dir}", "--for", "bytes", "--efforts", "0,10"], "from 0 to 9"),
        (["{dir}", "--for", "bytes", "--schedules", "none-such"], "none-such"),
        (["{dir}", "--for", "bytes", "--models", "none-such"], "no model 'none-such'"),
        (["{dir}", "--for", "bytes", "--machine", "nowhere.toml"], "nowhere.toml"),
        (["{dir}", "--for", "bytes", "--plot", "front.pdf"], "ends in .png or .svg"),
        (["{dir}", "--for", "bytes", "-o", "nowhere/p.toml"], "its folder does not exist"),
        (["--measure", "nowhere/m.toml"], "its folder does not exist"),
    ],
)
def test_arguments_of_tune_that_cannot_work(arguments, message, here, tmp_path):
    filled = [part.format(dir=here / "album") for part in arguments]
    result = run("tune", *filled, code=2)
    assert re.search(message, result.stderr.replace("\n", " ")), result.stderr
    assert list(tmp_path.iterdir()) == []


def test_after_an_interrupt_the_same_command_goes_on(here, tmp_path, monkeypatch):
    from tadan.codec.codec import Codec

    real, calls = Codec.encode_picture, []

    def interrupted(self, image, options):
        calls.append(options)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(self, image, options)

    arguments = ["tune", here / "album", "--for", "bytes", "--seed", 11, "-q", 45, *QUICK]
    monkeypatch.setenv("TADAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Codec, "encode_picture", interrupted)
    stopped = run(*arguments, code=130)
    assert "goes on from there" in stopped.stderr
    assert not (tmp_path / "tadan-profile.toml").exists()
    kept = len((tmp_path / "cache" / "tune-rates.jsonl").read_text().splitlines())
    assert kept == 3
    first = [(one.quality, one.schedule, one.effort) for one in calls[:3]]
    run(*arguments)
    assert [(one.quality, one.schedule, one.effort) for one in calls[4:7]] != first
    assert (tmp_path / "tadan-profile.toml").exists()
