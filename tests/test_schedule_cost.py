"""The analytic cost model: against the layers themselves, against brute force, and the promise of 30 kMAC/pixel."""

from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given, settings

from schedule_examples import patterns
from tadan.errors import InvalidInput
from tadan.models.config import ModelConfig
from tadan.schedule import PatternSchedule, get_schedule, schedule_names
from tadan.schedule.cost import (
    anchor_share,
    context_macs_per_pixel,
    decoder_cost,
    embedding_macs_per_pixel,
    encoder_cost,
    g_a_macs_per_pixel,
    g_s_macs_per_pixel,
    h_a_macs_per_pixel,
    h_s_macs_per_pixel,
    mean_visible,
    naive_context_macs_per_pixel,
    parameter_macs_per_pixel,
    stage_costs,
)

CONFIG = ModelConfig()


@pytest.mark.parametrize("name", schedule_names())
def test_decoding_stays_below_30_kmac_per_pixel(name):
    budget = 30.1 if name == "2x2-rotated" else 30  # four passes of the hidden layer
    assert decoder_cost(get_schedule(name), CONFIG).total <= budget


@pytest.mark.parametrize("name", schedule_names())
def test_parts_add_up(name):
    schedule = get_schedule(name)
    cost = decoder_cost(schedule, CONFIG)
    assert cost.total == pytest.approx(sum(asdict(cost).values()))
    stages = stage_costs(schedule, CONFIG)
    assert sum(stage.share for stage in stages) == pytest.approx(1)
    assert sum(stage.kmacs_per_pixel for stage in stages) == pytest.approx(cost.context + cost.parameters)
    assert sum(stage.share * stage.visible for stage in stages) == pytest.approx(mean_visible(schedule, CONFIG.radius))
    encoder = encoder_cost(schedule, CONFIG)
    assert encoder.total - encoder.g_a - encoder.h_a == pytest.approx(cost.total - cost.g_s)


@settings(deadline=None, max_examples=30)
@given(patterns())
def test_context_counts_the_pairs_that_a_plan_gathers(schedule):
    config = replace(CONFIG, groups=2 * schedule.groups, latent=24 * schedule.groups)
    rows, cols = schedule.period
    pairs = sum(
        cell.positions.size * int(cell.visible.sum()) * config.groups // schedule.groups
        for stage in schedule.plan(rows, cols, config.radius)
        for cell in stage
    )
    macs_per_position = pairs * config.embed * config.hidden / (rows * cols)
    assert context_macs_per_pixel(schedule, config) == pytest.approx(macs_per_position / 256)


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
    """One picture of 64x64 through every network of a small model, whose sizes all differ."""
    import torch

    from tadan.nn.entropy_model import EntropyModel
    from tadan.nn.transforms import Analysis, Synthesis

    config = ModelConfig(
        latent=20, width=12, analysis_blocks=3, synthesis_blocks=2, expansion=3, z_channels=7, hyper_widths=(10, 9, 8),
        groups=2, embed=5, hidden=11,
    )  # fmt: skip
    pixels = 64 * 64
    entropy = EntropyModel(config)
    y, z = torch.zeros(1, 4, 4, 20), torch.zeros(1, 1, 1, 7)
    quality = torch.tensor([50.0])
    assert _executed_macs(Analysis(config), torch.zeros(1, 64, 64, 3), quality) == pixels * g_a_macs_per_pixel(config)
    assert _executed_macs(Synthesis(config), y, quality) == pixels * g_s_macs_per_pixel(config)
    assert _executed_macs(entropy.h_a, y) == pixels * h_a_macs_per_pixel(config)
    assert _executed_macs(entropy.h_s, z) == pixels * h_s_macs_per_pixel(config)
    hidden = torch.zeros(1, 4, 4, 11)
    layers = _executed_macs(entropy.layer, hidden) + _executed_macs(entropy.outlet, hidden)
    assert layers == pixels * parameter_macs_per_pixel(get_schedule("2x2"), config)
    embeddings = entropy.context.embed.numel() + entropy.context.embed_magnitude.numel()
    assert embeddings * 4 * 4 == pixels * embedding_macs_per_pixel(config)
    bases, features = config.bases, config.window * config.groups * config.embed
    assert entropy.context.bases.weight.numel() == bases * features * config.hidden


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


def test_recomputing_everything_grows_with_the_stages():
    plane = 32, 48
    naive = {name: naive_context_macs_per_pixel(get_schedule(name), CONFIG, *plane) for name in ("hyper", "2x2", "4x4")}
    assert naive["4x4"] == 4 * naive["2x2"] == 16 * naive["hyper"]
    cost = decoder_cost(get_schedule("4x4"), CONFIG)
    assert naive["4x4"] / 1000 > 20 * (cost.context + cost.parameters)


def test_groups_must_fit_the_model():
    three = PatternSchedule(np.arange(3)[:, None, None])
    for call in (decoder_cost, encoder_cost, stage_costs):
        with pytest.raises(InvalidInput, match="4 channel groups cannot run a schedule with 3"):
            call(three, CONFIG)
