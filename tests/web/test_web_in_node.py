"""``web/`` in Node: its own tests, its build, and the same outcome as the Python decoder for whatever is fed to it."""

import json
import random

import numpy as np
import pytest

import corpus
import tadan
from mutators import MUTATORS
from photo_examples import photo
from tadan.codec.codec import Codec
from tadan.errors import TadanError
from tadan.models import load_model
from tadan.models.lite import find_lite
from tadan.models.store import BUNDLED
from targets import TARGETS
from web_use import BUILT, SITE, WEB, built, run

pytestmark = pytest.mark.slow

MEGABYTE = 10**6
FILES = 240  # mutated ones
LIMITS = {"maxPixels": 2**14, "maxMetadataBytes": 2**16, "maxTiles": 64, "maxTileBytes": 2**20}  # of corpus.CODEC
FOREIGN = ("webp", "jpeg")  # decoded by libraries of others, who may refuse other things than Pillow


def test_types_and_tests_of_the_package():
    built()
    run("npx", "tsc", "-p", ".")
    run("npx", "vitest", "run", "--reporter=dot")


def test_the_service_has_what_a_fresh_build_gives():
    """Scripts byte for byte; WebAssembly differs by compiler, so that what it does is compared by the other tests."""
    fresh = built()
    assert (SITE / BUILT[0]).read_bytes() == (fresh / BUILT[0]).read_bytes(), "run: npm run build --prefix web"


@pytest.mark.parametrize("name", BUILT)
def test_the_built_files_are_small(name):
    most = {"tadan-polyfill.js": 90_000, "tadan.wasm": 45_000, "tadan-scalar.wasm": 30_000}
    assert (SITE / name).stat().st_size <= most[name]


def test_the_weights_are_small():
    assert len(load_model().decoder_only().to_bytes()) <= 6 * MEGABYTE


def test_lite_decoders_show_what_they_show_in_python(tmp_path):
    built()
    data = tadan.encode(photo("coffee", 136, 200), quality=45, effort=0, fallback=False)
    (tmp_path / "a.tdn").write_bytes(data)
    model = load_model()
    lite = find_lite(model).with_latents_of(model).to_bytes()
    assert len(lite) <= 4.5 * MEGABYTE
    (tmp_path / "lite.safetensors").write_bytes(lite)
    run("node", "test/lite.mjs", tmp_path / "a.tdn", tmp_path / "lite.safetensors", tmp_path / "a.rgba")
    assert_alike(Codec(decoder="lite").decode(data), (tmp_path / "a.rgba").read_bytes(), "lite")


def outcomes(folder):
    """Of every file of a folder: "ok" or the class of the error, in Python and in Node."""
    text = run("node", "test/outcomes.mjs", folder, BUNDLED / "photo.safetensors", json.dumps(LIMITS))
    here = {}
    for path in folder.glob("*.tdn"):
        try:
            here[path.name] = corpus.CODEC.decode(path.read_bytes())
        except TadanError as error:
            here[path.name] = type(error).__name__
    return here, json.loads(text)


def content_of(data):
    try:
        return tadan.inspect(data).content
    except TadanError:
        return None


def test_mutated_files_end_as_in_python(tmp_path):
    built()
    rng, seeds = random.Random(16), corpus.seeds()
    mutate = MUTATORS[TARGETS["decode"].kind]
    for name, seed in seeds.items():
        (tmp_path / f"seed-{name}.tdn").write_bytes(seed.data)
    for number in range(FILES):
        name = rng.choice(sorted(seeds))
        (tmp_path / f"{number:03}-{name}.tdn").write_bytes(mutate(seeds[name].data, rng))
    here, there = outcomes(tmp_path)
    assert here.keys() == there.keys()
    wrong = {}
    for name, wanted in here.items():
        data = (tmp_path / name).read_bytes()
        expected = wanted if isinstance(wanted, str) else "ok"
        foreign = content_of(data) in FOREIGN and {expected, there[name]} <= {"ok", "Corrupt", "LimitExceeded"}
        foreign |= content_of(data) == "jpeg-file" and there[name] == "UnsupportedVersion"  # no Lepton in browsers
        if there[name] != expected and not foreign:
            wrong[name] = expected, there[name]
        elif expected == there[name] == "ok":
            assert_alike(wanted, (tmp_path / f"{name}.rgba").read_bytes(), name)
    assert not wrong
    assert sum(value == "ok" for value in there.values()) > len(seeds) / 2
    assert len(set(there.values())) >= 5  # the mutations reach different errors


def assert_alike(picture, samples, name):
    """Within a level, alpha equal."""
    wanted = np.asarray(picture.convert("RGBA"), np.int16)
    shown = np.frombuffer(samples, np.uint8).reshape(wanted.shape).astype(np.int16)
    difference = np.abs(wanted - shown)
    assert difference[..., :3].max() <= 1, name
    assert not difference[..., 3].any(), name


def test_the_package_names_what_it_ships():
    package = json.loads((WEB / "package.json").read_text())
    assert not package.get("dependencies")
    assert package["version"] == tadan.__version__
    for name in package["files"]:
        assert name == "dist" or (WEB / name).exists(), name
