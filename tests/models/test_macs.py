"""The analytic cost model: against the layers themselves and against the steps of a plan."""

import json
import re
from dataclasses import asdict

import numpy as np
import pytest

from cli_examples import run
from model_examples import exported_bytes
from tadan.errors import InvalidInput
from tadan.models import ModelConfig
from tadan.models.macs import (
    anchor_share,
    decoder_cost,
    embedding_macs_per_pixel,
    encoder_cost,
    g_a_macs_per_pixel,
    g_s_macs_per_pixel,
    h_a_macs_per_pixel,
    h_s_macs_per_pixel,
    late_macs_per_pixel,
    mean_visible,
    naive_context_macs_per_pixel,
    parameter_macs_per_pixel,
    sequential_steps,
    stage_costs,
    window_macs_per_pixel,
)
from tadan.schedule import PatternSchedule, get_schedule
from twin_examples import CONFIG, SCHEDULES, twin


@pytest.mark.parametrize("name", SCHEDULES)
def test_steps_are_those_of_the_plan(name):
    for shape in ((1, 1), (3, 5), (8, 8)):
        assert sequential_steps(SCHEDULES[name], CONFIG, *shape) == len(list(twin().steps(SCHEDULES[name], shape)))


@pytest.mark.parametrize("name", SCHEDULES)
def test_window_and_late_products_are_those_of_the_plan(name):
    """Counted cell by cell and step by step over one period."""
    schedule = SCHEDULES[name]
    shape, own = schedule.period, CONFIG.groups // schedule.groups
    size = shape[0] * shape[1] * 256
    embeds, window = np.reshape(CONFIG.embed_sizes, (schedule.groups, own)).sum(axis=1), 0
    for cell in (cell for stage in schedule.plan(*shape, CONFIG.radius) for cell in stage):
        window += len(cell.positions) * int(cell.visible.sum(axis=(1, 2)) @ embeds) * CONFIG.hidden
    assert window_macs_per_pixel(schedule, CONFIG) == pytest.approx(window / size)
    left, late = np.full(shape[0] * shape[1], CONFIG.groups), 0
    for step in twin().steps(schedule, shape):
        left[step.positions] -= 1
        late += CONFIG.late * CONFIG.hidden * len(step.positions)
        late += 2 * CONFIG.group_sizes[step.group] * CONFIG.late * np.count_nonzero(left[step.positions])
    assert late_macs_per_pixel(schedule, CONFIG) == pytest.approx(late / size)


