"""Probes of a model: what a projection costs, what descent gains, where the error comes from."""

import copy
import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import model_examples
from tadan.cli.main import app
from tadan.errors import InvalidInput, TadanError
from tadan.nn import model as model_module
from tadan.nn.model import TadanModel
from tadan.nn.transforms import to_patches
from tadan.schedule import get_schedule
from tadan_lab.study.components import Components, Moments, fit_components
from tadan_lab.study.interfaces import Replay, changed, interfaces
from tadan_lab.study.probe_report import ProbeRecipe, draw_crops, grids, load_network, tables
from tadan_lab.study.probes import Descent, block_components, by_quality, cost, distortion, headroom, width_needed
from training_examples import trainer, write_pictures

SCHEDULE = get_schedule("balanced")


@cache
def network():
    return copy.deepcopy(model_examples.float_model()).requires_grad_(False)


@cache
def replay():
    pictures = model_examples.batch("astronaut", "rocket", height=64, width=64)
    quality = torch.tensor([20.0, 20.0, 70.0, 70.0])
    return Replay(network(), pictures.repeat(2, 1, 1, 1), quality, SCHEDULE)


@cache
def components():
    return fit_components(network(), model_examples.batch("chelsea", "coffee"), (20, 70), SCHEDULE)


PLACES = interfaces(network())


@torch.no_grad()
def projected(one, at, fitted, ranks):
    return one.run(at, lambda x: at.tensor(fitted.project(at.vectors(x), ranks)))


def total(losses):
    return losses.y_bpp + losses.z_bpp + losses.mse


@torch.no_grad()
@pytest.mark.parametrize("at", PLACES, ids=lambda at: at.name)
def test_a_replay_computes_what_the_whole_model_does(at):
    one = replay()

    def other(x):
        return 2 - 3 * x

    with changed(one.model, at, other):
        whole = one.model(one.picture, one.quality, SCHEDULE)
    short = one.run(at, other)
    for ours, theirs in zip(short[:3], whole[:3], strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-5)
    assert not torch.equal(total(short), total(one.losses))  # the interface matters to J at all
    assert not any("forward" in vars(module) for module in one.model.modules())


@torch.no_grad()
def test_each_of_several_blocks_is_changed_where_it_stands():
    """Against torch's own hooks: a replay and a change that share a mistake would agree with each other."""
    torch.manual_seed(3)
    model = TadanModel(replace(model_examples.CONFIG, analysis_blocks=3, body_blocks=2)).eval().requires_grad_(False)
    for value in model.parameters():
        if value.abs().max() == 0:
            value.normal_(0, 0.2)
    picture, quality = replay().picture, replay().quality
    one, errors = Replay(model, picture, quality, SCHEDULE), []
    for at in (at for at in interfaces(model) if ".blocks." in at.name):
        hook = model.get_submodule(at.owner).register_forward_hook(lambda module, given, out: 2 - 3 * out)
        expected = model(picture, quality, SCHEDULE)
        hook.remove()
        found = one.run(at, lambda x: 2 - 3 * x)
        for ours, theirs in zip(found[:3], expected[:3], strict=True):
            assert torch.allclose(ours, theirs, rtol=1e-4)
        errors.append(float(found.mse.sum()))
    assert len(set(errors)) == 5


@torch.no_grad()
@pytest.mark.parametrize("at", PLACES, ids=lambda at: at.name)
def test_a_projection_to_full_width_costs_nothing(at):
    one, all_of = replay(), components()[at.name]
    ranks = torch.full((len(one.quality),), all_of.width)
    losses = projected(one, at, all_of, ranks)
    before, after = (cost(one.model, losses, one.quality) for losses in (one.losses, losses))
    assert torch.allclose(before, after, rtol=2e-2)  # a latent may fall to the other side of a half


