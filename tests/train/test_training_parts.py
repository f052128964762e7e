"""Parts of the training: the start, its scaling, crops at other scales, Muon in blocks, the pace."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from photo_examples import CORNERS, photo, psnr
from tadan.cli.main import app
from tadan.errors import InvalidInput
from tadan.nn.klt import start
from tadan.nn.model import TadanModel
from tadan.schedule import PatternSchedule, get_schedule
from tadan.train import start as beginning
from tadan.train.bench import split_by_kind
from tadan.train.data import draw_factor, draw_gains, expose, shrink
from tadan.train.objective import draw_schedule
from tadan.train.optimizers import BlockMuon, is_edge, make_optimizers, orthogonal_blocks, set_learning_rate
from tadan.train.recipe import Recipe
from training_examples import CONFIG, RECIPE, trainer, write_pictures


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    monkeypatch.setattr(beginning, "SAMPLES", 5 * 64**2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"))


def pictures():
    return torch.from_numpy(np.stack([photo(name, 64, 96) for name in CORNERS])).float() / 255


@torch.no_grad()
def test_the_start_is_an_orthogonal_projection():
    picture, sharper = pictures(), []
    for last in (8, 48, 240):
        config = replace(CONFIG, group_sizes=(4, 4, 8, last), analysis_width=260, body_width=256)
        model = TadanModel(config)
        model.set_start(start(model.g_a, model.g_s, [picture]))
        quality = torch.full((len(picture),), 50.0)
        once = model.g_s(model.g_a(picture, quality), quality)
        assert torch.allclose(once, model.g_s(model.g_a(once, quality), quality), atol=1e-3)
        sharper.append(psnr(once * 255, picture * 255))
    assert sharper == sorted(sharper)
    assert sharper[-1] > 38


@torch.no_grad()
@pytest.mark.parametrize("name", ["4x4-opt-4", "2x2-rotated", "raster"])
def test_a_folded_spread_changes_no_prediction(name):
    torch.manual_seed(1)
    model, quality = TadanModel(CONFIG), torch.tensor([40.0])
    entropy = model.entropy
    entropy.late_out.normal_(0, 0.3)
    entropy.set_spread(torch.linspace(100, 0, CONFIG.latent))
    y = torch.round(torch.randn(1, 8, 8, CONFIG.latent) * entropy.context.spread)
    z_hat = torch.round(torch.randn(1, 2, 2, CONFIG.z_channels))
    before = entropy.parameters_for(y, z_hat, get_schedule(name), quality)
    assert torch.equal(entropy.fold_spread(), 1 + torch.linspace(100, 0, CONFIG.latent))
    after = entropy.parameters_for(y, z_hat, get_schedule(name), quality)
    assert torch.allclose(before.mean, after.mean, rtol=1e-3, atol=1e-3)
    assert torch.allclose(before.log_scale, after.log_scale, rtol=1e-3, atol=1e-3)


def test_a_schedule_with_too_many_groups_is_a_clear_error():
    model = TadanModel(replace(CONFIG, group_sizes=(24, 40), embed_sizes=(4, 8)))
    with pytest.raises(InvalidInput, match="2 channel groups cannot follow a schedule with 4"):
        model(pictures()[:1, :, :64], torch.tensor([50.0]), get_schedule("2x2-rotated"))


def test_training_lowers_the_loss_and_goes_on_where_it_stopped(folder, tmp_path):
    recipe = replace(RECIPE, steps=12, lr=2e-3, cooldown=3)
    whole = trainer(tmp_path / "whole", folder, recipe, CONFIG)
    losses = []
    for whole.step in range(12):
        facts, _ = whole.one_step()
        losses.append(facts.loss)
    assert np.mean(losses[-4:]) < np.mean(losses[:4])
    first = trainer(tmp_path / "pieces", folder, recipe, CONFIG)
    for first.step in range(5):
        first.one_step()
    first.step = 5
    first.save()
    second = trainer(tmp_path / "pieces", folder, recipe, CONFIG)
    assert second.step == 5
    for second.step in range(5, 12):
        second.one_step()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name


def test_a_constant_rate_falls_in_the_cooldown_only():
    recipe = Recipe(steps=100, warmup=10, cooldown=20, lr=1.0, lr_end=0.0)
    rates = [recipe.learning_rate(step) for step in range(101)]
    assert rates[9:81] == [1.0] * 72
    assert all(late < early for early, late in pairwise(rates[80:]))
    assert rates[100] == 0.0


def test_matrices_at_the_edges_move_less():
    trained = dict(TadanModel(CONFIG).named_parameters())
    edges = {name for name in trained if is_edge(name)}
    assert edges == {"g_a.inlet.weight", "g_a.outlet.weight", "g_s.inlet.weight", "g_s.to_grid.weight",
                     "g_s.outlet.weight"}  # fmt: skip
    optimizers = make_optimizers(trained, Recipe(edge_lr=0.1, transform_lr=0.5, kernel_lr=0.75))
    set_learning_rate(optimizers, 2.0)
    rates = {id(value): group["lr"] for one in optimizers for group in one.param_groups for value in group["params"]}
    assert {rates[id(trained[name])] for name in edges} == {0.2}
    inside = {name for name in trained if name.startswith(("g_a.", "g_s."))} - edges
    matrices = {name for name in inside if trained[name].ndim == 2 and name.endswith("weight")}
    assert {rates[id(trained[name])] for name in matrices} == {1.0}
    rest = inside - matrices
    assert {"g_s.blocks.0.spatial.weight", "g_s.renderer.0.log_gain.values", "g_a.inlet.bias"} <= rest
    assert {rates[id(trained[name])] for name in rest} == {1.5}
    assert {rates[id(value)] for name, value in trained.items() if name not in inside | edges} == {2.0}


@pytest.mark.parametrize("shape", [(64, 300), (300, 64), (256, 384), (130, 130)])
def test_muon_makes_blocks_orthogonal_with_the_step_size_of_adam(shape):
    torch.manual_seed(0)
    matrix = torch.nn.Parameter(torch.randn(shape))
    done = orthogonal_blocks(matrix.detach())
    wide = done if shape[0] <= shape[1] else done.T
    size = next(wide.shape[0] // n for n in range(-(-wide.shape[0] // 128), 99) if wide.shape[0] % n == 0)
    for block in wide.split(size):
        assert 0.6 < torch.linalg.svdvals(block).min() <= torch.linalg.svdvals(block).max() < 1.3
    before = matrix.detach().clone()
    matrix.grad = torch.randn(shape)
    BlockMuon([matrix], lr=0.01).step()
    assert float((matrix.detach() - before).square().mean().sqrt()) == pytest.approx(0.2 * 0.01, rel=1e-3)


def test_crops_of_other_scales_and_exposures_follow_from_the_generator():
    sizes = [draw_factor(64, 100, 0.5, np.random.default_rng(seed)) for seed in range(200)]
    assert min(sizes) == 64
    assert 64 < max(sizes) <= 100
    assert {draw_factor(64, 100, 0.0, np.random.default_rng(seed)) for seed in range(20)} == {64}
    flat = torch.full((2, 100, 100, 3), 0.25)
    assert torch.allclose(shrink(flat, 64), torch.full((2, 64, 64, 3), 0.25), atol=1e-5)
    gains = draw_gains(400, 0.5, np.random.default_rng(0))
    assert 0.4 < (gains == 1).mean() < 0.6
    assert gains.min() < 0.8
    assert np.array_equal(gains, draw_gains(400, 0.5, np.random.default_rng(0)))
    bright = expose(pictures()[:1], np.array([1.17], np.float32))
    assert bright.max() == 1.0
    assert (bright >= pictures()[:1]).all()


def test_batches_see_patterns_of_their_own_for_high_channels():
    rng = np.random.default_rng(0)
    split = [one for one in (draw_schedule(rng) for _ in range(400)) if one.groups == 2]
    assert split
    for schedule in split:
        assert isinstance(schedule, PatternSchedule)
        assert schedule.pattern[0].max() < schedule.pattern[1].min()


def test_the_split_of_a_step_adds_up():
    split = split_by_kind([("aten::addmm", 3.0), ("aten::mm", 1.0), ("aten::cat", 2.0), ("something new", 4.0)])
    assert math.isclose(sum(split.values()), 1.0)
    assert split["matrix products"] == 0.4
    assert list(split.values()) == sorted(split.values(), reverse=True)


@pytest.mark.slow
def test_the_pace_is_printed_and_nothing_is_kept(folder, tmp_path):
    run = tmp_path / "run"
    sizes = ["group_sizes=4,4,8,48", "analysis_width=64", "body_width=64", "grid=48"]
    options = [word for size in [*sizes, "embed_sizes=1,1,2,2"] for word in ("--config", size)]
    settings = [word for one in ("batch=1", "size=64", "late_size=64", "threads=1") for word in ("--set", one)]
    result = CliRunner().invoke(app, ["model", "train", str(folder), "--run", str(run), "--bench", *options, *settings])
    assert result.exit_code == 0, result.output
    assert "megapixels/s" in result.output
    assert "matrix products" in result.output
    assert not run.exists()
