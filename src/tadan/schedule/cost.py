"""Analytic arithmetic of the codec: multiply-accumulates (MAC) of every part, none of it measured.

Per *position* means per place of the tensor that a layer writes; per *pixel* means divided by the picture's pixels:
256 of them for a latent position (1/16), 1024 at 1/32, 4096 at 1/64. Padding at the borders of a picture, biases,
activations, requantisation and table lookups are left out. So is the mixing of base kernels by the visibility
pattern: it happens once per cell of a schedule, not once per position, and its result can be kept.

The counts are those of the exact decoder, which computes only what a stage needs: it gathers the visible (offset,
channel group) pairs of a position and multiplies once. The context then costs the same whether 2 stages share the
latents or 16.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Protocol

import numpy as np

from tadan.errors import InvalidInput
from tadan.schedule.schedule import PatternSchedule, Schedule

PIXELS_AT_8, PIXELS_AT_16, PIXELS_AT_32, PIXELS_AT_64 = 8**2, 16**2, 32**2, 64**2
BLOCK_INPUTS = 3 * PIXELS_AT_8  # values of an 8x8 RGB block, the channels of g_a's input and g_s's output
H_A_WIDTH = 192  # of tadan.nn.entropy_model.HyperAnalysis


class Sizes(Protocol):
    """Sizes of the networks in channels; :class:`tadan.models.config.ModelConfig` is one, and documents them."""

    @property
    def latent(self) -> int: ...  # noqa: D102
    @property
    def width(self) -> int: ...  # noqa: D102
    @property
    def analysis_blocks(self) -> int: ...  # noqa: D102
    @property
    def synthesis_blocks(self) -> int: ...  # noqa: D102
    @property
    def expansion(self) -> int: ...  # noqa: D102
    @property
    def kernel(self) -> int: ...  # noqa: D102
    @property
    def z_channels(self) -> int: ...  # noqa: D102
    @property
    def hyper_widths(self) -> tuple[int, int, int]: ...  # noqa: D102
    @property
    def groups(self) -> int: ...  # noqa: D102
    @property
    def embed(self) -> int: ...  # noqa: D102
    @property
    def radius(self) -> int: ...  # noqa: D102
    @property
    def hidden(self) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class _Cost:
    @property
    def total(self) -> float:
        """Sum of all parts, kMAC per pixel."""
        return float(sum(astuple(self)))


@dataclass(frozen=True)
class DecoderCost(_Cost):
    """Arithmetic of decoding by part, all in kMAC per pixel."""

    h_s: float
    embedding: float
    context: float
    parameters: float
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


@dataclass(frozen=True)
class StageCost:
    """One stage of a schedule, averaged over its latents.

    Attributes:
        stage: number of the stage; 0 stands for every stage of a raster or wavefront scan, which are all alike.
        share: fraction of all latents that it decodes.
        visible: window positions that a latent sees; one that is known in half of the channel groups counts as 1/2.
        kmacs_per_pixel: context and parameters of this stage's latents, kMAC per pixel of the whole picture.
    """

    stage: int
    share: float
    visible: float
    kmacs_per_pixel: float


# --- what a schedule shows ------------------------------------------------------------------------------------------


def anchor_share(schedule: Schedule) -> float:
    """Fraction of latents decoded in stage 0, which see none; 0 for scans, where a single latent does."""
    if not isinstance(schedule, PatternSchedule):
        return 0.0
    return float(np.mean(schedule.pattern == 0))


def mean_visible(schedule: Schedule, radius: int) -> float:
    """Window positions that a latent sees, averaged over the period of the schedule and its channel groups.

    A position that is known in half of the channel groups counts as 1/2. Far from the borders of the plane.
    """
    return float(np.mean(_visible_counts(schedule, radius)))


def _visible_counts(schedule: Schedule, radius: int) -> np.ndarray[tuple[int, int, int], np.dtype[np.float64]]:
    """Visible window positions, float64 (groups, rows, cols) over one period."""
    seen = schedule.visibility(*schedule.period, radius)
    counts: np.ndarray[tuple[int, int, int], np.dtype[np.float64]] = seen.sum(axis=(3, 4, 5)) / schedule.groups
    return counts


def stage_costs(schedule: Schedule, sizes: Sizes) -> tuple[StageCost, ...]:
    """Every stage of a schedule in decoding order; a scan, whose stages are alike, gives a single entry.

    Raises:
        InvalidInput: the schedule tells more channel groups apart than the model, or a window is too large for a scan.
    """
    _check_groups(schedule, sizes)
    stages = schedule.stage_map(*schedule.period)
    visible = _visible_counts(schedule, sizes.radius)
    costs = []
    for stage in range(int(stages.max()) + 1):
        here = stages == stage
        share, seen = float(here.mean()), float(visible[here].mean())
        # A latent of one group needs the whole hidden layer, so each group of the schedule pays for it.
        context = schedule.groups * context_macs_per_position(sizes, seen)
        parameters = schedule.groups * sizes.hidden**2 + outlet_macs_per_position(sizes)
        costs.append(StageCost(stage, share, seen, share * (context + parameters) / PIXELS_AT_16 / 1000))
    return tuple(costs)


def _check_groups(schedule: Schedule, sizes: Sizes) -> None:
    if sizes.groups % schedule.groups:
        raise InvalidInput(
            f"a model with {sizes.groups} channel groups cannot run a schedule with {schedule.groups}; "
            "choose a schedule whose groups divide the model's"
        )


# --- layers ---------------------------------------------------------------------------------------------------------


def conv_macs_per_position(inputs: int, outputs: int, kernel: int = 1) -> int:
    """Dense convolution: ``kernel² * inputs * outputs``; a pointwise layer has kernel 1."""
    return kernel**2 * inputs * outputs


def depthwise_macs_per_position(channels: int, kernel: int = 3) -> int:
    """Depthwise convolution: ``kernel² * channels``."""
    return kernel**2 * channels


def block_macs_per_position(width: int, expansion: int, kernel: int) -> int:
    """Residual block of the transforms: depthwise, then width -> expansion * width -> width."""
    return depthwise_macs_per_position(width, kernel) + 2 * conv_macs_per_position(width, expansion * width)


def context_macs_per_position(sizes: Sizes, visible: float) -> float:
    """Window product of one latent position for one schedule group: ``visible * groups * embed * hidden``.

    ``visible`` is the number of window positions seen; each holds ``groups * embed`` embedded values, and ``visible *
    groups`` is therefore the number of (offset, channel group) pairs that are gathered.
    """
    return visible * sizes.groups * sizes.embed * sizes.hidden


def outlet_macs_per_position(sizes: Sizes) -> int:
    """Last layer of the parameter network, mean and scale: ``hidden * 2 * latent`` for all channel groups together."""
    return conv_macs_per_position(sizes.hidden, 2 * sizes.latent)


# --- parts ----------------------------------------------------------------------------------------------------------


def h_s_macs_per_pixel(sizes: Sizes) -> float:
    """Hyper synthesis.

    ``(9 z w1 + 4 w1 w2) / 4096 + (9 w2 w2 + 4 w2 w3) / 1024 + 9 w3 hidden / 256`` with (w1, w2, w3) = hyper_widths.
    """
    first, second, third = sizes.hyper_widths
    at_64 = conv_macs_per_position(sizes.z_channels, first, 3) + conv_macs_per_position(first, 4 * second)
    at_32 = conv_macs_per_position(second, second, 3) + conv_macs_per_position(second, 4 * third)
    at_16 = conv_macs_per_position(third, sizes.hidden, 3)
    return at_64 / PIXELS_AT_64 + at_32 / PIXELS_AT_32 + at_16 / PIXELS_AT_16


def embedding_macs_per_pixel(sizes: Sizes) -> float:
    """Embedding of decoded latents and their log magnitudes, each group on its own: ``2 * latent * embed / 256``."""
    return 2 * sizes.latent * sizes.embed / PIXELS_AT_16


def context_macs_per_pixel(schedule: Schedule, sizes: Sizes) -> float:
    """Window products: ``schedule.groups * mean_visible * groups * embed * hidden / 256``.

    Raises:
        InvalidInput: the schedule tells more channel groups apart than the model, or a window is too large for a scan.
    """
    _check_groups(schedule, sizes)
    seen = mean_visible(schedule, sizes.radius)
    return schedule.groups * context_macs_per_position(sizes, seen) / PIXELS_AT_16


def parameter_macs_per_pixel(schedule: Schedule, sizes: Sizes) -> float:
    """Parameter network: ``(schedule.groups * hidden² + hidden * 2 * latent) / 256``.

    The hidden layer runs once per position and schedule group; of the outlet each group computes its own rows only.
    """
    return (schedule.groups * sizes.hidden**2 + outlet_macs_per_position(sizes)) / PIXELS_AT_16


def g_s_macs_per_pixel(sizes: Sizes) -> float:
    """Synthesis: ``latent * 4 width / 256 + (blocks * (kernel² width + 2 expansion width²) + width * 192) / 64``."""
    blocks = sizes.synthesis_blocks * block_macs_per_position(sizes.width, sizes.expansion, sizes.kernel)
    at_8 = blocks + conv_macs_per_position(sizes.width, BLOCK_INPUTS)
    return conv_macs_per_position(sizes.latent, 4 * sizes.width) / PIXELS_AT_16 + at_8 / PIXELS_AT_8


def g_a_macs_per_pixel(sizes: Sizes) -> float:
    """Analysis: ``(192 * width + blocks * (kernel² width + 2 expansion width²)) / 64 + 4 width * latent / 256``."""
    blocks = sizes.analysis_blocks * block_macs_per_position(sizes.width, sizes.expansion, sizes.kernel)
    at_8 = conv_macs_per_position(BLOCK_INPUTS, sizes.width) + blocks
    return at_8 / PIXELS_AT_8 + conv_macs_per_position(4 * sizes.width, sizes.latent) / PIXELS_AT_16


def h_a_macs_per_pixel(sizes: Sizes) -> float:
    """Hyper analysis, w = 192: ``(latent w + 9 w) / 256 + (4 w w + 9 w) / 1024 + 4 w z / 4096``."""
    spatial = depthwise_macs_per_position(H_A_WIDTH)
    at_16 = conv_macs_per_position(sizes.latent, H_A_WIDTH) + spatial
    at_32 = conv_macs_per_position(4 * H_A_WIDTH, H_A_WIDTH) + spatial
    at_64 = conv_macs_per_position(4 * H_A_WIDTH, sizes.z_channels)
    return at_16 / PIXELS_AT_16 + at_32 / PIXELS_AT_32 + at_64 / PIXELS_AT_64


def naive_context_macs_per_pixel(schedule: Schedule, sizes: Sizes, height: int, width: int) -> float:
    """What context and parameters cost if every stage recomputes the full plane, as the paper's public code does.

    ``stages * (schedule.groups * ((2 radius + 1)² * groups * embed * hidden + hidden²) + hidden * 2 * latent) / 256``:
    a masked dense window and the parameter network everywhere, of which all but the stage's own positions are thrown
    away. ``height`` x ``width`` is the latent plane, on which the number of stages of a scan depends.

    Raises:
        InvalidInput: the schedule tells more channel groups apart than the model.
    """
    _check_groups(schedule, sizes)
    window = context_macs_per_position(sizes, (2 * sizes.radius + 1) ** 2)
    stage = schedule.groups * (window + sizes.hidden**2) + outlet_macs_per_position(sizes)
    return schedule.stage_count(height, width) * stage / PIXELS_AT_16


# --- whole ----------------------------------------------------------------------------------------------------------


def decoder_cost(schedule: Schedule, sizes: Sizes) -> DecoderCost:
    """All arithmetic of decoding a picture under a schedule.

    Raises:
        InvalidInput: the schedule tells more channel groups apart than the model, or a window is too large for a scan.
    """
    return DecoderCost(
        h_s=h_s_macs_per_pixel(sizes) / 1000,
        embedding=embedding_macs_per_pixel(sizes) / 1000,
        context=context_macs_per_pixel(schedule, sizes) / 1000,
        parameters=parameter_macs_per_pixel(schedule, sizes) / 1000,
        g_s=g_s_macs_per_pixel(sizes) / 1000,
    )


def encoder_cost(schedule: Schedule, sizes: Sizes) -> EncoderCost:
    """All arithmetic of encoding a picture under a schedule, one pass of the entropy model.

    Raises:
        InvalidInput: the schedule tells more channel groups apart than the model, or a window is too large for a scan.
    """
    decoder = decoder_cost(schedule, sizes)
    return EncoderCost(
        g_a=g_a_macs_per_pixel(sizes) / 1000,
        h_a=h_a_macs_per_pixel(sizes) / 1000,
        h_s=decoder.h_s,
        embedding=decoder.embedding,
        context=decoder.context,
        parameters=decoder.parameters,
    )
