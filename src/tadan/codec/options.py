"""How a picture is encoded: every choice that a caller has, its default and its bounds, checked in one place.

Everything that takes these choices reads the fields of :class:`EncodeOptions`: :func:`tadan.encode`,
:class:`tadan.Codec`, ``Image.save`` and the command line. Importing this module loads no numerical library.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from typing import TYPE_CHECKING, TypedDict

from tadan.bitstream.fields import MAX_QUALITY, MIN_QUALITY, TILE_MULTIPLE
from tadan.errors import InvalidInput

if TYPE_CHECKING:
    from tadan.schedule import Schedule

STEPS = (0, 1, 2, 3, 4, 6, 9, 13, 18, 25)  # trials of each effort
EFFORT_MIN, EFFORT_MAX, DEFAULT_EFFORT = 0, len(STEPS) - 1, 1
# Kodak's 24 pictures take 0.63 bits per pixel on average at 60, 0.40 at 50 and 0.95 at 70
# (docs/results/seen/kodak/tadan.json): 60 is the measured point between 0.5 and 0.7, where photographs look good.
DEFAULT_QUALITY = 60
DEFAULT_SCHEDULE = "balanced"
FACTORS = (1, 4, 8, 16)  # by which decoding can make a picture smaller
FULL, LITE = DECODERS = ("full", "lite")  # which g_s shows the latents; or the file of a lite one
TILE_WHOLE = 0  # tile size of a picture that is one tile


class EncodeFields(TypedDict, total=False):
    """Keyword arguments that become an :class:`EncodeOptions`, which describes them."""

    quality: int
    schedule: str | Schedule
    effort: int
    tile: int | None
    strip: bool
    tune: str | None
    fallback: bool
    lossless: bool
    keep_hidden: bool
    verify: bool


@dataclass(frozen=True, kw_only=True)
class EncodeOptions:
    """What the encoder is asked for. Whole numbers may be those of numpy; they become ints.

    Attributes:
        quality: 1 (smallest) to 100. It weighs error against bits, so different pictures get different sizes.
        schedule: order of decoding: name, alias ("fast", "balanced", "best"), inline pattern such as "0,2/3,1", or
            :class:`~tadan.schedule.Schedule`.
        effort: 0 (fastest) to 9: how long to search for latents that cost less (docs/effort.md). Decoding takes the
            same time.
        tile: pixels a side of the tiles, a multiple of 64; 0: one tile; None: chosen by size (docs/tiles.md).
        strip: leave out EXIF, XMP and ICC profile; colours of another profile are converted to sRGB.
        tune: error that the search lowers, "eye" for what is seen, "psnr" for squares; None: as the model was trained.
            Without effort there is no search.
        fallback: store a picture unlike photographs as WebP, PNG or JPEG where that is better (docs/fallback.md); if
            False, only warn.
        lossless: keep every 8-bit sample: the smaller of a stored PNG and a stored lossless WebP. No model takes part,
            and the options above except ``strip`` change nothing but what the header says of quality.
        keep_hidden: code the colours of pixels whose alpha is 0 as they are. Otherwise they take those around them,
            which costs fewer bits and tells nobody what was hidden; lossless files keep them always.
        verify: decode the file again and compare every checksum before it is returned.

    Raises:
        InvalidInput: a field has another type or is out of range, or there is no such schedule.
    """

    quality: int = DEFAULT_QUALITY
    schedule: str | Schedule = DEFAULT_SCHEDULE
    effort: int = DEFAULT_EFFORT
    tile: int | None = None
    strip: bool = False
    tune: str | None = None
    fallback: bool = True
    lossless: bool = False
    keep_hidden: bool = False
    verify: bool = False

    def __post_init__(self) -> None:
        """Check every field."""
        checked: dict[str, object] = {
            "quality": whole_number("quality", self.quality, MIN_QUALITY, MAX_QUALITY),
            "effort": whole_number("effort", self.effort, EFFORT_MIN, EFFORT_MAX),
        }
        if self.tile is not None:
            checked["tile"] = _tile(self.tile)
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        for name in ("strip", "fallback", "lossless", "keep_hidden", "verify"):
            if not isinstance(getattr(self, name), bool):
                raise InvalidInput(f"{name} is True or False, not {getattr(self, name)!r}")
        if self.tune is not None:
            from tadan.models.search_rule import check_tune

            check_tune(self.tune)
        _ = self.order

    @cached_property
    def order(self) -> Schedule:
        """The schedule that ``schedule`` names."""
        from tadan.schedule import Schedule, parse_schedule

        if isinstance(self.schedule, Schedule):
            return self.schedule
        if not isinstance(self.schedule, str):
            raise InvalidInput(f"schedule is a name, a pattern or a tadan.Schedule, not {self.schedule!r}")
        return parse_schedule(self.schedule)

    @property
    def trials(self) -> int:
        """Trials of the search for cheaper latents that the effort pays for."""
        return STEPS[self.effort]


def whole_number(name: str, value: object, low: int, high: int) -> int:
    """``value`` as an int; numpy's integers are whole numbers, too, booleans are none.

    Raises:
        InvalidInput: it is no whole number from ``low`` to ``high``.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise InvalidInput(f"{name} is a whole number from {low} to {high}, not {value!r}")
    number = int(value)
    if not low <= number <= high:
        raise InvalidInput(f"{name} goes from {low} to {high}, not {number}")
    return number


def _tile(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 0 or value % TILE_MULTIPLE:
        raise InvalidInput(
            f"tiles have a side of a multiple of {TILE_MULTIPLE} pixels, or 0 for one tile, not {value!r}"
        )
    return int(value)


def check_reduce(value: object) -> int:
    """``value`` if pictures can be made that many times smaller.

    Raises:
        InvalidInput: they cannot.
    """
    if isinstance(value, bool) or value not in FACTORS:
        raise InvalidInput(f"reduce is one of {', '.join(map(str, FACTORS))}, not {value!r}")
    return int(value)  # type: ignore[call-overload,no-any-return]


def check_decoder(value: object) -> str:
    """``value`` if it names what shows latents: one of :data:`DECODERS`, or a file of a lite decoder.

    Raises:
        InvalidInput: it does not.
    """
    named = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(named, str) or not (named in DECODERS or named.endswith(".safetensors")):
        raise InvalidInput(f"decoder is {', '.join(DECODERS)} or a .safetensors file, not {value!r}")
    return named
