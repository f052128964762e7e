"""The analytic cost of the design renderer: against the layers themselves and against the steps of a plan."""

from dataclasses import asdict

import numpy as np
import pytest

from group_examples import CONFIG, SCHEDULES, twin
from tadan.errors import InvalidInput
from tadan.models.renderer_config import RendererConfig
from tadan.schedule import PatternSchedule, get_schedule
from tadan.schedule.group_cost import (
    embedding_macs_per_pixel,
    g_a_macs_per_pixel,
    g_s_macs_per_pixel,
    group_decoder_cost,
    group_encoder_cost,
    h_a_macs_per_pixel,
    h_s_macs_per_pixel,
    late_macs_per_pixel,
    parameter_macs_per_pixel,
    sequential_steps,
    window_macs_per_pixel,
)
from test_schedule_cost import _executed_macs


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
        [part] = step.parts
        left[part.positions] -= 1
        late += CONFIG.late * CONFIG.hidden * len(part.positions)
        late += 2 * CONFIG.group_sizes[part.group] * CONFIG.late * np.count_nonzero(left[part.positions])
    assert late_macs_per_pixel(schedule, CONFIG) == pytest.approx(late / size)


@pytest.mark.parametrize("grid_kernel", [1, 3])
def test_formulas_agree_with_the_networks(grid_kernel):
    """One picture of 64x64 through every network of a small model."""
    import torch

    from tadan.nn.channel_entropy import ChannelEntropyModel
    from tadan.nn.renderer import RendererSynthesis, WideAnalysis

    config = RendererConfig(**{**asdict(CONFIG), "grid_kernel": grid_kernel, "body_blocks": 2, "body_expansion": 2})
    pixels, quality, latent = 64 * 64, torch.tensor([50.0]), config.latent
    entropy, y, z = ChannelEntropyModel(config), torch.zeros(1, 4, 4, latent), torch.zeros(1, 1, 1, config.z_channels)
    analysis, synthesis = WideAnalysis(config), RendererSynthesis(config)
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
    config = RendererConfig()
    for name in ("checkerboard", "4x4-opt-4", "4x4", "raster", "2x2-rotated"):
        cost, encoder = (one(get_schedule(name), config) for one in (group_decoder_cost, group_encoder_cost))
        assert cost.total == pytest.approx(sum(asdict(cost).values()))
        assert encoder.total - encoder.g_a - encoder.h_a == pytest.approx(cost.total - cost.g_s)
        assert cost.total < 17


def test_groups_must_fit_the_model():
    three = PatternSchedule(np.arange(3)[:, None, None])
    for call in (group_decoder_cost, group_encoder_cost, late_macs_per_pixel):
        with pytest.raises(InvalidInput, match="4 channel groups cannot run a schedule with 3"):
            call(three, CONFIG)
    with pytest.raises(InvalidInput, match="nothing to decode"):
        sequential_steps(SCHEDULES["hyper"], CONFIG, 0, 3)
