"""Shape of a model: one frozen value that is saved beside weights and inside the model file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

from tadan.errors import Corrupt

QUALITY_MIN, QUALITY_MAX = 1, 100
MOST_GROUPS = 16  # channel groups; a visibility pattern has a bit for each at every position of the window
TUNES = ("eye", "psnr")  # what a model is trained for, and what an encoder lowers: error that is seen, squared error
_MOST_CHANNELS = 2**16


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the networks, in channels unless stated.

    The latent plane y stands at 1/16 of the picture, z at 1/64, the renderer's grid at 1/4.
    """

    design: ClassVar[str] = "renderer"  # named in every file, as later versions may know others
    stride: ClassVar[int] = 16  # pixels a side of a position of y
    context: ClassVar[str] = "mixed-kernels"  # how y is predicted from y (docs/SPEC.md, section 9)
    h_a_width: ClassVar[int] = 192  # the hyper analysis, which runs in the encoder alone
    free_lengths: ClassVar[tuple[str, ...]] = ("group_sizes", "embed_sizes")  # as many sizes as the model has groups

    group_sizes: tuple[int, ...] = (4, 4, 8, 16, 32, 48, 80, 128)  # channel groups of y, coded lowest first
    analysis_width: int = 384
    analysis_blocks: int = 4
    analysis_expansion: int = 2
    body_width: int = 384  # at least the latent channels, or the linear start loses some
    body_blocks: int = 2
    body_expansion: int = 2
    kernel: int = 5  # side of the depthwise convolutions at 1/16
    grid: int = 64  # at least 48, the samples of 4x4 pixels
    grid_hidden: int = 128
    grid_blocks: int = 3
    z_channels: int = 96
    hyper_widths: tuple[int, ...] = (160, 128, 128)  # h_s at 1/64, 1/32, 1/16
    embed_sizes: tuple[int, ...] = (4, 4, 8, 12, 12, 8, 8, 8)  # of each group, what the context window sees
    radius: int = 2  # context window of (2 * radius + 1)²
    hidden: int = 256  # parameter network
    late: int = 96  # what a group learns from the groups before it at its own position
    mask_hidden: int = 64  # network that reads the visibility pattern
    bases: int = 2  # base kernels that a visibility pattern mixes
    knots: int = 9  # supporting points of everything that depends on quality
    lambda_min: float = 0.0002  # of quality 1, for J = lambda * 255² * MSE + bpp
    lambda_max: float = 0.5  # of quality 100

    @property
    def latent(self) -> int:
        """Channels of y."""
        return sum(self.group_sizes)

    @property
    def groups(self) -> int:
        """Channel groups that a schedule may tell apart."""
        return len(self.group_sizes)

    @property
    def window(self) -> int:
        """Positions in the context window, the centre included."""
        return (2 * self.radius + 1) ** 2

    @property
    def visibility_bits(self) -> int:
        """Bits of a visibility pattern: one per window position and channel group."""
        return self.window * self.groups

    @property
    def schedule_groups(self) -> tuple[int, ...]:
        """Numbers of channel groups that a schedule of this model may have, ascending: the divisors of its own."""
        return tuple(n for n in range(1, self.groups + 1) if self.groups % n == 0)

    @property
    def reach(self) -> int:
        """How many positions of y beyond a pixel's own can change it: depthwise kernels at 1/16."""
        return self.body_blocks * (self.kernel // 2)

    @property
    def interface(self) -> dict[str, Any]:
        """What a decoder must know to join tiles and to predict latents, whatever the networks look like inside."""
        return {"context": self.context, "reach": self.reach, "stride": self.stride}

    @property
    def analysis_reach(self) -> int:
        """How many pixels around those of a position of y can change it: depthwise kernels at 1/16."""
        return self.stride * self.analysis_blocks * (self.kernel // 2)

    @property
    def gain_lengths(self) -> dict[str, int]:
        """Length of the input ``gains`` of each graph that has one: two vectors a wide block, one a grid block."""
        body = 2 * self.body_blocks * self.body_width
        return {"g_a": 2 * self.analysis_blocks * self.analysis_width, "g_s": body + self.grid_blocks * self.grid}

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form, the name of the design included."""
        return {"design": self.design, **asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """Inverse of :meth:`to_dict`.

        Raises:
            Corrupt: this version does not know the design, a key is unknown (the file comes from a newer version) or
                missing, or a value is impossible.
        """
        if not isinstance(values, Mapping):
            raise Corrupt(f"a model configuration is a JSON object, not {type(values).__name__}; fetch the model again")
        design = values.get("design")
        if design != cls.design:
            raise Corrupt(f"model of the design {design!r}, but this version knows {cls.design!r} alone; upgrade tadan")
        given = {name: value for name, value in values.items() if name != "design"}
        defaults = {field.name: field.default for field in fields(cls)}
        if set(given) != set(defaults):
            raise Corrupt(
                f"model configuration with unexpected keys {sorted(set(given) ^ set(defaults))}; upgrade tadan"
            )
        wrong = sorted(name for name, value in given.items() if not _fits(name, value, defaults[name]))
        if wrong:
            raise Corrupt(f"model configuration with impossible values of {', '.join(wrong)}; fetch the model again")
        if len(given["group_sizes"]) != len(given["embed_sizes"]):
            raise Corrupt(
                "model configuration with group_sizes and embed_sizes of unequal length; fetch the model again"
            )
        plain: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in given.items()}
        return cls(**plain)


def _fits(name: str, value: object, default: object) -> bool:
    if name in ModelConfig.free_lengths:
        return isinstance(value, list | tuple) and 0 < len(value) <= MOST_GROUPS and all(_like(one, 1) for one in value)
    odd = name != "kernel" or (isinstance(value, int) and value % 2 == 1)  # an even one has no centre
    return odd and _like(value, default)


def _like(value: object, default: object) -> bool:
    """Whether a value from a file can stand where ``default`` stands; tuples are of the same length."""
    if isinstance(default, tuple):
        return isinstance(value, list | tuple) and len(value) == len(default) and all(map(_like, value, default))
    if isinstance(value, bool):
        return False
    if isinstance(default, float):
        return isinstance(value, int | float) and 0 < value < float("inf")
    return isinstance(value, int) and 0 < value <= _MOST_CHANNELS


def quality_lambda(config: ModelConfig, quality: float) -> float:
    """Lagrangian weight of a quality in 1..100: log-linear between lambda_min and lambda_max."""
    position = (quality - QUALITY_MIN) / (QUALITY_MAX - QUALITY_MIN)
    return float(config.lambda_min * (config.lambda_max / config.lambda_min) ** position)
