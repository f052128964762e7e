"""Settings of a training: recipes, optimisers, devices, what is compiled, the display."""

import sys
from io import StringIO

import pytest
import torch
from rich.console import Console

from tadan.errors import Corrupt, InvalidInput
from tadan.nn.model import TadanModel
from tadan.train.device import choose_device, compile_transforms
from tadan.train.log import Display, duration
from tadan.train.optimizers import make_optimizers
from tadan.train.recipe import Recipe, read_settings
from training_examples import CONFIG


@pytest.mark.parametrize(
    ("change", "message"),
    [({"optimizer": "sgd"}, "muon, adam"), ({"size": 100}, "multiple of 64"), ({"steps": 0}, "above 0"),
     ({"lr": float("nan")}, "lr must be"), ({"switch": 1.5}, "switch is in"), ({"compile": "maybe"}, "auto, on, off")],
)  # fmt: skip
def test_settings_out_of_range_are_named(change, message):
    with pytest.raises(InvalidInput, match=message):
        Recipe(**change)


def test_recipes_of_newer_runs_and_missing_ones_are_named(tmp_path):
    with pytest.raises(Corrupt, match="upgrade"):
        Recipe.from_dict({"newer": 1})
    with pytest.raises(Corrupt, match=r"recipe\.json"):
        read_settings(tmp_path)


def test_the_price_of_z_rises_to_one():
    prices = [Recipe(z_warmup=4).price_of_z(step) for step in range(6)]
    assert prices == sorted(prices)
    assert prices[-2:] == [1.0, 1.0]
    assert Recipe(z_warmup=0).price_of_z(0) == Recipe(finetune=True).price_of_z(0) == 1.0


@pytest.mark.parametrize("name", ["muon", "adam", "adamw"])
def test_every_parameter_has_one_optimizer(name):
    trained = dict(TadanModel(CONFIG).named_parameters())
    optimizers = make_optimizers(trained, Recipe(optimizer=name))
    owned = [id(value) for one in optimizers for group in one.param_groups for value in group["params"]]
    assert sorted(owned) == sorted(id(value) for value in trained.values())


def test_a_missing_optimizer_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)
    with pytest.raises(InvalidInput, match="pip install pytorch-optimizer"):
        make_optimizers(dict(TadanModel(CONFIG).named_parameters()), Recipe(optimizer="soap"))


def test_devices_are_chosen_by_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")
    with pytest.raises(InvalidInput, match="sees 0"):
        choose_device("cuda:1")
    for name in ("tpu", "cpu:1", "cuda:x"):
        with pytest.raises(InvalidInput, match="auto, cpu, cuda"):
            choose_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("auto", local_rank=1) == choose_device("cuda:1") == torch.device("cuda", 1)


def test_transforms_are_compiled_on_a_gpu_and_keep_their_names(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module, **_: compiled.append(type(module).__name__))
    model = TadanModel(CONFIG)
    compile_transforms(model, torch.device("cpu"), Recipe())
    assert not compiled
    compile_transforms(model, torch.device("cuda"), Recipe())
    assert {"Analysis", "Synthesis"} <= set(compiled)


@pytest.mark.parametrize("terminal", [True, False])
def test_the_display_shows_a_bar_on_a_terminal_and_lines_elsewhere(terminal):
    console = Console(record=True, force_terminal=terminal, width=100, file=StringIO())
    with Display(10, 0, console=console) as display:
        display.step(5, 1.25)
        display.line("a line [not markup]")
    shown = console.export_text()
    assert "a line [not markup]" in shown
    assert ("5/10" in shown) == ("1.2500" in shown) == terminal
    assert [duration(seconds) for seconds in (5, 75, 7500)] == ["5 s", "1 min", "2 h 05 min"]