@pytest.mark.parametrize("rank", [0, 1, 3])
def test_an_interface_of_known_rank_needs_no_more_components(rank):
    model = copy.deepcopy(network())
    torch.manual_seed(rank)
    layer = model.g_s.inlet
    with torch.no_grad():
        rows = layer.weight
        basis = torch.linalg.qr(torch.randn(len(rows), len(rows)))[0][:, :rank]
        layer.weight.copy_(basis @ (basis.T @ rows))
        layer.bias.zero_()
    (at,) = (at for at in interfaces(model) if at.name == "g_s.inlet")
    fitted = fit_components(model, model_examples.batch("chelsea", "coffee"), (20, 70), SCHEDULE)[at.name]
    found = width_needed(Replay(model, replay().picture, replay().quality, SCHEDULE), at, fitted)
    assert max(found.values()) <= rank


def test_the_width_found_suffices_and_one_less_does_not():
    one = replay()
    before = by_quality(cost(one.model, one.losses, one.quality), one.quality)
    for at in interfaces(one.model)[::3]:
        fitted = components()[at.name]
        found = width_needed(one, at, fitted)
        for fewer in (0, 1):
            ranks = torch.tensor([max(0, found[int(value)] - fewer) for value in one.quality])
            with torch.no_grad():
                losses = one.run(
                    at, lambda x, at=at, fitted=fitted, r=ranks: at.tensor(fitted.project(at.vectors(x), r))
                )
            after = by_quality(cost(one.model, losses, one.quality), one.quality)
            for value, width in found.items():
                if width - fewer >= 0 and (fewer or width < fitted.width):
                    assert (after[value] > 1.01 * before[value]) == bool(fewer), (at.name, value)


@pytest.mark.parametrize("at", PLACES, ids=lambda at: at.name)
def test_headroom_is_never_negative_and_leaves_no_trace(at):
    one = replay()
    for constant in (False, True):
        gains = headroom(one, at, 2, constant)
        assert set(gains) == {20, 70}
        assert all(0 <= gain < 1 for gain in gains.values())
    again = one.model(one.picture, one.quality, SCHEDULE)
    assert torch.equal(total(again), total(one.losses))


def test_descent_suits_every_picture_and_keeps_its_best():
    """J = a |change - b|² + 1 with scales of change and J far apart, and a third picture whose gradient lies."""
    target = torch.tensor([1e-3, 50.0, 1.0])[:, None, None] * torch.ones(3, 5, 4)
    weight = torch.tensor([1e6, 1e-3, 1.0])[:, None, None]
    start = (weight * target.square()).sum((1, 2)) + 1
    descent, reached = Descent(start, -2 * weight * target), []
    for _ in range(40):
        away = descent.next - target
        reached.append((weight * away.square()).sum((1, 2)) + 1)
        descent.step(reached[-1], 2 * weight * away * torch.tensor([1.0, 1.0, -1.0])[:, None, None])
    assert torch.equal(descent.lowest, torch.stack(reached).amin(0))
    assert ((descent.lowest - 1) < 0.1 * (start - 1))[:2].all()
    assert descent.lowest[2] <= start[2]
    assert reached[-1][2] < 2 * start[2]  # smaller and smaller steps around the best


def test_without_rounding_the_transform_causes_the_whole_error(monkeypatch):
    model = network()
    one = replay()
    shares = distortion(one, block_components(one.picture, 16))
    assert all(0 < row["transform"] < 1 for row in shares.values())
    monkeypatch.setattr(model_module, "round_through", lambda x: x)
    unrounded = Replay(model, one.picture, one.quality, SCHEDULE)
    for row in distortion(unrounded, block_components(one.picture, 16)).values():
        assert row["transform"] == pytest.approx(1, rel=1e-3)


def test_more_components_of_blocks_leave_less_error():
    one = replay()
    shares = [distortion(one, block_components(one.picture, count))[70]["klt"] for count in (0, 4, 16, 768)]
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] == pytest.approx(0, abs=1e-6)
    grey = (one.picture - 0.5).square().mean((1, 2, 3))[2:].mean()
    assert shares[0] == pytest.approx(float(grey / one.losses.mse[2:].mean()), rel=1e-4)
    assert torch.allclose(to_patches(one.picture).mean(), one.picture.mean())


