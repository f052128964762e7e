"""Entropy model: spatial stages, and inside each of them uneven channel groups.

::

    y*gain --h_a--> z --round--> z_hat --h_s--> hyper --+
                                                        v
    latents of earlier stages --embed--> window -----> (+) -> ReLU -> layer -> hidden        once per position
                                                                               |
    groups before this one, own position --late_in--> ReLU --late_out[group]-> (+) -> ReLU -> outlet rows of the group

A group sees, at its own position, the groups of earlier stages and the lower groups of its own stage. All that does not
depend on the group is computed once per position and stage; reviews of frozen latents gave the sizes (docs/study.md).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np
import torch
from onnx import TensorProto
from torch import Tensor, nn

from tadan.entropy.constants import SCALE_MAX, SCALE_MIN
from tadan.errors import InvalidInput
from tadan.models.config import ModelConfig
from tadan.nn.context import AnyScheduleContext, with_magnitudes
from tadan.nn.layers import ByQuality, Conv, depth_to_space, space_to_depth
from tadan.nn.onnx_graph import Graph
from tadan.schedule import Schedule


@lru_cache(maxsize=256)
def own_position(schedule: Schedule, height: int, width: int, groups: int) -> Tensor:
    """Which groups a group sees at its own position: bool (h or 1, w or 1, groups, groups), rows are the viewers.

    Groups of earlier stages, and lower groups of the same stage. (1, 1, ...) where all positions are alike.
    """
    lower = np.tri(groups, k=-1, dtype=bool)
    if schedule.groups == 1:
        return torch.from_numpy(lower[None, None])
    stages = np.repeat(schedule.stage_map(height, width), groups // schedule.groups, axis=0).transpose(1, 2, 0)
    viewer, seen = stages[..., :, None], stages[..., None, :]
    return torch.from_numpy((seen < viewer) | ((seen == viewer) & lower))


class HyperAnalysis(nn.Module):
    """h_a: y in quantisation steps -> z at a quarter of its resolution; encoder only."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.h_a_width
        self.first = nn.Linear(config.latent, width)
        self.first_spatial = Conv(width, width, 3, groups=width)
        self.second = nn.Linear(4 * width, width)
        self.second_spatial = Conv(width, width, 3, groups=width)
        self.third = nn.Linear(4 * width, config.z_channels)

    def forward(self, y: Tensor) -> Tensor:
        """(B, 4 h, 4 w, latent) -> (B, h, w, z_channels)."""
        x = space_to_depth(torch.relu(self.first_spatial(self.first(y))), 2)
        x = space_to_depth(torch.relu(self.second_spatial(self.second(x))), 2)
        return self.third(x)

    def graph(self) -> bytes:
        """y float32 (B, latent, h, w) in quantisation steps, h and w multiples of 4 -> z (B, z_channels, h/4, w/4)."""
        graph = Graph("h_a", "y", self)
        graph.pointwise(self.first)
        graph.depthwise(self.first_spatial)
        graph.add("Relu")
        graph.gather_blocks(self.second, 2)
        graph.depthwise(self.second_spatial)
        graph.add("Relu")
        graph.gather_blocks(self.third, 2)
        return graph.finish(
            [("y", TensorProto.FLOAT, ["B", self.first.in_features, "h", "w"])],
            [(graph.tip, "z", TensorProto.FLOAT, ["B", self.third.out_features, "hz", "wz"])],
        )


