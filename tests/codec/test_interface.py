"""The Python interface: sources of all kinds, keywords only, numpy's whole numbers, errors with facts."""

import io
import pickle
import subprocess
import sys

import numpy as np
import pytest

import tadan
from codec_examples import CODEC
from photo_examples import photo
from tadan.codec import info
from tadan.errors import LimitExceeded

PICTURE = photo("coffee", 70, 100)
DATA = CODEC.encode(PICTURE, quality=40, effort=0, tile=64)


@pytest.fixture
def path(tmp_path):
    (tmp_path / "photo.tdn").write_bytes(DATA)
    return tmp_path / "photo.tdn"


def test_every_name_is_there_after_the_import_which_stays_light():
    code = (
        "import sys, tadan; tadan.errors.TadanError, tadan.Limits, tadan.PatternSchedule; "
        "[getattr(tadan, name) for name in ('Limits', 'TadanError', 'LimitExceeded', 'EncodeOptions', 'inspect')]; "
        "print('onnxruntime' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
    assert all(getattr(tadan, name) is not None for name in tadan.__all__)


@pytest.mark.parametrize("kind", ["bytes", "str", "path", "file", "memory"])
def test_a_file_comes_as_bytes_path_or_file_object(kind, path):
    sources = {"bytes": lambda: DATA, "str": lambda: str(path), "path": lambda: path}
    sources |= {"file": lambda: io.BufferedReader(io.FileIO(path)), "memory": lambda: io.BytesIO(DATA)}
    source = sources[kind]
    np.testing.assert_array_equal(np.asarray(tadan.decode(source())), np.asarray(tadan.decode(DATA)))
    assert tadan.inspect(source()) == tadan.inspect(DATA)
    assert tadan.salvage(source()).whole
    assert CODEC.verify(source()).file_bytes == len(DATA)
    assert len(CODEC.decode_latents(source())) == 4


@pytest.mark.parametrize("source", [None, 5, io.StringIO("text"), ["photo.tdn"]])
def test_what_is_no_source(source):
    for call in (tadan.decode, tadan.inspect, tadan.salvage):
        with pytest.raises(tadan.InvalidInput, match="bytes, path or binary file object"):
            call(source)
    with pytest.raises(tadan.UnreadableInput, match=r"nowhere\.tdn"):
        tadan.decode("nowhere.tdn")


def test_inspecting_a_path_reads_the_beginning_only(path, monkeypatch):
    seen, read = [], info.read_bytes
    monkeypatch.setattr(info, "read_bytes", lambda source, most=-1: seen.append(most) or read(source, most))
    with path.open("ab") as file:
        file.truncate(2**30)
    facts = tadan.inspect(path)
    assert facts.file_bytes == 2**30
    assert 0 < seen[0] < 2**17


def test_write_and_read(tmp_path):
    target = tmp_path / "a.tdn"
    tadan.write(target, PICTURE, quality=40, effort=0)
    first = target.read_bytes()
    assert tadan.read(target).size == (100, 70)
    with pytest.raises(tadan.OutputExists, match="unchanged"):
        tadan.write(target, PICTURE, quality=80, effort=0, overwrite=False)
    assert target.read_bytes() == first
    tadan.write(target, PICTURE, quality=80, effort=0)
    assert tadan.inspect(target).quality == 80
    with pytest.raises(tadan.InvalidInput):
        tadan.write(target, PICTURE, quality=0)
    assert [one.name for one in tmp_path.iterdir()] == ["a.tdn"]


def test_options_are_keywords():
    for call in (tadan.encode, CODEC.encode):
        with pytest.raises(TypeError):
            call(PICTURE, 60)
    with pytest.raises(TypeError):
        CODEC.decode(DATA, (0, 0, 5, 5))
    with pytest.raises(TypeError):
        tadan.Codec("photo", 2)
    with pytest.raises(TypeError, match="qualty"):
        tadan.encode(PICTURE, qualty=60)


@pytest.mark.parametrize("whole", [np.int64, np.uint8, np.int32])
def test_whole_numbers_of_numpy(whole):
    options = {"quality": whole(40), "effort": whole(0), "tile": whole(64)}
    codec = tadan.Codec(threads=whole(1))
    assert codec.encode(PICTURE, **options) == DATA
    assert codec.decode(DATA, region=np.array([10, 5, 30, 20], whole)).size == (30, 20)
    assert codec.decode(DATA, stages=whole(1)).size == (100, 70)


@pytest.mark.parametrize(
    "options", [{"quality": 60.0}, {"quality": True}, {"tile": 64.0}, {"tile": 65}, {"effort": "3"}, {"strip": 1}]
)
def test_other_values_are_refused(options):
    with pytest.raises(tadan.InvalidInput, match=next(iter(options)) + "|tiles"):
        CODEC.encode(PICTURE, **options)


@pytest.mark.parametrize("options", [{"limits": None}, {"limits": 5}, {"threads": 0}, {"memory": -1}, {"memory": None}])
def test_a_codec_checks_its_arguments(options):
    with pytest.raises(tadan.InvalidInput, match=next(iter(options))):
        tadan.Codec(**options)


def test_limits_tell_their_facts(path):
    codec = tadan.Codec(limits=tadan.Limits(max_pixels=6999))
    for call in (lambda: codec.decode(DATA), lambda: codec.encode(PICTURE), lambda: codec.decode(path)):
        with pytest.raises(LimitExceeded, match=r"raise Limits\.max_pixels if you trust") as caught:
            call()
        facts = (caught.value.limit, caught.value.value, caught.value.bound)
        assert facts == ("max_pixels", 7000, 6999)
        again = pickle.loads(pickle.dumps(caught.value))
        assert (str(again), again.limit) == (str(caught.value), "max_pixels")
