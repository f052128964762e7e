"""``tadan model finetune`` and ``tadan model train`` from the command line, on a small model; the words about them."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
from typer.testing import CliRunner

from model_examples import exported_bytes
from tadan.cli.main import app
from tadan.cli.train import parse_settings
from tadan.errors import InvalidInput
from tadan.models import ModelConfig
from tadan.train import finetune
from tadan.train.finetune import BeforeAfter
from tadan.train.log import StepFacts
from tadan.train.recipe import Recipe
from training_examples import write_pictures

DOC = Path(__file__).parents[2] / "docs" / "training.md"
SMALL = ["batch=1", "size=64", "late_batch=1", "late_size=64", "threads=1"]
QUICK = [word for item in SMALL for word in ("--set", item)]


def run(*line, code=0):
    result = CliRunner().invoke(app, [str(word) for word in line])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("tuning")
    write_pictures(root / "data", 4, 80, 80)
    (root / "small.safetensors").write_bytes(exported_bytes())
    return root


@pytest.fixture
def quick(monkeypatch):
    """Neither time to train nor pictures of 256 pixels."""
    monkeypatch.setattr(finetune, "FEWEST", 2)
    monkeypatch.setattr(finetune, "export_run", lambda folder, data, name, pictures: (name.encode(), []))


def tune(folders, where, *more, code=0):
    out = where / "mine.safetensors"
    line = ["model", "finetune", folders / "data", "--out", out, "--init", folders / "small.safetensors"]
    return out, run(*line, "--run", where / "run", "--minutes", "0", "--device", "cpu", *QUICK, *more, code=code)


def test_finetuning_writes_a_better_model_and_no_other(folders, tmp_path, quick, monkeypatch):
    scores = iter([0.5, 0.6, 0.6, 0.6, 0.4])

    def evaluated(*_):
        return {"bpp_zbpp_psnr_J": {"10": [1.0, 0.1, 30.0, 1.5]}, "mean_log_J": next(scores)}

    monkeypatch.setattr("tadan.train.loop.evaluate", evaluated)
    out, refused = tune(folders, tmp_path, "--set", "steps=2", code=1)
    assert "+10.52 %" in " ".join(refused.stderr.split())
    assert "nothing was written" in " ".join(refused.stderr.split())
    assert not out.exists()
    out, forced = tune(folders, tmp_path, "--force")  # goes on: one step was left, or none
    assert "+10.52 %" in forced.stdout
    assert out.read_bytes() == b"mine"


def test_the_steps_are_counted_by_the_pace_of_the_machine_and_the_pace_leaves_no_trace(folders, tmp_path):
    tuning = finetune.Finetune(
        tmp_path, folders / "data", str(folders / "small.safetensors"),
        parse_settings(SMALL, Recipe()), "cpu",
    )  # fmt: skip
    before = {name: value.clone() for name, value in tuning.trainer.model.state_dict().items()}
    assert finetune.seconds_per_step(tuning.trainer, 1) > 0
    assert all((value == before[name]).all() for name, value in tuning.trainer.model.state_dict().items())
    assert all((value == before[name]).all() for name, value in tuning.trainer.average.items())
    assert tuning.trainer.step == 0
    assert not any(optimizer.state for optimizer in tuning.trainer.optimizers)


def test_a_comparison_says_what_became_better():
    before = {"bpp_zbpp_psnr_J": {"10": [1.0, 0.1, 30.0, 1.5]}, "mean_log_J": 0.5}
    after = {"bpp_zbpp_psnr_J": {"10": [0.9, 0.1, 30.0, 1.35]}, "mean_log_J": 0.4}
    assert "J 1.5000 -> 1.3500 (-10.00 %)" in BeforeAfter(before, after).lines()[0]
    assert BeforeAfter(before, after).better
    for worse in (before, {**before, "mean_log_J": float("nan")}):
        assert not BeforeAfter(before, worse).better


def test_bad_arguments_are_named_before_anything_is_trained(folders, tmp_path):
    missing = tmp_path / "no" / "mine.safetensors"
    shown = run("model", "finetune", folders / "data", "--out", missing, code=2).stderr
    assert "create it first" in " ".join(shown.split())
    shown = run("model", "finetune", folders / "data", "--out", tmp_path / "x", "--set", "color=1", code=2).stderr
    assert "late_size" in shown


def test_training_from_the_command_line_goes_on(folders, tmp_path):
    line = ["model", "train", folders / "data", "--run", tmp_path, "--minutes", "0", "--device", "cpu"]
    first = run(*line, "--init", folders / "small.safetensors", *QUICK, "--set", "steps=2", "--set", "log_every=1")
    assert "stopped after step 1 of 2" in first.stderr
    assert "held out after step 2" in run(*line).stderr
    assert "all 2 steps are done" in run(*line).stderr
    assert "other sizes: hidden" in run(*line, "--config", "hidden=8", code=2).stderr


def test_settings_take_the_type_of_their_default():
    wanted = {"steps": 10, "lr": 1e-4, "finetune": True, "optimizer": "adam"}
    assert parse_settings(["steps=10", "lr=1e-4", "finetune=yes", "optimizer=adam"], Recipe()) == wanted
    sizes = parse_settings(["hyper_widths=8,16,24", "hidden=64", "group_sizes=4,12"], ModelConfig())
    assert sizes == {"hyper_widths": (8, 16, 24), "hidden": 64, "group_sizes": (4, 12)}
    for text in ("steps=many", "finetune=perhaps", "nothing=1", "steps"):
        with pytest.raises(InvalidInput, match=re.escape(text.partition("=")[0])):
            parse_settings([text], Recipe())
    with pytest.raises(InvalidInput, match="hyper_widths"):
        parse_settings(["hyper_widths=8"], ModelConfig())


@pytest.mark.parametrize("name", [field.name for field in fields(Recipe)])
def test_every_setting_is_documented_with_its_default(name):
    row = re.search(rf"^\| `{name}` \| `(.*?)` \|", DOC.read_text(), re.MULTILINE)
    assert row, name
    assert parse_settings([f"{name}={row[1]}"], Recipe())[name] == getattr(Recipe(), name)


@pytest.mark.parametrize(
    "name", [*StepFacts._fields[:-1], "lr", "seconds_per_step", "megapixels_per_second", "skipped"]
)
def test_every_logged_number_is_documented(name):
    assert f"`{name}`" in DOC.read_text()
