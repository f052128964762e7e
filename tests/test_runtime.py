"""What the runtime needs and loads, and what becomes of model files that are damaged, foreign or missing."""

import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from model_examples import exported_bytes
from tadan.errors import Corrupt, ModelMissing, NotOurFile, TadanError, UnreadableInput, UnsupportedVersion
from tadan.models import (
    ModelConfig,
    bundled_models,
    find_model,
    load_model,
    read_model,
    save_model,
    store_folder,
)
from tadan.models.config import quality_lambda


def python(script, *argv):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, argv)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# --- imports ----------------------------------------------------------------------------------------------------------

FORBIDDEN = ("torch", "onnx", "matplotlib", "skimage", "scipy", "bjontegaard", "hypothesis", "pytest")
BLOCK = f"""
import importlib.abc, sys

class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {FORBIDDEN!r}:
            raise ImportError(f"{{name}} is not installed")

sys.meta_path.insert(0, Block())
"""


def test_the_block_blocks():
    assert python(BLOCK + "\ntry:\n    import torch\nexcept ImportError as error:\n    print(error)") == (
        "torch is not installed"
    )


def test_encoding_and_decoding_need_neither_torch_nor_onnx():
    script = """
    import numpy as np, tadan
    ramp = np.add.outer(np.arange(40), np.arange(50)).astype(np.uint8)
    picture = np.dstack([ramp, ramp[::-1], ramp])
    for schedule in ("fast", "balanced", "best"):
        data = tadan.encode(picture, quality=90, schedule=schedule, verify=True)
        decoded = tadan.decode(data)
        error = np.abs(np.asarray(decoded).astype(int) - picture).mean()
        print(decoded.mode, *decoded.size, error < 12, tadan.Codec(threads=1).verify(data).sections)
    """
    assert python(BLOCK + textwrap.dedent(script)).splitlines() == ["RGB 50 40 True 1"] * 3


def test_the_package_loads_nothing_before_it_is_used():
    script = """
    import sys, tadan
    print(sorted({name.partition(".")[0] for name in sys.modules} & {"numpy", "onnxruntime", "constriction"}))
    print(sorted({"tadan.codec", "tadan.bitstream", "PIL.ImageFile", "dataclasses"} & set(sys.modules)))
    print(tadan.__version__, sorted(set(dir(tadan)) & {"np", "numpy"}))
    """
    first, second, third = python(script).splitlines()
    assert first == second == "[]"
    assert third.endswith("[]")


def test_inspecting_loads_no_numerical_library(tmp_path):
    import tadan

    path = tmp_path / "small.tdn"
    path.write_bytes(tadan.encode(np.zeros((5, 6), np.uint8), quality=30, schedule="4x4"))
    script = """
    import sys, pathlib, tadan
    info = tadan.inspect(pathlib.Path(sys.argv[1]).read_bytes())
    print(info.width, info.height, info.mode, info.quality, info.schedule)
    print(sorted({name.partition(".")[0] for name in sys.modules} & {"numpy", "onnxruntime", "constriction"}))
    """
    assert python(script, path).splitlines() == ["6 5 L 30 4x4", "[]"]


def test_decoding_does_not_load_the_training_packages():
    script = """
    import sys, numpy as np, tadan
    tadan.decode(tadan.encode(np.zeros((9, 9, 3), np.uint8)))
    loaded = {name for name in sys.modules if name.startswith("tadan.")}
    print(sorted(name for name in loaded if name.split(".")[1] in ("nn", "train", "evaluate", "cli")))
    print("torch" in sys.modules)
    """
    assert python(script).splitlines() == ["[]", "False"]


def test_names_that_do_not_exist():
    import tadan

    with pytest.raises(AttributeError, match="no attribute 'encoder'"):
        _ = tadan.encoder
    assert all(getattr(tadan, name) is not None for name in tadan.__all__)


# --- model files ------------------------------------------------------------------------------------------------------

GOOD = exported_bytes()


def header_of(data):
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def with_metadata(data, **changed):
    """The file with entries of its metadata replaced (None: removed); tensors and id untouched."""
    header, rest = header_of(data)
    merged = header["__metadata__"] | changed
    header["__metadata__"] = {key: value for key, value in merged.items() if value is not None}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + rest


def read(tmp_path, data):
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    return read_model(path)


