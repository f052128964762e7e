"""tadan lab compressai: the models it builds are equal where they should be, and what it trains and decodes adds up."""

import dataclasses
import json

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from compressai_examples import needs_compressai
from photo_examples import photo

needs_compressai()

from tadan.errors import InvalidInput  # noqa: E402
from tadan_lab.frameworks import exactness  # noqa: E402
from tadan_lab.frameworks.attention import WindowedAttentionContext  # noqa: E402
from tadan_lab.frameworks.rate import FrozenSetting, RateRecipe, compare_rates  # noqa: E402
from tadan_lab.frameworks.speed import MODELS, measure_one, measure_speed  # noqa: E402


@pytest.fixture
def picture(tmp_path):
    Image.fromarray(photo("coffee", 130, 140)).save(tmp_path / "coffee.png")
    return tmp_path / "coffee.png"


@pytest.fixture(autouse=True)
def _grad():
    yield
    torch.set_grad_enabled(True)


@pytest.mark.slow
def test_equal_codecs_write_equal_bytes_and_every_row_is_complete(picture):
    rows = {
        name: measure_one("cheng2020-attn", name, picture, "cpu", 8, 1, torch.get_num_threads())
        for name in MODELS["cheng2020-attn"]
    }
    for kind in ("autoregressive", "checkerboard"):
        same = "raster" if kind == "autoregressive" else kind
        assert rows[f"CompressAI, {kind}"].digest == rows[f"{same}, same bytes"].digest
    assert len({row.digest for row in rows.values()}) == len(rows) - 2
    assert [rows[name].stages for name in ("2x2", "4x4", "checkerboard")] == [4, 16, 2]
    for row in rows.values():
        assert all(np.isfinite(value) and value > 0 for value in dataclasses.astuple(row)[1:-1])


def test_what_does_not_exist_is_refused(picture):
    for model, names, clock in (("vtm", [], "wall"), ("mbt2018", ["5x5"], "wall"), ("mbt2018", [], "sun")):
        with pytest.raises(InvalidInput, match="choose from"):
            next(measure_speed(picture, model, names, 8, 1, 1, clock))
    with pytest.raises(InvalidInput, match="choose from"):
        next(exactness.check_exact([picture], "mbt2018", "CompressAI, autoregressive", 8, 1))
    with pytest.raises(InvalidInput, match="crops"):
        exactness.crops_of([picture], 3)


@pytest.mark.slow
def test_streams_are_checked_against_the_encoders_latents(tmp_path, monkeypatch):
    Image.fromarray(skimage.data.astronaut()).save(tmp_path / "astronaut.png")
    found = []

    def here(folder, way, *arguments):
        if not found:
            found.append(exactness.decode_all(folder, way, *arguments))
            path = folder / "exact-0.npy"
            np.save(path, np.load(path) + 1)  # as if one latent of each had come out wrong
            found.append(exactness.decode_all(folder, way, *arguments))
        return found[0]

    monkeypatch.setattr(exactness, "_decoded", here)
    rows = list(exactness.check_exact([tmp_path / "astronaut.png"], "mbt2018", "2x2", 8, 2))
    assert found == [{"floats": 0, "exact": 0}, {"floats": 0, "exact": 1}]
    assert [row.way for row in rows] == list(exactness.WAYS)
    assert json.loads(json.dumps(dataclasses.asdict(rows[0])))["crops"] == 2


@pytest.mark.slow
def test_contexts_are_trained_on_the_same_latents(tmp_path):
    for folder, names in (("data", ("astronaut", "astronaut")), ("pictures", ("coffee",))):
        (tmp_path / folder).mkdir()
        for number, name in enumerate(names):
            whole = skimage.data.astronaut() if name == "astronaut" else photo(name)
            Image.fromarray(whole).save(tmp_path / folder / f"{name}-{number}.png")
    recipe = RateRecipe(channels=8, pictures=1, steps=4, batch=1)
    setting = FrozenSetting(tmp_path / "data", tmp_path / "pictures", tmp_path / "run", recipe)
    rows = compare_rates(setting, ["hyper", "2x2", "4x4, attention"])
    assert [row["context"] for row in rows] == ["hyper", "2x2", "4x4, attention"]
    assert rows[0]["kmac"] == rows[0]["weights"] == 0
    assert rows[1]["kmac"] == pytest.approx(0.001 * 8 * 16 * 8)  # 0, 4, 12 and 16 of 24 neighbours
    assert all(0 < row["bpp"] < 5 for row in rows)


def test_the_transformer_context_is_told_nothing_of_later_latents():
    from compressai_examples import codec, latents

    made, (y, side) = codec("4x4"), latents(None, 5, 6)
    made.context_prediction = WindowedAttentionContext(8, 16, "4x4", width=16, heads=2)
    stages = torch.from_numpy(made.schedule.stage_map(5, 6)[0].copy())
    before = made.parameters_of(y, side)
    changed = y.clone()
    changed[0, :, 2, 3] += 7
    moved = (made.parameters_of(changed, side) != before)[0].any(0)
    assert moved.any()
    assert not (moved & ~(stages > stages[2, 3])).any()
    coded = made.compress(y, side)
    assert torch.equal(made.decompress(coded["strings"], coded["shape"], side)["y_hat"], coded["y_hat"])
