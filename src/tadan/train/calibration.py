"""How large the activations of the entropy model get: their formats in the integer twin follow from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tadan.exact.constants import ACTIVATION_LIMIT, EMBED_LIMIT
from tadan.exact.convert import fractions_for
from tadan.nn.entropy_model import EntropyModel
from tadan.nn.layers import depth_to_space
from tadan.nn.model import TadanModel
from tadan.schedule import get_schedule

Maxima = dict[str, NDArray[np.float64]]
Formats = dict[str, NDArray[np.int64]]
Note = Callable[[str, Tensor], Tensor]
SCHEDULES = ("checkerboard", "2x2", "4x4", "raster", "hyper", "2x2-rotated")
QUALITIES = (1, 10, 25, 40, 55, 70, 85, 100)


@torch.no_grad()
def calibrate(model: TadanModel, pictures: Sequence[Tensor]) -> Maxima:
    """Largest activation of every channel that the integer twin stores, over qualities and schedules.

    Args:
        model: float model.
        pictures: (B, H, W, 3) in 0..1, H and W multiples of 64; never evaluation pictures.
    """
    entropy = model.entropy.folded()
    seen: Maxima = {}

    def note(name: str, value: Tensor) -> Tensor:
        largest = value.abs().flatten(0, -2).amax(0).double().numpy()
        seen[name] = np.maximum(seen.get(name, 0.0), largest)
        return value

    for batch in pictures:
        for value in QUALITIES:
            quality = torch.full((len(batch),), float(value))
            y, z = model.analyse(batch, quality)
            z_mean = entropy.z_mean(quality)
            hyper = _noted_hyper(entropy, torch.round(z - z_mean) + z_mean, note)
            _note_stages(entropy, torch.round(y), hyper + entropy.hidden_bias(quality), note)
    return seen


def formats_of(maxima: Mapping[str, NDArray[np.float64]]) -> Formats:
    """Fraction bits of every noted activation, int64 of the shape of its maxima."""
    k = {name: fractions_for(maxima[name], ACTIVATION_LIMIT) for name in ("conv1", "conv2", "pre", "late", "hidden")}
    for name in ("up1", "up2"):  # depth_to_space follows: the four parts of a channel share one format
        four = np.asarray(maxima[name]).reshape(4, -1).max(0)
        k[name] = np.tile(fractions_for(four, ACTIVATION_LIMIT), 4)
    return k | {"embed": fractions_for(maxima["embed"], EMBED_LIMIT)}


def _noted_hyper(entropy: EntropyModel, z_hat: Tensor, note: Note) -> Tensor:
    h_s = entropy.h_s
    x = note("conv1", torch.relu(h_s.conv1(z_hat)))
    x = depth_to_space(note("up1", torch.relu(h_s.up1(x))), 2)
    x = note("conv2", torch.relu(h_s.conv2(x)))
    return h_s.outlet(depth_to_space(note("up2", torch.relu(h_s.up2(x))), 2))


def _note_stages(entropy: EntropyModel, y: Tensor, hyper: Tensor, note: Note) -> None:
    groups = entropy.config.groups
    note("embed", entropy.context.embedding(y))
    for schedule in (one for one in map(get_schedule, SCHEDULES) if groups % one.groups == 0):
        late = entropy.late_activations(y, schedule)
        note("late", late)
        terms = entropy.late_terms(y, schedule)
        for group in range(schedule.groups):
            hidden = entropy.layer(note("pre", torch.relu(hyper + entropy.context(y, schedule, group))))
            for term in terms.chunk(schedule.groups)[group]:
                note("hidden", torch.relu(hidden + term))
