"""From probabilities to integer frequencies: the only floating-point step, done once, before tables are frozen.

Nothing here runs when a picture is coded. The results may differ in the last unit between C libraries (``erfc``);
that is harmless, because tables are stored in the model file and never recomputed (see :mod:`tadan.entropy.tables`).
"""

import math

import numpy as np
import numpy.typing as npt

from tadan.entropy.constants import (
    ESCAPE_LENGTH_FREQS,
    FREQ_BITS,
    MAX_HALF_WIDTH,
    N_SCALES,
    SCALE_MAX,
    SCALE_MIN,
    TAIL_MASS,
)

FloatArray = npt.NDArray[np.float64]
_TOTAL = 1 << FREQ_BITS


def scale_values() -> FloatArray:
    """Return the standard deviation of every scale index.

    Returns:
        float64[N_SCALES], log-spaced from SCALE_MIN to SCALE_MAX, in quantisation steps.
    """
    return np.geomspace(SCALE_MIN, SCALE_MAX, N_SCALES)


def gaussian_half(scale: float, half_width: int) -> tuple[FloatArray, float]:
    """Discretise a zero-mean Gaussian: P(s) = Phi((s + 1/2) / scale) - Phi((s - 1/2) / scale).

    (Balle et al. 2018, "Variational image compression with a scale hyperprior", eq. 8 with mean zero.) Differences of
    ``erfc`` keep full relative precision in the tail, where differences of Phi would cancel.

    Args:
        scale: standard deviation in quantisation steps, > 0.
        half_width: L >= 0.

    Returns:
        float64[L + 1], P(0) .. P(L); and the two-sided tail, P(abs(s) > L).
    """
    above = np.array([0.5 * math.erfc((k - 0.5) / (scale * math.sqrt(2))) for k in range(1, half_width + 2)])
    return np.concatenate([[1 - 2 * above[0]], above[:-1] - above[1:]]), 2 * float(above[-1])


def gaussian_half_width(scale: float) -> int:
    """Return the least L >= 1 whose two-sided tail P(abs(s) > L) is at most TAIL_MASS (about 4 scales)."""
    half_width = 1
    while half_width < MAX_HALF_WIDTH and math.erfc((half_width + 0.5) / (scale * math.sqrt(2))) > TAIL_MASS:
        half_width += 1
    return half_width


def quantise(half: FloatArray, escape: float) -> npt.NDArray[np.uint32]:
    """Round a symmetric distribution to integer frequencies.

    Entries that deserve less than one unit get one; the rest share what is left in proportion (water-filling), rounded
    by largest remainder. The two entries of a pair -k, k are always equal; an odd unit goes to symbol 0.

    Args:
        half: float64[L + 1], weights of the symbols 0..L (any positive sum); L < 2**(FREQ_BITS - 2).
        escape: weight of the escape entry.

    Returns:
        uint32[2 * L + 2]: frequencies of -L..L, then of the escape; each >= 1, sum 2**FREQ_BITS.
    """
    weights = np.append(half, escape)
    copies = np.full(len(weights), 2)
    copies[[0, -1]] = 1
    tiny = np.zeros(len(weights), bool)
    while True:
        factor = (_TOTAL - copies[tiny].sum()) / (copies * weights)[~tiny].sum()
        more = ~tiny & (weights * factor < 1)
        if not more.any():
            break
        tiny |= more
    ideal = np.where(tiny, 1.0, weights * factor)
    freqs = np.floor(ideal).astype(np.int64)
    left = _TOTAL - int((copies * freqs).sum())
    for entry in np.argsort(freqs - ideal, kind="stable"):
        if copies[entry] <= left:
            freqs[entry] += 1
            left -= int(copies[entry])
    freqs[0] += left
    return np.concatenate([freqs[-2:0:-1], freqs]).astype(np.uint32)


def gaussian_freqs(scale: float) -> npt.NDArray[np.uint32]:
    """Return the integer table of a Gaussian: uint32[2 * L + 2] for -L..L and the escape."""
    return quantise(*gaussian_half(scale, gaussian_half_width(scale)))


def escape_bits(excess: npt.NDArray[np.int64]) -> FloatArray:
    """Return the bits of escape payloads (an integer each): length class, low bits, sign.

    Args:
        excess: int64[n], abs(symbol) - L, in 1 .. 2**20 - 1.

    Returns:
        float64[n], bits, without the escape entry itself.
    """
    length: npt.NDArray[np.int32] = np.frexp(excess.astype(np.float64))[1] - 1  # floor(log2(excess)), exact
    class_bits: FloatArray = FREQ_BITS - np.log2(np.array(ESCAPE_LENGTH_FREQS, np.float64))
    return class_bits[length] + (length + 1)


def fitted_freqs(counts: npt.NDArray[np.int64], beyond: int, scale: float, strength: float) -> npt.NDArray[np.uint32]:
    """Fit one table to a histogram; see ``ScaleTables.from_counts`` for the statistics.

    Args:
        counts: int64[2 * R + 1], how often -R..R occurred.
        beyond: how often a symbol outside -R..R occurred.
        scale: standard deviation of the Gaussian prior, in quantisation steps.
        strength: pseudo-counts per entry of the Gaussian table, > 0.

    Returns:
        uint32[2 * L + 2]; the Gaussian table itself where that codes the histogram in no more bits.
    """
    reach = len(counts) // 2
    prior = gaussian_freqs(scale)
    top = min(MAX_HALF_WIDTH, max(reach, len(prior) // 2 - 1))
    half, tail = gaussian_half(scale, top)
    pseudo = strength * len(prior)
    half, tail = half * pseudo, tail * pseudo + beyond
    kept = min(reach, top)
    mirrored = counts[reach:] + counts[reach::-1]  # [0] holds symbol 0 twice
    half[: kept + 1] += mirrored[: kept + 1] / 2
    tail += float(mirrored[kept + 1 :].sum())
    beyond_each = np.append(np.cumsum(2 * half[:0:-1])[::-1], 0.0) + tail  # weight of abs(s) > L, for L = 0..top
    total = float(half[0] + beyond_each[0])
    fits = np.flatnonzero(beyond_each[1:] <= TAIL_MASS * total)
    half_width = int(fits[0]) + 1 if len(fits) else top
    fitted = quantise(half[: half_width + 1], float(beyond_each[half_width]))
    return fitted if _cost(fitted, counts, beyond) < _cost(prior, counts, beyond) else prior


def _cost(freqs: npt.NDArray[np.uint32], counts: npt.NDArray[np.int64], beyond: int) -> float:
    """Bits of a histogram under a table; symbols outside -R..R count with the least payload they can have."""
    half_width, reach = len(freqs) // 2 - 1, len(counts) // 2
    entry_bits = FREQ_BITS - np.log2(freqs)
    magnitude = np.abs(np.arange(-reach, reach + 1))
    escaped = magnitude > half_width
    slot = np.where(escaped, 2 * half_width + 1, np.arange(-reach, reach + 1) + half_width)
    bits = entry_bits[slot]
    bits[escaped] += escape_bits(magnitude[escaped] - half_width)
    nearest = np.array([max(reach + 1 - half_width, 1)])
    return float(counts @ bits + beyond * (entry_bits[-1] + escape_bits(nearest)[0]))
