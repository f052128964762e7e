"""How a model file stores the integer networks (docs/SPEC.md, section 12.1).

Three kinds of tensors are smaller in the file than in use:

- weights take as many bits as the largest of their tensor needs;
- rows by quality are integers between *knots*, and the file holds the knots;
- the table of magnitudes rises slowly, and the file holds where it rises.

All of it is integer arithmetic, so every machine gets the same networks. What a file says is compared with the
configuration before anything of its size is allocated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tadan.errors import Corrupt, InvalidInput
from tadan.exact.constants import MAGNITUDE_ENTRIES, MAGNITUDE_LIMIT, QUALITIES
from tadan.exact.sizes import NetworkConfig

Arrays = Mapping[str, NDArray[Any]]
Integers = NDArray[np.integer[Any]]
FEWEST_BITS, MOST_BITS = 2, 16
SPAN = QUALITIES - 1  # steps between the lowest and the highest quality
INTERPOLATED = ("quality.hidden", "quality.outlet", "quality.z_mean")
_AGAIN = "fetch or export it again"


def weight_shapes(config: NetworkConfig) -> dict[str, tuple[int, ...]]:
    """Shape of every weight, by its name without ``exact.``."""
    first, second, third = config.hyper_widths
    hidden, state, bits, groups = config.hidden, config.mask_hidden, config.visibility_bits, len(config.group_sizes)
    embeds = zip(config.group_sizes, config.embed_sizes, strict=True)
    shapes: dict[str, tuple[int, ...]] = {
        "conv1": (9 * config.z_channels, first),
        "up1": (first, 4 * second),
        "conv2": (9 * second, second),
        "up2": (second, 4 * third),
        "hyper": (third, hidden),
        **{f"embed{group}": (2 * size, width) for group, (size, width) in enumerate(embeds)},
        "mask_in": (bits, state),
        "mask_mix": (state, config.bases * bits),
        "mask_bias": (state, hidden),
        "bases": (config.bases, config.window, sum(config.embed_sizes), hidden),
        "hidden": (hidden, hidden),
        "late_in": (2, config.latent, config.late),
        "late_out": (groups, config.late, hidden),
        "outlet": (hidden, 2 * config.latent),
    }
    return {f"{name}.weight": shape for name, shape in shapes.items()}


def exact_names(config: NetworkConfig) -> frozenset[str]:
    """Names of all tensors of the integer networks, without ``exact.``."""
    layers = {name.removesuffix(".weight") for name in weight_shapes(config)}
    biases = {f"{layer}.bias" for layer in layers - {"bases", "late_out", "outlet"}}
    shifts = {f"{layer}.shift" for layer in layers}
    return frozenset(weight_shapes(config).keys() | biases | shifts | {*INTERPOLATED, "quality.z_index", "magnitude"})


def pack_exact(arrays: Arrays) -> dict[str, NDArray[Any]]:
    """Tensors as a file stores them, names without ``exact.``.

    Args:
        arrays: as :class:`tadan.exact.network.EntropyTwin` takes them, but knots in place of rows by quality.

    Raises:
        InvalidInput: a weight needs more than 16 bits, or the table of magnitudes falls or stands still too long.
    """
    packed = {name: pack_integers(value) for name, value in arrays.items() if name.endswith(".weight")}
    return {**arrays, **packed, "magnitude": pack_table(arrays["magnitude"])}


def unpack_exact(stored: Arrays, config: NetworkConfig) -> dict[str, NDArray[Any]]:
    """Arrays as :class:`tadan.exact.network.EntropyTwin` takes them.

    Args:
        stored: tensors of the file whose names begin with ``exact.``, that prefix removed.
        config: sizes of the networks.

    Raises:
        Corrupt: as :func:`check_exact`.
    """
    check_exact(stored, config)
    out = dict(stored)
    for name, shape in weight_shapes(config).items():
        out[name] = unpack_integers(stored[name], math.prod(shape)).reshape(shape)
    out |= {name: rows_of(stored[name]) for name in INTERPOLATED}
    out["magnitude"] = unpack_table(stored["magnitude"])
    return out


def check_exact(stored: Arrays, config: NetworkConfig) -> None:
    """Compare what is packed with the configuration; allocates no more than the file holds.

    Raises:
        Corrupt: a packed tensor is missing, has another type or size than the configuration says, or breaks the rules.
    """
    widths = {"hidden": config.hidden, "outlet": 2 * config.latent, "z_mean": config.z_channels}
    try:
        for name, shape in weight_shapes(config).items():
            _check_integers(name, stored[name], math.prod(shape))
        for name in INTERPOLATED:
            shape = config.knots, widths[name.removeprefix("quality.")]
            if stored[name].dtype.str != "<i4" or stored[name].shape != shape:
                raise Corrupt(f"exact.{name} of the model file does not hold {shape} knots in 32 bits; {_AGAIN}")
        _check_table(stored["magnitude"])
    except KeyError as error:
        raise Corrupt(f"the model file lacks the tensor exact.{error.args[0]}; {_AGAIN}") from None


# --- weights ----------------------------------------------------------------------------------------------------------


def pack_integers(values: Integers) -> NDArray[np.uint8]:
    """The number of bits of a value, then all values in so many bits each, two's complement, lowest bits first.

    Raises:
        InvalidInput: a value needs more than 16 bits.
    """
    flat = values.astype(np.int64).reshape(-1)
    width = max(FEWEST_BITS, *(int(~one if one < 0 else one).bit_length() + 1 for one in (flat.min(), flat.max())))
    if width > MOST_BITS:
        raise InvalidInput(f"an integer weight needs {width} bits, but a model file has {MOST_BITS}; export with fewer")
    bits = np.unpackbits(flat.astype("<i8").view(np.uint8).reshape(-1, 8), axis=1, count=width, bitorder="little")
    return np.concatenate([np.array([width], np.uint8), np.packbits(bits, bitorder="little")])


def unpack_integers(data: NDArray[np.uint8], count: int) -> NDArray[np.int16]:
    """Inverse of :func:`pack_integers` for data that hold ``count`` values: int16 (count,)."""
    width = int(data[0])
    groups = -(-count // 8)  # of eight values, which take `width` bytes
    body = np.zeros(groups * width, np.uint8)
    body[: data.size - 1] = data[1:]
    rows, out = body.reshape(groups, width), np.empty((groups, 8), np.int16)
    for place in range(8):
        first, before = divmod(place * width, 8)
        word = np.zeros(groups, np.int32)
        for byte, column in enumerate(rows[:, first : first + 3].T):  # a value and the bits before it: at most 23 bits
            word |= column.astype(np.int32) << (8 * byte)
        value = (word >> before) & ((1 << width) - 1)
        out[:, place] = value - ((value >> (width - 1)) << width)
    return out.reshape(-1)[:count]


def _check_integers(name: str, data: NDArray[Any], count: int) -> None:
    whole = data.dtype == np.uint8 and data.ndim == 1 and data.size > 0
    width = int(data[0]) if whole else 0
    if not FEWEST_BITS <= width <= MOST_BITS or data.size != 1 + -(-count * width // 8):
        raise Corrupt(f"exact.{name} of the model file does not hold {count} packed integers; {_AGAIN}")
    unused = -count * width % 8
    if int(data[-1]) >> (8 - unused):
        raise Corrupt(f"exact.{name} of the model file ends in bits that are not 0; {_AGAIN}")


# --- rows by quality --------------------------------------------------------------------------------------------------


def between(quality: int | NDArray[np.int64], knots: int) -> tuple[Any, Any, Any]:
    """Where qualities lie among equally spaced knots, the first at quality 1 and the last at quality 100.

    Returns:
        the knot below, the knot above, and how far quality is from the first towards the second, in 99ths.
    """
    position = (quality - 1) * (knots - 1)
    low = position // SPAN
    return low, np.minimum(low + 1, knots - 1), position - SPAN * low


def rows_of(knots: NDArray[np.int32]) -> NDArray[np.int32]:
    """Rows of all qualities, (100, n), from knots (k, n): linear between them, rounded to the nearest integer."""
    low, high, part = between(np.arange(1, QUALITIES + 1), len(knots))
    wide, part = knots.astype(np.int64), part[:, None]
    return ((wide[low] * (SPAN - part) + wide[high] * part + SPAN // 2) // SPAN).astype(np.int32)


# --- table of magnitudes ----------------------------------------------------------------------------------------------


def pack_table(table: Integers) -> NDArray[np.uint8]:
    """For each unit that a table rises by, how many entries it comes after the unit before; uint8 (largest entry,).

    Raises:
        InvalidInput: the table begins below 0, falls, or stands still for more than 255 entries.
    """
    padded = np.concatenate([[0], table.astype(np.int64)])
    rises = padded[1:] - padded[:-1]
    if rises.min() < 0:
        raise InvalidInput("the table of magnitudes to export falls; export it with this version")
    places = np.concatenate([[0], np.repeat(np.arange(len(table)), rises)])
    gaps = places[1:] - places[:-1]
    if gaps.max(initial=0) > 255:
        raise InvalidInput("the table of magnitudes to export stands still; export it with this version")
    return gaps.astype(np.uint8)


def unpack_table(gaps: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Inverse of :func:`pack_table` for the table of magnitudes: int16 (65536,)."""
    rises = np.bincount(np.cumsum(gaps, dtype=np.int64), minlength=MAGNITUDE_ENTRIES)
    return np.cumsum(rises).astype(np.int16)


def _check_table(gaps: NDArray[Any]) -> None:
    whole = gaps.dtype == np.uint8 and gaps.ndim == 1 and gaps.size <= MAGNITUDE_LIMIT
    if not whole or int(gaps.sum(dtype=np.int64)) >= MAGNITUDE_ENTRIES:
        raise Corrupt(f"exact.magnitude of the model file is no table of magnitudes; {_AGAIN}")