def _executed_macs(module, *inputs):
    """Multiply-accumulates of the linear and convolution layers of a torch module, counted while it runs."""
    import torch

    total = 0

    def count(layer, _, output):
        nonlocal total
        kernel = layer.weight.numel() // layer.weight.shape[0]
        total += output.numel() * kernel

    layers = [layer for layer in module.modules() if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.no_grad():
        module(*inputs)
    for hook in hooks:
        hook.remove()
    return total


def test_formulas_agree_with_the_networks():
    """One picture of 64x64 through every network of a small model."""
    import torch

    from tadan.nn.entropy_model import EntropyModel
    from tadan.nn.transforms import Analysis, Synthesis

    config = ModelConfig(**{**asdict(CONFIG), "body_blocks": 2, "body_expansion": 2})
    pixels, quality, latent = 64 * 64, torch.tensor([50.0]), config.latent
    entropy, y, z = EntropyModel(config), torch.zeros(1, 4, 4, latent), torch.zeros(1, 1, 1, config.z_channels)
    analysis, synthesis = Analysis(config), Synthesis(config)
    assert _executed_macs(analysis, torch.zeros(1, 64, 64, 3), quality) == pixels * g_a_macs_per_pixel(config)
    assert _executed_macs(synthesis, y, quality) == pixels * g_s_macs_per_pixel(config)
    assert _executed_macs(entropy.h_a, y) == pixels * h_a_macs_per_pixel(config)
    assert _executed_macs(entropy.h_s, z) == pixels * h_s_macs_per_pixel(config)
    hidden = torch.zeros(1, 4, 4, config.hidden)
    layers = _executed_macs(entropy.layer, hidden) + _executed_macs(entropy.outlet, hidden)
    assert layers == pixels * parameter_macs_per_pixel(get_schedule("2x2"), config)
    embeddings = sum(weight.numel() for weight in entropy.context.embeddings)
    assert embeddings * 4 * 4 == pixels * embedding_macs_per_pixel(config)


def test_parts_add_up_and_the_decoder_stays_in_its_budget():
    config = ModelConfig()
    for name in ("checkerboard", "4x4-opt-4", "4x4", "raster", "2x2-rotated"):
        cost, encoder = (one(get_schedule(name), config) for one in (decoder_cost, encoder_cost))
        assert cost.total == pytest.approx(sum(asdict(cost).values()))
        assert encoder.total - encoder.g_a - encoder.h_a == pytest.approx(cost.total - cost.g_s)
        assert cost.total < 17


@pytest.mark.parametrize("name", SCHEDULES)
def test_stages_add_up(name):
    schedule, cost = SCHEDULES[name], decoder_cost(SCHEDULES[name], CONFIG)
    stages = stage_costs(schedule, CONFIG)
    assert sum(stage.share for stage in stages) == pytest.approx(1)
    assert sum(stage.kmacs_per_pixel for stage in stages) == pytest.approx(cost.context + cost.parameters + cost.late)
    assert all(stage.kmacs_per_pixel > 0 for stage in stages)


@pytest.mark.parametrize(
    ("name", "share"),
    [("hyper", 1), ("checkerboard", 1 / 2), ("2x2", 1 / 4), ("2x2-rotated", 1 / 4), ("4x4", 1 / 16), ("raster", 0)],
)
def test_anchors(name, share):
    schedule = get_schedule(name)
    assert anchor_share(schedule) == share
    blind = [stage.share for stage in stage_costs(schedule, CONFIG) if stage.visible == 0]
    assert sum(blind) == share


def test_visible_neighbours():
    """Of two latents of different stages one sees the other, so a full order shows half of the 24 neighbours."""
    for name in ("3x3", "4x4", "4x4-raster", "raster", "wavefront"):
        assert mean_visible(get_schedule(name), 2) == 12
    assert mean_visible(get_schedule("checkerboard"), 2) == 6
    assert [stage.visible for stage in stage_costs(get_schedule("checkerboard"), CONFIG)] == [0, 12]
    # Channel groups in turn: what the first group knows counts for half of each position, its own included.
    in_turn = PatternSchedule([[[0]], [[1]]])
    assert [stage.visible for stage in stage_costs(in_turn, CONFIG)] == [0, 12.5]


def test_a_stage_counts_the_channels_that_it_decodes():
    """Two low groups of 2 channels first, then the high ones of 4 and 8, which see a half-known window everywhere."""
    first, second = stage_costs(PatternSchedule([[[0]], [[1]]]), CONFIG)
    assert (first.share, first.visible) == (0.25, 0)
    assert (second.share, second.visible) == (0.75, CONFIG.window / 2)


def test_recomputing_everything_costs_most():
    plane = 32, 48
    naive = {name: naive_context_macs_per_pixel(get_schedule(name), CONFIG, *plane) for name in ("hyper", "2x2", "4x4")}
    assert naive["4x4"] == 4 * naive["2x2"] == 16 * naive["hyper"]
    cost = decoder_cost(get_schedule("4x4"), CONFIG)
    assert naive["4x4"] / 1000 > 16 * (cost.context + cost.parameters + cost.late)


def test_groups_must_fit_the_model():
    three = PatternSchedule(np.arange(3)[:, None, None])
    for call in (decoder_cost, encoder_cost, late_macs_per_pixel, stage_costs):
        with pytest.raises(InvalidInput, match="4 channel groups cannot run a schedule with 3"):
            call(three, CONFIG)
    with pytest.raises(InvalidInput, match="nothing to decode"):
        sequential_steps(SCHEDULES["hyper"], CONFIG, 0, 3)


def test_info_model_counts_the_steps_of_channel_groups(tmp_path):
    path = tmp_path / "six.safetensors"
    path.write_bytes(exported_bytes(group_sizes=(1, 2, 3, 4, 3, 3), embed_sizes=(1,) * 6))
    shown = run("model", "info", path).stdout
    assert re.search(r"total +h_s +embedding +context +parameters +late +g_s +stages +steps\n", shown)
    assert re.search(r"^ +4x4(?: +\d+\.\d\d){7} +16 +96$", shown, re.MULTILINE)
    assert "2x2-rotated" not in shown, "four channel groups do not divide six"
    facts = json.loads(run("model", "info", path, "--json").stdout)
    assert facts["sequential_steps"]["raster"] == 6 * facts["stages"]["raster"] == 6 * 1536
    assert facts["decoder_parts"]["4x4"]["late"] > 0
    assert facts["encoder_parts"]["g_a"] > 0
