"""Analytic arithmetic of the codec: multiply-accumulates (MAC) of every part, and sequential steps; all counted.

Per *position* means per place of the tensor that a layer writes; per *pixel* means divided by the picture's pixels:
256 of them for a latent position (1/16), 1024 at 1/32, 4096 at 1/64, 16 for a grid point of the renderer. Padding at
the borders of a picture, biases, activations, requantisation and table lookups are left out. So is the mixing of base
kernels by the visibility pattern: it happens once per cell of a schedule, and its result can be kept.

The counts are those of the exact decoder, which computes only what a stage needs: it gathers what a position sees and
multiplies once. The context then costs the same whether 2 stages share the latents or 16. The window and the hidden
layer run once per position and schedule group, the late network and its rows of the outlet once per model group. What
the group that a position decodes last would tell later groups is not computed.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from tadan.errors import InvalidInput
from tadan.models.config import ModelConfig
from tadan.schedule.schedule import PatternSchedule, Schedule

EXAMPLE_WIDTH, EXAMPLE_HEIGHT = 768, 512  # pixels of the picture whose stages and steps are shown to people
EXAMPLE_PLANE = EXAMPLE_HEIGHT // 16, EXAMPLE_WIDTH // 16  # its latents
PIXELS_AT_16, PIXELS_AT_32, PIXELS_AT_64 = 16**2, 32**2, 64**2
POINTS = 16  # grid points of the renderer per position of y
PATCH_INPUTS = 3 * PIXELS_AT_16  # values of 16x16 RGB pixels
CELL_OUTPUTS = PATCH_INPUTS // POINTS  # of 4x4 RGB pixels


@dataclass(frozen=True)
class _Cost:
    @property
    def total(self) -> float:
        """Sum of all parts, kMAC per pixel."""
        return float(sum(astuple(self)))


@dataclass(frozen=True)
class DecoderCost(_Cost):
    """Arithmetic of decoding by part, all in kMAC per pixel; ``late`` is what groups learn at their own position."""

    h_s: float
    embedding: float
    context: float
    parameters: float
    late: float
    g_s: float


@dataclass(frozen=True)
class EncoderCost(_Cost):
    """Arithmetic of encoding by part, all in kMAC per pixel; the entropy model is the decoder's."""

    g_a: float
    h_a: float
    h_s: float
    embedding: float
    context: float
    parameters: float
    late: float


@dataclass(frozen=True)
class StageCost:
    """One stage of a schedule, averaged over its latents.

    Attributes:
        stage: number of the stage; 0 stands for every stage of a raster or wavefront scan, which are all alike.
        share: fraction of all latents that it decodes.
        visible: window positions that a latent sees; one that is known in half of the channel groups counts as 1/2.
        kmacs_per_pixel: context, parameters and late network of this stage's latents, kMAC per pixel of the picture.
    """

    stage: int
    share: float
    visible: float
    kmacs_per_pixel: float


def anchor_share(schedule: Schedule) -> float:
    """Fraction of latents decoded in stage 0, which see none; 0 for scans, where a single latent does."""
    if not isinstance(schedule, PatternSchedule):
        return 0.0
    return float(np.mean(schedule.pattern == 0))


def mean_visible(schedule: Schedule, radius: int) -> float:
    """Window positions that a latent sees, averaged over the period of the schedule and its channel groups.

    A position that is known in half of the channel groups counts as 1/2. Far from the borders of the plane.
    """
    seen = schedule.visibility(*schedule.period, radius).sum(axis=(3, 4, 5))
    return float(np.mean(seen)) / schedule.groups


def sequential_steps(schedule: Schedule, sizes: ModelConfig, height: int, width: int) -> int:
    """Steps of a ``height`` x ``width`` latent plane that wait for each other: one per stage and model group in it.

    Raises:
        InvalidInput: the schedule's groups do not divide the model's, or a dimension is below 1.
    """
    own = _own(schedule, sizes)
    schedule.stage_count(height, width)  # checks the plane
    stages = schedule.stage_map(height, width)
    return own * sum(len(np.unique(group)) for group in stages)


