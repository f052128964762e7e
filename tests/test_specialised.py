"""The specialised context network against the any-schedule one."""

import numpy as np
import pytest
import torch

from tadan.errors import InvalidInput
from tadan.nn.context import AnyScheduleContext, SpecialisedContext, visibility_input
from tadan.schedule import get_schedule
from training_examples import CONFIG


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