def test_components_count_every_sample_the_same():
    """A sample a thousand times larger does not decide alone where the axes lie."""
    torch.manual_seed(0)
    axes = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))[0]
    samples = []
    for axis, scale in ((0, 1000.0), (1, 1.0)):
        moments = Moments(6)
        moments.add(scale * torch.randn(500, 1) * axes[:, axis].float() + 3)
        samples.append(moments)
    fitted = Components(samples)
    assert torch.allclose((fitted.basis[:, :2].T @ axes[:, :2].float()).square().sum(), torch.tensor(2.0), atol=0.1)
    assert torch.allclose(fitted.basis.T @ fitted.basis, torch.eye(6), atol=1e-5)


# --- pictures, models, command ----------------------------------------------------------------------------------------


def test_components_are_fitted_on_other_pictures(tmp_path):
    recipe = ProbeRecipe(crops=3, size=64)
    folder = write_pictures(tmp_path, 8)
    drawn = draw_crops(folder, recipe)
    assert drawn.measured.shape == (3, 64, 64, 3)
    assert drawn.others.shape == (5, 64, 64, 3)
    assert torch.equal(drawn.measured, draw_crops(folder, recipe).measured)
    assert not torch.equal(drawn.measured, draw_crops(folder, replace(recipe, seed=1)).measured)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (ProbeRecipe(crops=4, size=64), "4 crops need 8"),
        (ProbeRecipe(crops=1, size=128), "0 pictures of 128"),
        (ProbeRecipe(crops=1, size=100), "multiple of 64"),
    ],
)
def test_too_few_pictures_are_a_clear_error(tmp_path, recipe, message):
    with pytest.raises(InvalidInput, match=message):
        draw_crops(write_pictures(tmp_path, 7), recipe)


@pytest.mark.slow
def test_a_run_is_probed_by_its_averaged_weights(tmp_path):
    one = trainer(tmp_path / "run", write_pictures(tmp_path / "data"))
    one.save()
    model, identity = load_network(str(tmp_path / "run" / "ema.safetensors"))
    assert model.config == one.config
    assert "run" in identity
    assert not any(value.requires_grad for value in model.parameters())
    for name in (str(tmp_path / "none" / "ema.safetensors"), "nobody"):
        with pytest.raises(TadanError):
            load_network(name)


def test_the_command_writes_what_it_prints(tmp_path):
    (tmp_path / "small.safetensors").write_bytes(model_examples.exported_bytes())
    folder, out = write_pictures(tmp_path / "data", 3), tmp_path / "probes.json"
    line = ["lab", "probes", folder, "--model", tmp_path / "small.safetensors", "--out", out, "-q", "20,70"]
    result = CliRunner().invoke(app, [*map(str, line), "--crops", "1", "--size", "64", "--steps", "1"])
    assert result.exit_code == 0, result.output
    content = json.loads(out.read_text())
    assert [row["name"] for row in content["interfaces"]] == [at.name for at in interfaces(network())]
    for row in content["interfaces"]:
        assert all(0 <= needed <= row["width"] for needed in row["components"].values())
        assert row["paid"] == (row["constant"] is None)
    for title, (_, rows) in grids(content).items():
        assert title in result.output
        assert all(row[0] in result.output for row in rows)
    assert all(math.isfinite(value) for value in content["cost"].values())


def test_the_command_names_the_folder_that_holds_too_little(tmp_path):
    result = CliRunner().invoke(app, ["lab", "probes", str(tmp_path), "--crops", "2"])
    assert result.exit_code == 2
    assert "2 crops need 4" in " ".join(result.output.split())


def test_committed_probes_are_quoted_word_for_word():
    docs = Path(__file__).parents[2] / "docs"
    written = (docs / "study.md").read_text()
    for title, table in tables(json.loads((docs / "results/study/probes-photo.json").read_text())).items():
        assert table in written, f"docs/study.md does not hold the table {title!r} of probes-photo.json"