class HyperSynthesis(nn.Module):
    """h_s: z_hat -> what the parameter network adds to the context, at the resolution of y. Pointwise at 1/16."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        first, second, third = config.hyper_widths
        self.conv1 = Conv(config.z_channels, first)
        self.up1 = nn.Linear(first, 4 * second)
        self.conv2 = Conv(second, second)
        self.up2 = nn.Linear(second, 4 * third)
        self.outlet = nn.Linear(third, config.hidden)

    def forward(self, z_hat: Tensor) -> Tensor:
        """(B, h, w, z_channels) -> (B, 4 h, 4 w, hidden)."""
        x = torch.relu(self.conv1(z_hat))
        x = torch.relu(depth_to_space(self.up1(x), 2))
        x = torch.relu(self.conv2(x))
        return self.outlet(torch.relu(depth_to_space(self.up2(x), 2)))


class EntropyModel(nn.Module):
    """Everything between y and its probabilities."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.h_a = HyperAnalysis(config)
        self.h_s = HyperSynthesis(config)
        self.context = AnyScheduleContext(config)
        self.hidden_bias = ByQuality(config.knots, config.hidden)
        self.layer = nn.Linear(config.hidden, config.hidden)
        self.late_weights = nn.Parameter(torch.randn(2, config.latent, config.late) * 0.2)
        self.late_bias = nn.Parameter(torch.zeros(config.groups, config.late))
        self.late_out = nn.Parameter(torch.zeros(config.groups, config.late, config.hidden))
        self.outlet = nn.Linear(config.hidden, 2 * config.latent)
        self.outlet_bias = ByQuality(config.knots, 2 * config.latent)
        self.z_mean = ByQuality(config.knots, config.z_channels)
        self.z_log_scale = ByQuality(config.knots, config.z_channels)
        with torch.no_grad():
            self.outlet.weight.mul_(0.1)
            self.outlet.bias.zero_()

    @property
    def late_in(self) -> Tensor:
        """Float32 (2, latent, late): what values and log magnitudes of each channel add to the late hidden layer."""
        return self.context.per_value(self.late_weights)

    @torch.no_grad()
    def set_spread(self, deviation: Tensor) -> None:
        """Tell how widely values spread, float (latent,) in quantisation steps, before the first step of training."""
        self.context.spread.copy_(1 + deviation)
        self.h_a.first.weight.div_(1 + deviation)

    @torch.no_grad()
    def fold_spread(self) -> Tensor:
        """Move the spread into the weights, as export and other readers of plain weights want it; returns it.

        The network computes the same; the spread is 1 afterwards.
        """
        spread = self.context.spread.clone()
        ends = list(accumulate(self.config.group_sizes, initial=0))
        for weight, (first, end) in zip(self.context.embed_weights, pairwise(ends), strict=True):
            weight[0].div_(spread[first:end, None])
        self.late_weights[0].div_(spread[:, None])
        self.outlet.weight[: len(spread)].mul_(spread[:, None])
        self.context.spread.fill_(1.0)
        return spread

    @torch.no_grad()
    def folded(self) -> EntropyModel:
        """A copy that reads plain latents, the spread of training moved into its weights."""
        entropy = copy.deepcopy(self)
        entropy.fold_spread()
        if self.config.groups == 1:  # nobody reads them, and so no activation gives them a format
            entropy.late_weights.zero_()
        return entropy

    def late_activations(self, y_seen: Tensor, schedule: Schedule) -> Tensor:
        """Sums over the groups before each group at its position, after ReLU: (groups, B, h, w, late)."""
        config, (_, h, w, _) = self.config, y_seen.shape
        with torch.autocast(y_seen.device.type, enabled=False):
            parts = with_magnitudes(y_seen).split(config.group_sizes, -1)
            weights = self.late_in.split(config.group_sizes, 1)
            pairs = zip(parts, weights, strict=True)
            own = torch.stack([part.flatten(-2) @ weight.flatten(0, 1) for part, weight in pairs])
        seen = own_position(schedule, h, w, config.groups).to(own)
        if seen.shape[:2] == (1, 1):  # a small product over groups, the same everywhere
            sums = (seen[0, 0] @ own.flatten(1)).view_as(own)
        else:
            sums = torch.einsum("yxts,sbyxf->tbyxf", seen, own)
        return torch.relu(sums + self.late_bias[:, None, None, None])

    def late_terms(self, y_seen: Tensor, schedule: Schedule) -> Tensor:
        """What each group learns from the groups before it at its position: (groups, B, h, w, hidden)."""
        late = self.late_activations(y_seen, schedule)
        return torch.bmm(late.flatten(1, 3), self.late_out).unflatten(1, late.shape[1:4])

    def parameters_for(self, y_seen: Tensor, z_hat: Tensor, schedule: Schedule, quality: Tensor) -> Parameters:
        """Mean and log scale of every latent when ``y_seen`` is known wherever schedule and group order show it.

        Args:
            y_seen: (B, h, w, latent).
            z_hat: (B, ceil(h/4), ceil(w/4), z_channels).
            schedule: decoding order; the number of its groups divides the model's.
            quality: (B,).

        Raises:
            InvalidInput: the model cannot tell that many channel groups apart.
        """
        config = self.config
        if config.groups % schedule.groups:
            raise InvalidInput(
                f"a model with {config.groups} channel groups cannot follow a schedule with {schedule.groups}; choose "
                "another schedule, or other group_sizes"
            )
        hyper = self.h_s(z_hat)[:, : y_seen.shape[1], : y_seen.shape[2]]
        hidden = [
            self.hidden_at(hyper, self.context(y_seen, schedule, group), quality) for group in range(schedule.groups)
        ]
        return self.parameters_at(hidden, self.late_terms(y_seen, schedule), quality)

    def hidden_at(self, hyper: Tensor, context: Tensor, quality: Tensor) -> Tensor:
        """Hidden layer before its ReLU, pointwise: (B, ..., hidden) twice and quality (B,) -> like the former."""
        return self.layer(torch.relu(hyper + self.hidden_bias(quality) + context))

    def parameters_at(self, hidden: Sequence[Tensor], late: Tensor, quality: Tensor) -> Parameters:
        """Mean and log scale, pointwise.

        Args:
            hidden: (B, ..., hidden) of each schedule group, what :meth:`hidden_at` gave.
            late: (groups, B, ..., hidden), what :meth:`late_terms` gave.
            quality: (B,).
        """
        config = self.config
        rows = torch.split(self.outlet.weight.unflatten(0, (2, -1)), list(config.group_sizes), 1)
        means, log_scales = [], []
        each = config.groups // len(hidden)
        for group, term in enumerate(late.unbind(0)):
            with torch.autocast(term.device.type, enabled=False):  # a mean of 100 steps needs more than bf16's 8 bits
                inside = torch.relu(hidden[group // each] + term).float()
                out = inside @ rows[group].flatten(0, 1).T
            mean, log_scale = out.chunk(2, -1)
            means.append(mean)
            log_scales.append(log_scale)
        bias = (self.outlet.bias + self.outlet_bias(quality)).chunk(2, -1)
        mean = torch.cat(means, -1).float() * self.context.spread + bias[0]
        return Parameters(mean, bound_log_scale(torch.cat(log_scales, -1).float() + bias[1]))


class Parameters(NamedTuple):
    """Predicted distribution of latents: both (..., latent); scale is the standard deviation in quantisation steps."""

    mean: Tensor
    log_scale: Tensor


class _Bounded(torch.autograd.Function):
    """Clip whose gradient lets values outside come back in (as LowerBound of tensorflow/compression)."""

    @staticmethod
    def forward(ctx: object, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(x)  # type: ignore[attr-defined]
        ctx.bounds = low, high  # type: ignore[attr-defined]
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
        low, high = ctx.bounds  # type: ignore[attr-defined]
        keep = ((x >= low) | (grad < 0)) & ((x <= high) | (grad > 0))
        return grad * keep, None, None


def bound_log_scale(log_scale: Tensor) -> Tensor:
    """Clip to the range of the scale table, natural logarithms."""
    return _Bounded.apply(log_scale, math.log(SCALE_MIN), math.log(SCALE_MAX))


def gaussian_bits(residual: Tensor, log_scale: Tensor) -> Tensor:
    """Bits of each residual under a discretised Gaussian: -log2(Phi((r+.5)/s) - Phi((r-.5)/s)), float32.

    A floor of about 2^-16 / (1 + |r|) stands for the escape code of the real tables and keeps gradients alive.
    """
    residual = residual.float().abs()
    inverse = torch.exp(-log_scale.float()) * math.sqrt(0.5)
    upper = torch.special.erfc((residual - 0.5) * inverse)
    lower = torch.special.erfc((residual + 0.5) * inverse)
    return -torch.log2(0.5 * (upper - lower) + 2.0**-16 / (1 + residual))


def round_through(x: Tensor) -> Tensor:
    """Round with the gradient of the identity."""
    return x + (torch.round(x) - x).detach()


def rounded_bits(offset: Tensor, log_scale: Tensor, learnt: bool) -> Tensor:
    """Bits of rounded offsets, float32, as :func:`gaussian_bits`; scales learn from what is coded.

    Args:
        offset: latents less their predicted means.
        log_scale: of the same shape.
        learnt: whether the latents learn. They get the slope of the mean over uniform noise of one step in place of
            rounding (Balle et al. 2017, arXiv 1611.01704, section 3.2), in closed form. Where latents stand, means that
            followed that slope would leave what is coded: they get that of the rounded offset.
    """
    offset = offset.float()
    if not learnt:
        return gaussian_bits(round_through(offset), log_scale)
    with torch.no_grad():
        slope = gaussian_bits(offset + 0.5, log_scale) - gaussian_bits(offset - 0.5, log_scale)
    return gaussian_bits(torch.round(offset).detach(), log_scale) + slope * (offset - offset.detach())