def test_a_model_file_comes_back(tmp_path):
    model = read(tmp_path, GOOD)
    assert model.name == "small"
    assert model.describe()["id"] == model.id_hex
    again = read(tmp_path, save_model(model.config, model.tensors, model.metadata))
    assert (again.id, again.config, again.metadata) == (model.id, model.config, model.metadata)
    assert not any(tensor.flags.writeable for tensor in model.tensors.values())
    renamed = read(tmp_path, with_metadata(GOOD, name="other", note="a measurement"))
    assert (renamed.name, renamed.id) == ("other", model.id)  # names are not part of the identity


@pytest.mark.parametrize("data", [b"", b"no model", bytes(100), GOOD[:-1], GOOD[:1000], save({"a": np.zeros(3)})])
def test_what_is_no_model_file(tmp_path, data):
    with pytest.raises(NotOurFile, match=r"model.safetensors.*\.safetensors file made by tadan|tadan model export"):
        read(tmp_path, data)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(UnreadableInput, match=r"missing\.safetensors"):
        read_model(tmp_path / "missing.safetensors")
    with pytest.raises(TadanError, match=str(tmp_path)):
        read_model(tmp_path)


@pytest.mark.parametrize("position", [1, 2, 1000, 100_000])
def test_a_tampered_tensor(tmp_path, position):
    damaged = bytearray(GOOD)
    damaged[-position] ^= 1
    with pytest.raises(Corrupt, match="does not match its own id"):
        read(tmp_path, bytes(damaged))


def test_a_newer_version_of_the_format(tmp_path):
    with pytest.raises(UnsupportedVersion, match="pip install --upgrade tadan"):
        read(tmp_path, with_metadata(GOOD, format_version="2"))


@pytest.mark.parametrize(
    "metadata",
    [
        {"id": "00" * 8},
        {"id": None},
        {"config": None},
        {"config": "not json"},
        {"config": "[]"},
        {"config": "5"},
        {"config": "[" * 100_000},
        {"config": "{}"},
        {"config": json.dumps(ModelConfig().to_dict())},
        {"config": json.dumps({**ModelConfig().to_dict(), "hyper_widths": 5})},
        {"config": json.dumps({**ModelConfig().to_dict(), "from_the_future": 1})},
    ],
    ids=lambda value: str(value)[:40],
)
def test_metadata_that_does_not_fit(tmp_path, metadata):
    with pytest.raises(Corrupt):
        read(tmp_path, with_metadata(GOOD, **metadata))


PARTS = ["graph.g_a", "graph.g_s", "weights.g_s", "quality.log_gain", "quality.log_inverse_gain", "tables.freqs"]


@pytest.mark.parametrize("name", PARTS)
def test_a_file_without_a_part(tmp_path, name):
    """Its id is right: somebody made it so."""
    model = read(tmp_path, GOOD)
    tensors = {key: value for key, value in model.tensors.items() if key != name}
    with pytest.raises(Corrupt):
        _ = read(tmp_path, save_model(model.config, tensors, {})).tables


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 6000), st.integers(0, 255))
def test_no_byte_of_the_header_can_be_changed_unnoticed(tmp_path, position, value):
    damaged = bytearray(GOOD)
    damaged[position] = value
    try:
        model = read(tmp_path, bytes(damaged))
    except TadanError:
        return
    assert model.id == read(tmp_path, GOOD).id
    assert {name: value.tobytes() for name, value in model.tensors.items()} == {
        name: value.tobytes() for name, value in load(GOOD).items()
    }


# --- finding models ---------------------------------------------------------------------------------------------------


def test_the_default_model_is_bundled():
    names = bundled_models()
    assert load_model() is load_model(names[0])
    assert find_model(load_model().id) is load_model()


def test_a_missing_model_names_the_next_step(monkeypatch, tmp_path):
    monkeypatch.setenv("TADAN_MODELS", str(tmp_path / "own"))
    assert store_folder() == tmp_path / "own"
    with pytest.raises(ModelMissing, match=rf"no model 'fine'; bundled: .*photo.*\.safetensors file.*{tmp_path}"):
        load_model("fine")
    with pytest.raises(ModelMissing, match=f"0102030405060708.*not installed; put its.*{tmp_path}.*or name it"):
        find_model(bytes(range(1, 9)))
    monkeypatch.setattr("tadan.models.store.BUNDLED", tmp_path)
    with pytest.raises(ModelMissing, match="reinstall tadan"):
        load_model()


def test_lambda_of_a_quality_is_log_linear():
    config = ModelConfig()
    values = [quality_lambda(config, quality) for quality in range(1, 101)]
    assert values[0] == pytest.approx(config.lambda_min)
    assert values[-1] == pytest.approx(config.lambda_max)
    np.testing.assert_allclose(np.diff(np.log(values)), np.log(values[1] / values[0]))
