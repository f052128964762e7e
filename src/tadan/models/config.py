"""Shape of a model: one frozen value that is saved beside weights and inside the model file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Protocol

from tadan.errors import Corrupt

QUALITY_MIN, QUALITY_MAX = 1, 100
_MOST_CHANNELS = 2**16


class HasLambdas(Protocol):
    """A configuration that says which trade-off each quality stands for."""

    @property
    def lambda_min(self) -> float:
        """Of quality 1."""
        ...

    @property
    def lambda_max(self) -> float:
        """Of quality 100."""
        ...


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the networks, in channels unless stated.

    The latent plane y stands at 1/16 of the picture, z at 1/64. Defaults are those of the shipped model.
    """

    design: ClassVar[str] = "first"  # what `--config design=` calls it; model files of this design do not state it
    stride: ClassVar[int] = 16  # pixels a side of a position of y

    latent: int = 320  # M, channels of y; 320 principal components keep 46.6 dB on Kodak before quantisation
    width: int = 192  # N, channels of g_a and g_s at 1/8
    analysis_blocks: int = 6
    synthesis_blocks: int = 4
    expansion: int = 4
    kernel: int = 5  # side of the depthwise convolutions of g_a and g_s
    z_channels: int = 128
    hyper_widths: tuple[int, int, int] = (256, 160, 128)  # h_s at 1/64, 1/32, 1/16
    groups: int = 4  # channel groups that a schedule may tell apart
    embed: int = 24  # channels per group of the embedding that the context window sees
    radius: int = 2  # context window of (2 * radius + 1)²
    hidden: int = 352  # parameter network
    mask_hidden: int = 64  # network that reads the visibility pattern
    bases: int = 2  # base kernels that a visibility pattern mixes
    knots: int = 9  # supporting points of everything that depends on quality
    lambda_min: float = 0.0002  # of quality 1, for J = lambda * 255² * MSE + bpp
    lambda_max: float = 0.5  # of quality 100

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
        """Numbers of channel groups that a schedule of this model may have, ascending."""
        return tuple(sorted({1, self.groups}))

    @property
    def reach(self) -> int:
        """How many positions of y beyond a pixel's own can change it: depthwise kernels at 1/8 of the picture."""
        return -(-8 * self.synthesis_blocks * (self.kernel // 2) // self.stride)

    @property
    def analysis_reach(self) -> int:
        """How many pixels around those of a position of y can change it: depthwise kernels at 1/8 of the picture."""
        return 8 * self.analysis_blocks * (self.kernel // 2)

    @property
    def gain_lengths(self) -> dict[str, int]:
        """Length of the input ``gains`` of each graph that has one."""
        return {"g_a": 2 * self.analysis_blocks * self.width, "g_s": 2 * self.synthesis_blocks * self.width}

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """Inverse of :meth:`to_dict`.

        Raises:
            Corrupt: a key is unknown (the file comes from a newer version) or missing.
        """
        names = {field.name for field in fields(cls)}
        if set(values) != names:
            raise Corrupt(f"model configuration with unexpected keys {sorted(set(values) ^ names)}; upgrade tadan")
        wrong = sorted(field.name for field in fields(cls) if not like(values[field.name], field.default))
        if wrong:
            raise Corrupt(f"model configuration with impossible values of {', '.join(wrong)}; fetch the model again")
        return cls(**{**values, "hyper_widths": tuple(values["hyper_widths"])})


def like(value: object, default: object) -> bool:
    """Whether a value from a file can stand where ``default`` stands; tuples are of the same length."""
    if isinstance(default, tuple):
        return isinstance(value, list | tuple) and len(value) == len(default) and all(map(like, value, default))
    if isinstance(value, bool):
        return False
    if isinstance(default, float):
        return isinstance(value, int | float) and 0 < value < float("inf")
    return isinstance(value, int) and 0 < value <= _MOST_CHANNELS


def quality_lambda(config: HasLambdas, quality: float) -> float:
    """Lagrangian weight of a quality in 1..100: log-linear between lambda_min and lambda_max."""
    position = (quality - QUALITY_MIN) / (QUALITY_MAX - QUALITY_MIN)
    return float(config.lambda_min * (config.lambda_max / config.lambda_min) ** position)