def stage_costs(schedule: Schedule, sizes: ModelConfig) -> tuple[StageCost, ...]:
    """Every stage of a schedule in decoding order; a scan, whose stages are alike, gives a single entry.

    A stage pays for context, hidden layer, late network and outlet of its latents. Averages count channels, so that
    a schedule group weighs as much as it holds.

    Raises:
        InvalidInput: the schedule's groups do not divide the model's, or a window is too large for a scan.
    """
    own = _own(schedule, sizes)
    channels, features = (
        np.reshape(one, (schedule.groups, own)).sum(axis=1) for one in (sizes.group_sizes, sizes.embed_sizes)
    )
    stages = schedule.stage_map(*schedule.period)
    seen = schedule.visibility(*schedule.period, sizes.radius).sum(axis=(4, 5))  # (viewers, rows, cols, seen groups)
    macs = sizes.hidden * (seen @ features + sizes.hidden + own * sizes.late)
    macs = macs + (2 * (sizes.hidden + sizes.late) * channels)[:, None, None]
    last = np.argmax(stages[::-1], axis=0)  # from the end: the group that tells nobody
    is_last = np.arange(schedule.groups)[::-1, None, None] == last
    macs = macs - 2 * sizes.late * is_last * _last_sizes(schedule, sizes)
    weight = np.broadcast_to(channels[:, None, None], stages.shape)
    costs = []
    for stage in range(int(stages.max()) + 1):
        here = stages == stage
        visible = float(np.average(seen.sum(axis=3)[here], weights=weight[here])) / schedule.groups
        share = float(weight[here].sum() / weight.sum())
        costs.append(StageCost(stage, share, visible, float(macs[here].sum()) / stages[0].size / PIXELS_AT_16 / 1000))
    return tuple(costs)


def naive_context_macs_per_pixel(schedule: Schedule, sizes: ModelConfig, height: int, width: int) -> float:
    """What context and parameters cost if every stage recomputes the full plane, as the paper's public code does.

    ``stages * (schedule.groups * ((2 radius + 1)² * embedded values * hidden + hidden²) + late * (2 latent + groups *
    hidden) + hidden * 2 * latent) / 256``: a masked dense window and all networks everywhere, of which all but the
    stage's own positions are thrown away. ``height`` x ``width`` is the latent plane.

    Raises:
        InvalidInput: the schedule's groups do not divide the model's, or a dimension is below 1.
    """
    _own(schedule, sizes)
    latent, window = sizes.latent, (2 * sizes.radius + 1) ** 2 * sum(sizes.embed_sizes)
    stage = schedule.groups * (window + sizes.hidden) * sizes.hidden + 2 * sizes.hidden * latent
    stage += sizes.late * (2 * latent + sizes.groups * sizes.hidden)
    return schedule.stage_count(height, width) * stage / PIXELS_AT_16


def conv_macs_per_position(inputs: int, outputs: int, kernel: int = 1) -> int:
    """Dense convolution: ``kernel² * inputs * outputs``; a pointwise layer has kernel 1."""
    return kernel**2 * inputs * outputs


def depthwise_macs_per_position(channels: int, kernel: int = 3) -> int:
    """Depthwise convolution: ``kernel² * channels``."""
    return kernel**2 * channels


def block_macs_per_position(width: int, expansion: int, kernel: int) -> int:
    """Residual block of the transforms: depthwise, then width -> expansion * width -> width."""
    return depthwise_macs_per_position(width, kernel) + 2 * conv_macs_per_position(width, expansion * width)


def window_macs_per_pixel(schedule: Schedule, sizes: ModelConfig) -> float:
    """Window products: ``hidden / 256`` times the embedded values that each schedule group sees, averaged over phases.

    Raises:
        InvalidInput: the schedule's groups do not divide the model's, or a window is too large for a scan.
    """
    own = _own(schedule, sizes)
    features = np.reshape(sizes.embed_sizes, (schedule.groups, own)).sum(axis=1)
    seen = schedule.visibility(*schedule.period, sizes.radius).sum(axis=(4, 5)) @ features  # (viewers, rows, cols)
    return float(seen.mean(axis=(1, 2)).sum()) * sizes.hidden / PIXELS_AT_16


def late_macs_per_pixel(schedule: Schedule, sizes: ModelConfig) -> float:
    """``late * (2 * (latent - last group) + groups * hidden) / 256``; which group is last depends on the position.

    Raises:
        InvalidInput: the schedule's groups do not divide the model's.
    """
    told = sizes.latent - float(_last_sizes(schedule, sizes).mean())
    return sizes.late * (2 * told + sizes.groups * sizes.hidden) / PIXELS_AT_16


def _last_sizes(schedule: Schedule, sizes: ModelConfig) -> NDArray[np.int64]:
    """Channels of the model group that a position decodes last, over one period."""
    own = _own(schedule, sizes)
    stages = schedule.stage_map(*schedule.period)
    last = schedule.groups - 1 - np.argmax(stages[::-1], axis=0)  # of equal stages the highest group
    return np.array(sizes.group_sizes)[(last + 1) * own - 1]


def parameter_macs_per_pixel(schedule: Schedule, sizes: ModelConfig) -> float:
    """Hidden layer per schedule group, and the outlet: ``(schedule.groups * hidden² + 2 * hidden * latent) / 256``."""
    return (schedule.groups * sizes.hidden**2 + 2 * sizes.hidden * sizes.latent) / PIXELS_AT_16


