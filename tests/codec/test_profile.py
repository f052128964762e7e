"""Profiles: what is written comes back, what is not understood is refused, and the encoder takes it."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tadan.codec.options import EncodeOptions
from tadan.codec.profile import FORMAT, MachineUse, Profile, load_profile
from tadan.errors import InvalidInput, OutputExists, UnreadableInput
from tadan.toml import dumps

FULL = Profile(
    quality=42,
    schedule="0,2/3,1",
    effort=3,
    tile=512,
    tune="psnr",
    model="photo",
    model_id="ab" * 16,
    machine=MachineUse(jobs=2, workers=4, threads=2, memory=10**9),
    origin={"tuned": {"target": 'bytes, "now"', "seed": 3}, "predicted": {"bits_per_pixel": 0.5}},
)


@pytest.mark.parametrize("profile", [FULL, Profile()])
def test_what_is_written_comes_back(profile, tmp_path):
    profile.save(tmp_path / "p.toml")
    assert load_profile(tmp_path / "p.toml") == profile
    assert load_profile(tmp_path / "p.toml").digest == profile.digest
    assert "tadan encode FOLDER" in (tmp_path / "p.toml").read_text()
    with pytest.raises(OutputExists):
        profile.save(tmp_path / "p.toml", replace=False)


def test_options_are_those_of_the_encoder_and_explicit_ones_win():
    own = {"quality": 42, "schedule": "0,2/3,1", "effort": 3, "tile": 512, "tune": "psnr"}
    assert FULL.options() == EncodeOptions(**own)
    assert FULL.options(quality=7, tile=None) == EncodeOptions(**{**own, "quality": 7})


def test_the_digest_follows_the_settings_alone():
    assert Profile(origin={"tuned": {"seed": 1}}).digest == Profile().digest
    assert len({Profile().digest, Profile(effort=2).digest, Profile(machine=MachineUse(jobs=2)).digest}) == 3


def test_another_model_is_refused():
    FULL.check_model("ab" * 16)
    Profile().check_model("ab" * 16)
    with pytest.raises(InvalidInput, match="tune again, or remove the line"):
        FULL.check_model("cd" * 16)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("quality = ", "is not a profile"),
        ('format = "tadan machine 1"', "no profile of this version"),
        ("", "no format"),
        (f'format = "{FORMAT}"\nencoder = 1', "encoder, which nobody reads"),
        (f'format = "{FORMAT}"\n[encode]\nefort = 3', r"\[encode\] has efort.*effort"),
        (f'format = "{FORMAT}"\n[machine]\ncores = 3', r"\[machine\] has cores"),
        (f'format = "{FORMAT}"\nencode = 3', "encode is a table"),
        (f'format = "{FORMAT}"\n[encode]\nquality = 101', "quality goes from 1 to 100"),
        (f'format = "{FORMAT}"\n[encode]\nquality = "60"', "whole number"),
        (f'format = "{FORMAT}"\n[encode]\nquality = true', "whole number"),
        (f'format = "{FORMAT}"\n[encode]\neffort = 10', "effort goes from 0 to 9"),
        (f'format = "{FORMAT}"\n[encode]\ntile = 100', "multiple of 64"),
        (f'format = "{FORMAT}"\n[encode]\nschedule = "none-such"', "none-such"),
        (f'format = "{FORMAT}"\n[encode]\nschedule = 3', "schedule"),
        (f'format = "{FORMAT}"\n[encode]\ntune = "ear"', "tune is one of"),
        (f'format = "{FORMAT}"\n[encode]\nmodel = 3', "model is a text"),
        (f'format = "{FORMAT}"\n[machine]\njobs = 0', "jobs goes from 1"),
        (f'format = "{FORMAT}"\n[machine]\nmemory = 1.5', "memory is a whole number"),
    ],
)
def test_what_is_refused(text, message, tmp_path):
    path = tmp_path / "p.toml"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=message) as caught:
        load_profile(path)
    assert "p.toml" in str(caught.value)


def test_no_profile(tmp_path):
    with pytest.raises(UnreadableInput, match=r"nowhere\.toml"):
        load_profile(tmp_path / "nowhere.toml")


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SCALARS = TEXT | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.booleans()
TABLES = st.recursive(
    st.dictionaries(TEXT, SCALARS | st.lists(SCALARS, max_size=3), max_size=3),
    lambda inner: st.dictionaries(TEXT, SCALARS | inner, max_size=3),
    max_leaves=8,
)


@given(TABLES)
def test_documents_are_read_as_they_were_written(document):
    assert tomllib.loads(dumps(document, ("a comment", ""))) == document


def test_what_toml_has_no_word_for():
    assert tomllib.loads(dumps({"a": None, "b": {"c": None}})) == {}
    with pytest.raises(TypeError, match="complex"):
        dumps({"a": 1j})
    assert tomllib.loads(dumps({"name": "undecodable \udcff"})) == {"name": "undecodable ?"}
