"""Training in one process: resuming, stopping, recovering, what is logged and where a run starts."""

import json
import os
import signal
from dataclasses import replace

import pytest
import torch
from PIL import Image
from safetensors import safe_open

from model_examples import exported_bytes
from photo_examples import photo
from tadan.errors import Corrupt, InvalidInput, TadanError
from tadan.models import ModelConfig, read_model
from tadan.nn.model import TadanModel
from tadan.train import loop, stopping
from tadan.train import start as beginning
from tadan.train.checkpoint import load_weights
from tadan.train.evaluation import evaluate
from tadan.train.loop import Trainer
from tadan.train.start import GROWING, begin
from tadan.train.stopping import TimeLimit
from training_examples import CONFIG, RECIPE, poison, trainer, write_pictures


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    monkeypatch.setattr(beginning, "SAMPLES", 5 * 64**2)


@pytest.fixture(autouse=True)
def no_evaluation(monkeypatch):
    rows = {"10": [1.0, 0.1, 30.0, 1.5]}
    monkeypatch.setattr(loop, "evaluate", lambda *_: {"bpp_zbpp_psnr_J": rows, "mean_log_J": 0.4})


def weights(one):
    return {name: value.clone() for name, value in one.model.state_dict().items()}


def same(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


def log_of(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_a_fresh_start_takes_sizes_and_a_given_model_keeps_its_own(tmp_path):
    fresh = begin(tmp_path, None, {"lr": 5e-4}, {"hidden": 64, "hyper_widths": (8, 8, 8)})
    assert (fresh.config.hidden, fresh.recipe.lr, fresh.weights, fresh.resumed) == (64, 5e-4, None, False)
    path = tmp_path / "model.safetensors"
    path.write_bytes(exported_bytes())
    given = begin(tmp_path, str(path), {}, {})
    assert given.config == read_model(path).config
    assert given.weights is not None
    with pytest.raises(InvalidInput, match="other sizes: hidden"):
        begin(tmp_path, str(path), {}, {"hidden": given.config.hidden + 64})


def test_a_model_may_grow_blocks_which_change_nothing_at_first(tmp_path):
    """More of every kind of block; pictures and latents stay bit for bit."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(exported_bytes())
    small = begin(tmp_path, str(path), {}, {})
    more = {name: getattr(small.config, name) + 1 for name in GROWING}
    large = begin(tmp_path, str(path), {}, more)
    assert large.config == replace(small.config, **more)
    before, after = TadanModel(small.config), TadanModel(large.config)
    before.load_state_dict(small.weights)
    after.load_state_dict(large.weights)
    picture, quality = torch.rand(2, 64, 64, 3), torch.tensor([10.0, 90.0])
    with torch.no_grad():
        y = before.analyse(picture, quality)[0]
        assert torch.equal(after.analyse(picture, quality)[0], y)
        assert torch.equal(after.synthesise(y, quality), before.synthesise(y, quality))
    assert all(torch.equal(value, large.weights[name]) for name, value in small.weights.items())
    again = begin(tmp_path, str(path), {}, more)
    assert all(torch.equal(value, again.weights[name]) for name, value in large.weights.items())
    with pytest.raises(InvalidInput, match="other sizes: body_blocks"):
        begin(tmp_path, str(path), {}, {**more, "body_blocks": small.config.body_blocks - 1})


# --- pieces -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_run_in_two_pieces_is_the_same_run(folder, tmp_path, optimizer):
    recipe = replace(RECIPE, optimizer=optimizer, precision="bf16")
    whole = trainer(tmp_path / "whole", folder, recipe)
    assert whole.run() is None
    first = trainer(tmp_path / "pieces", folder, recipe)
    first.run(0)  # no time at all: one step
    assert 0 < first.step < recipe.steps
    second = trainer(tmp_path / "pieces", folder, recipe)
    assert second.step == first.step
    second.run()
    assert same(weights(whole), weights(second))
    assert same(whole.average, second.average)
    assert same(whole.average, load_weights(tmp_path / "pieces" / "ema.safetensors"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_piece_after_the_step_and_saves(folder, tmp_path, monkeypatch, number):
    one = trainer(tmp_path, folder)
    batch = one._batch

    def interrupted():
        if one.step == 2:
            os.kill(os.getpid(), number)
        return batch()

    before = signal.getsignal(number)
    monkeypatch.setattr(one, "_batch", interrupted)
    assert one.run() == number
    assert signal.getsignal(number) is before
    assert 3 <= one.step <= 4  # this step, or the next one that all processes agree on
    assert trainer(tmp_path, folder).step == one.step


def test_a_time_limit_leaves_room_for_a_step_and_a_save():
    assert not TimeLimit().reached()
    assert TimeLimit(0).reached()
    limit = TimeLimit(3600)
    assert not limit.reached()
    limit.note(save=3000)
    assert limit.reached()


def test_a_run_goes_on_with_its_settings_and_sizes(folder, tmp_path):
    trainer(tmp_path, folder, replace(RECIPE, lr=3e-4)).run(0)
    again = begin(tmp_path, "photo", {"steps": 9}, {"late": CONFIG.late})
    assert (again.recipe.lr, again.recipe.steps, again.config, again.resumed) == (3e-4, 9, CONFIG, True)
    with pytest.raises(InvalidInput, match="other sizes: hidden"):
        begin(tmp_path, None, {}, {"hidden": 17})
    (tmp_path / "state.safetensors").write_bytes(b"damaged")
    with pytest.raises(Corrupt, match="remove it to start again"):
        trainer(tmp_path, folder)


def test_a_search_goes_on_with_the_curvature_that_it_began_with(folder, tmp_path):
    recipe = replace(RECIPE, finetune=True, search=1)
    one = trainer(tmp_path, folder, recipe)
    began = one.search.curvature
    one.run(0)
    again = trainer(tmp_path, folder, recipe)
    assert torch.equal(again.search.curvature, began)


def test_another_optimizer_starts_without_the_moments_of_the_first(folder, tmp_path):
    trainer(tmp_path, folder).run(0)
    one = trainer(tmp_path, folder, replace(RECIPE, optimizer="adam"))
    assert one.step == 1
    assert not any(optimizer.state for optimizer in one.optimizers)
    one.run()


def test_lists_and_numbers_of_an_optimizer_survive_a_checkpoint(folder, tmp_path):
    """As SOAP keeps them: eigenvectors per side, empty where a side is too long, and a step in the group."""
    one = trainer(tmp_path, folder)
    one.run(0)
    optimizer = one.optimizers[1]
    parameter = optimizer.param_groups[0]["params"][0]
    sides = {"Q": [torch.eye(3), [], torch.ones(2)], "beta": 0.95}
    optimizer.state[parameter].update(sides)
    optimizer.param_groups[0]["step"] = 7
    one.save()
    two = trainer(tmp_path, folder)
    state = two.optimizers[1].state[two.optimizers[1].param_groups[0]["params"][0]]
    assert torch.equal(state["Q"][0], torch.eye(3))
    assert torch.equal(state["Q"][2], torch.ones(2))
    assert (state["Q"][1], state["beta"], two.optimizers[1].param_groups[0]["step"]) == ([], 0.95, 7)


# --- steps that are not finite ------------------------------------------------------------------------------------


def test_a_step_that_is_not_finite_changes_nothing_and_is_counted(folder, tmp_path):
    one = trainer(tmp_path, folder, replace(RECIPE, steps=1, log_every=1))
    before = weights(one)
    poison(one, {0})
    one.run()
    assert same(before, weights(one))
    assert same(before, one.average)
    row = log_of(tmp_path)[0]
    assert (row["skipped"], row["loss"]) == (1, None)


def test_a_run_goes_back_with_a_lower_rate_and_gives_up_in_the_end(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(stopping, "PATIENCE", 3)
    monkeypatch.setattr(stopping, "DOUBT", 1)
    one = trainer(tmp_path, folder, replace(RECIPE, steps=12, save_every=2))
    poison(one, range(3, 6))
    recover, seen = one._recover, []

    def noted(log):
        recover(log)
        seen.append(one.step)
        if len(seen) == 2:
            del one.model.compare  # well again

    monkeypatch.setattr(one, "_recover", noted)
    one.run()
    assert (seen, one.step) == ([2, 2], 12)
    assert one.health.lr_factor == 0.25
    assert trainer(tmp_path, folder).health == one.health
    assert [row["lr_factor"] for row in log_of(tmp_path) if "lr_factor" in row] == [0.5, 0.25]

    again = trainer(tmp_path / "hopeless", folder, RECIPE)
    poison(again, range(100))
    with pytest.raises(TadanError, match=r"3 returns .* --init .*ema\.safetensors --set lr="):
        again.run()
    assert torch.isfinite(load_weights(tmp_path / "hopeless" / "ema.safetensors")["g_a.inlet.weight"]).all()


# --- settings, logs, display --------------------------------------------------------------------------------------


def test_log_lines_hold_what_they_promise_and_evaluations_repeat(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "evaluate", evaluate)
    one = trainer(tmp_path, folder, replace(RECIPE, steps=2, log_every=2))
    one.run()
    steps, held_out = log_of(tmp_path)
    wanted = {
        "loss",
        "y_bpp",
        "z_bpp",
        "psnr",
        "grad_norm",
        "lr",
        "seconds_per_step",
        "megapixels_per_second",
        "skipped",
    }
    assert set(steps) == wanted | {"step", "time"}
    assert min(steps[name] for name in wanted - {"skipped"}) > 0
    assert held_out["held_out"] == one.evaluate()
    assert [row[3] for row in held_out["held_out"]["bpp_zbpp_psnr_J"].values()] == sorted(
        row[3] for row in held_out["held_out"]["bpp_zbpp_psnr_J"].values()
    )
    with safe_open(tmp_path / "ema.safetensors", "np") as file:
        assert ModelConfig.from_dict(json.loads(file.metadata()["config"])) == CONFIG


def test_a_specialised_run_sees_one_schedule(folder, tmp_path):
    one = trainer(tmp_path, folder, replace(RECIPE, specialise="4x4-opt-4"))
    assert {one._batch()[2].name for one.step in range(4)} == {"4x4-opt-4"}
    assert same(weights(one), weights(trainer(tmp_path / "all", folder)))  # the same network, from the same start


def test_the_weight_of_high_qualities_is_a_setting(folder, tmp_path, monkeypatch):
    drawn = Trainer._batch

    def fine(self):
        picture, quality, schedule = drawn(self)
        return picture, torch.full_like(quality, 90.0), schedule

    monkeypatch.setattr(Trainer, "_batch", fine)
    flat = trainer(tmp_path / "flat", folder, replace(RECIPE, quality_power=0.0)).one_step()[0]
    steep = trainer(tmp_path / "steep", folder, replace(RECIPE, quality_power=0.5)).one_step()[0]
    assert flat.loss > steep.loss
    assert (flat.y_bpp, flat.psnr) == (steep.y_bpp, steep.psnr)


def test_too_few_pictures_are_a_clear_error(tmp_path):
    Image.fromarray(photo("coffee", 80, 80)).save(tmp_path / "one.png")
    with pytest.raises(InvalidInput, match="needs 2 at least"):
        trainer(tmp_path / "run", tmp_path)
