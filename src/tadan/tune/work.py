"""What coding a picture consists of, counted: the features that the seconds of a machine are multiplied with.

A *part* is a piece of the codec that is measured by itself (:data:`PARTS`). Its seconds are a sum of non-negative
coefficients times amounts of work: ``each`` call, ``step`` of a schedule (a stage of a channel group), ``gmac``
(10^9 multiply-accumulates, :mod:`tadan.models.macs`), ``mlatents`` (10^6 numbers of y), ``mbits`` (10^6 bits coded),
``mpixels``. So predictions never fall when there is more of anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from tadan.models import ModelConfig, macs
from tadan.schedule import Schedule

#: Part -> amounts of work that its seconds depend on.
PARTS: Mapping[str, tuple[str, ...]] = {
    "g_a": ("each", "gmac"),
    "h_a": ("each", "gmac"),
    "h_s": ("each", "gmac"),
    "walk": ("each", "step", "gmac"),  # predict, round and price every step, as each trial of the encoder does
    "gradient": ("each", "gmac"),
    "error": ("each", "gmac"),
    "weights": ("each", "mpixels"),  # of the error
    "move": ("each", "mlatents"),  # slope of the rate and the next y
    "write": ("each", "step", "mlatents", "mbits"),
    "read": ("each", "step", "gmac", "mbits"),
    "g_s": ("each", "gmac"),
    "encode_rest": ("each", "mpixels"),  # what an encode takes beyond its parts
    "decode_rest": ("each", "mpixels"),
}
Work = dict[str, float]


@dataclass(frozen=True)
class Plane:
    """Latents that are worked on together.

    Attributes:
        rows: of y.
        cols: of y.
    """

    rows: int
    cols: int

    @property
    def pixels(self) -> int:
        """Under it."""
        return self.rows * self.cols * macs.PIXELS_AT_16


def part_work(part: str, plane: Plane, config: ModelConfig, schedule: Schedule, bits: float = 0.0) -> Work:
    """Amounts of work of a part for a plane; ``bits`` are those that are coded in it."""
    pixels = plane.pixels
    amounts: dict[str, float] = {
        "each": 1.0,
        "step": float(_steps(schedule, config, plane.rows, plane.cols)) if "step" in PARTS[part] else 0.0,
        "gmac": pixels * _kmacs(part, config, schedule) / 1e6,
        "mlatents": plane.rows * plane.cols * config.latent / 1e6,
        "mbits": bits / 1e6,
        "mpixels": pixels / 1e6,
    }
    return {name: amounts[name] for name in PARTS[part]}


def _kmacs(part: str, config: ModelConfig, schedule: Schedule) -> float:
    """kMAC per pixel of a part; the gradient's are counted as one g_s, as one coefficient holds its passes."""
    if part in ("g_a", "h_a"):
        return float(getattr(macs, f"{part}_macs_per_pixel")(config)) / 1000
    if part in ("g_s", "gradient", "error"):
        return macs.g_s_macs_per_pixel(config) / 1000
    if part == "h_s":
        return macs.h_s_macs_per_pixel(config) / 1000
    if part in ("walk", "read"):
        cost = _decoder(config, schedule)
        return cost.total - cost.g_s - (cost.h_s if part == "walk" else 0.0)
    return 0.0


@lru_cache(256)
def _decoder(config: ModelConfig, schedule: Schedule) -> macs.DecoderCost:
    return macs.decoder_cost(schedule, config)


@lru_cache(4096)
def _steps(schedule: Schedule, config: ModelConfig, rows: int, cols: int) -> int:
    return macs.sequential_steps(schedule, config, rows, cols)


def encode_parts(trials: int) -> Iterator[tuple[str, int]]:
    """Parts of encoding one tile after g_a and how often each runs, for so many trials of the search."""
    yield from (("h_a", 1), ("h_s", 1), ("walk", 1 + trials))
    if trials:
        yield from (("weights", 1), ("gradient", trials), ("error", 1), ("move", trials))
    yield "write", 1