def embedding_macs_per_pixel(sizes: ModelConfig) -> float:
    """Values and log magnitudes of each group on its own: ``2 * sum(size * embed) / 256``."""
    pairs = zip(sizes.group_sizes, sizes.embed_sizes, strict=True)
    return 2 * sum(size * embed for size, embed in pairs) / PIXELS_AT_16


def h_s_macs_per_pixel(sizes: ModelConfig) -> float:
    """``(9 z w1 + 4 w1 w2) / 4096 + (9 w2 w2 + 4 w2 w3) / 1024 + w3 hidden / 256``, (w1, w2, w3) = hyper_widths."""
    first, second, third = sizes.hyper_widths
    at_64 = conv_macs_per_position(sizes.z_channels, first, 3) + conv_macs_per_position(first, 4 * second)
    at_32 = conv_macs_per_position(second, second, 3) + conv_macs_per_position(second, 4 * third)
    return at_64 / PIXELS_AT_64 + at_32 / PIXELS_AT_32 + third * sizes.hidden / PIXELS_AT_16


def h_a_macs_per_pixel(sizes: ModelConfig) -> float:
    """Hyper analysis, w = h_a_width: ``(latent w + 9 w) / 256 + (4 w w + 9 w) / 1024 + 4 w z / 4096``."""
    spatial = depthwise_macs_per_position(sizes.h_a_width)
    at_16 = sizes.latent * sizes.h_a_width + spatial
    at_32 = 4 * sizes.h_a_width**2 + spatial
    return at_16 / PIXELS_AT_16 + at_32 / PIXELS_AT_32 + 4 * sizes.h_a_width * sizes.z_channels / PIXELS_AT_64


def g_a_macs_per_pixel(sizes: ModelConfig) -> float:
    """``(768 width + blocks * (kernel² width + 2 expansion width²) + width * latent) / 256``."""
    width = sizes.analysis_width
    blocks = sizes.analysis_blocks * block_macs_per_position(width, sizes.analysis_expansion, sizes.kernel)
    return (PATCH_INPUTS * width + blocks + width * sizes.latent) / PIXELS_AT_16


def g_s_macs_per_pixel(sizes: ModelConfig) -> float:
    """Body at 1/16, renderer at 1/4.

    A grid block costs ``2 grid grid_hidden`` per grid point, its modulation ``2 body_width grid_hidden`` per position.
    """
    width, grid, hidden = sizes.body_width, sizes.grid, sizes.grid_hidden
    body = sizes.latent * width
    body += sizes.body_blocks * block_macs_per_position(width, sizes.body_expansion, sizes.kernel)
    body += width * POINTS * grid + sizes.grid_blocks * 2 * width * hidden
    point = sizes.grid_blocks * 2 * grid * hidden + grid * CELL_OUTPUTS
    return (body + POINTS * point) / PIXELS_AT_16


def decoder_cost(schedule: Schedule, sizes: ModelConfig) -> DecoderCost:
    """All arithmetic of decoding a picture under a schedule.

    Raises:
        InvalidInput: the schedule's groups do not divide the model's, or a window is too large for a scan.
    """
    return DecoderCost(
        h_s=h_s_macs_per_pixel(sizes) / 1000,
        embedding=embedding_macs_per_pixel(sizes) / 1000,
        context=window_macs_per_pixel(schedule, sizes) / 1000,
        parameters=parameter_macs_per_pixel(schedule, sizes) / 1000,
        late=late_macs_per_pixel(schedule, sizes) / 1000,
        g_s=g_s_macs_per_pixel(sizes) / 1000,
    )


def encoder_cost(schedule: Schedule, sizes: ModelConfig) -> EncoderCost:
    """All arithmetic of encoding a picture under a schedule, one pass of the entropy model.

    Raises:
        InvalidInput: the schedule's groups do not divide the model's, or a window is too large for a scan.
    """
    decoder = decoder_cost(schedule, sizes)
    return EncoderCost(
        g_a=g_a_macs_per_pixel(sizes) / 1000,
        h_a=h_a_macs_per_pixel(sizes) / 1000,
        h_s=decoder.h_s,
        embedding=decoder.embedding,
        context=decoder.context,
        parameters=decoder.parameters,
        late=decoder.late,
    )


def _own(schedule: Schedule, sizes: ModelConfig) -> int:
    """Model groups that a schedule group stands for."""
    if sizes.groups % schedule.groups:
        raise InvalidInput(
            f"a model with {sizes.groups} channel groups cannot run a schedule with {schedule.groups}; "
            "choose a schedule whose groups divide the model's"
        )
    return sizes.groups // schedule.groups
