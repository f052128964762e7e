"""Training: the linear start, resuming, schedules that a batch sees, and the specialised context network."""

import numpy as np
import pytest
import torch
from PIL import Image

from photo_examples import CORNERS, photo, psnr
from tadan.errors import InvalidInput
from tadan.models import ModelConfig
from tadan.nn.context import AnyScheduleContext, SpecialisedContext, visibility_input
from tadan.nn.klt import dct_basis, start
from tadan.nn.model import TadanModel
from tadan.schedule import get_schedule
from tadan.train import loop
from tadan.train.data import MIXTURE, draw_schedule, load_pictures
from tadan.train.loop import Recipe, Trainer

CONFIG = ModelConfig(
    latent=64, analysis_blocks=1, synthesis_blocks=1, expansion=1, z_channels=8, hyper_widths=(8, 8, 8), embed=4,
    hidden=16, mask_hidden=8, knots=3,
)  # fmt: skip
RECIPE = Recipe(steps=6, batch=2, size=64, late_size=64, late_batch=2, warmup=2, threads=1, save_every=1000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures")
    for number, name in enumerate([*CORNERS] * 7):
        Image.fromarray(np.roll(photo(name, 80, 80), 7 * number, axis=1)).save(path / f"{number:02}.png")
    return path


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    monkeypatch.setattr(loop, "START_SAMPLES", 5 * 64**2)


def test_the_start_is_an_orthogonal_projection():
    basis = dct_basis()
    assert torch.allclose(basis @ basis.T, torch.eye(len(basis), dtype=basis.dtype), atol=1e-10)
    picture = torch.from_numpy(np.stack([photo(name, 64, 96) for name in CORNERS])).float() / 255
    sharper = []
    for latent in (16, 64, 256):
        model = TadanModel(ModelConfig(latent=latent, analysis_blocks=1, synthesis_blocks=1))
        start(model.g_a, model.g_s, [picture])
        with torch.no_grad():
            once = model.g_s(model.g_a(picture))
            twice = model.g_s(model.g_a(once))
        assert torch.allclose(once, twice, atol=1e-3)
        sharper.append(psnr(once * 255, picture * 255))
    assert sharper == sorted(sharper)
    assert sharper[-1] > 38


def test_a_resumed_run_is_the_same_run(folder, tmp_path):
    whole = Trainer(tmp_path / "whole", folder, RECIPE, CONFIG)
    whole.run()
    first = Trainer(tmp_path / "pieces", folder, RECIPE, CONFIG)
    for _ in range(3):
        first._one_step()
        first.step += 1
    first.save()
    second = Trainer(tmp_path / "pieces", folder, RECIPE, CONFIG)
    assert second.step == 3
    second.run()
    for name, value in whole.average.items():
        assert torch.equal(value, second.average[name]), name


def test_a_step_that_is_not_finite_changes_nothing(folder, tmp_path, monkeypatch):
    trainer = Trainer(tmp_path, folder, RECIPE, CONFIG)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    monkeypatch.setattr(loop, "crops", lambda *_: torch.full((2, 64, 64, 3), float("nan")))
    assert trainer._one_step() is None
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.state_dict().items())


def test_too_few_or_broken_pictures_are_named(tmp_path):
    with pytest.raises(InvalidInput, match="no pictures of at least 64"):
        load_pictures(tmp_path, 64)
    Image.fromarray(photo("coffee", 80, 80)).save(tmp_path / "one.png")
    with pytest.raises(InvalidInput, match="more than 24"):
        Trainer(tmp_path / "run", tmp_path, RECIPE, CONFIG)
    (tmp_path / "two.jpg").write_bytes(b"no picture")
    with pytest.raises(InvalidInput, match=r"two\.jpg"):
        load_pictures(tmp_path, 64)


def test_batches_see_listed_and_random_schedules():
    rng = np.random.default_rng(0)
    drawn = [draw_schedule(rng) for _ in range(400)]
    assert {schedule.name for schedule in drawn if schedule.name} == set(MIXTURE)
    assert len({schedule for schedule in drawn if schedule.name is None}) > 20


@pytest.mark.parametrize("name", ["checkerboard", "2x2", "4x4", "2x2-rotated", "raster"])
def test_the_specialised_network_has_a_kernel_per_pattern(name):
    torch.manual_seed(0)
    schedule, shape = get_schedule(name), (4, 8)
    network = SpecialisedContext(CONFIG, schedule)
    visible = visibility_input(schedule, *shape, CONFIG.radius, CONFIG.groups)
    y = torch.randn(1, *shape, CONFIG.latent)
    r = CONFIG.radius
    for group in range(schedule.groups):
        with torch.no_grad():
            out = network(y, schedule, group)
            hidden_changed = y.clone()
            hidden_changed[0, 1, 2] += 5
            differs = (network(hidden_changed, schedule, group) != out).any(-1)[0]
        seen = visible[group].unflatten(-1, (2 * r + 1, -1, CONFIG.groups)).any(-1)
        for row, col in np.ndindex(*shape):
            inside = max(abs(1 - row), abs(2 - col)) <= r
            assert bool(differs[row, col]) == (inside and bool(seen[row, col, 1 - row + r, 2 - col + r]))
    with pytest.raises(InvalidInput, match="runs under"):
        network(y, get_schedule("3x3"))


@pytest.mark.parametrize("name", ["hyper", "checkerboard", "3x3", "4x4", "2x2-rotated", "raster"])
def test_a_specialised_network_starts_as_the_any_schedule_one(name):
    """Mixing kernels first and windows second is the same as mixing windows: two paths, one result."""
    torch.manual_seed(0)
    schedule, general = get_schedule(name), AnyScheduleContext(CONFIG)
    special = SpecialisedContext(CONFIG, schedule)
    special.start_from(general)
    y = torch.randn(2, 5, 7, CONFIG.latent)
    with torch.no_grad():
        for group in range(schedule.groups):
            torch.testing.assert_close(special(y, schedule, group), general(y, schedule, group), rtol=1e-4, atol=1e-4)
