"""Scale tables: the integer probabilities that encoder and decoder share, as one immutable value."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from tadan.entropy.constants import FREQ_BITS, MAX_HALF_WIDTH, MAX_MAGNITUDE
from tadan.entropy.fit import FloatArray, escape_bits, fitted_freqs, gaussian_freqs, scale_values
from tadan.errors import Corrupt, InvalidInput


@dataclass(frozen=True, eq=False)
class ScaleTables:
    """One integer frequency table per scale index. An immutable value: built once, stored in the model file, hashed.

    Table i covers the symbols -L..L with L = half_widths[i], followed by one *escape* entry for everything else::

        freqs:  [ -L .. 0 .. L, escape | -L .. 0 .. L, escape | ... ]      each >= 1, each table sums to 2**FREQ_BITS
                  index 0                index 1

    Use :meth:`gaussian` to start, :meth:`from_counts` to calibrate on real data, :meth:`from_arrays` to load. Objects
    may be shared between threads, compared, hashed and pickled.

    Attributes:
        freqs: uint32[total], read-only.
        half_widths: int32[n_scales], read-only, 1 <= L <= MAX_HALF_WIDTH, 1 <= n_scales <= 256.

    Raises:
        InvalidInput: the arrays break one of these rules.
    """

    freqs: npt.NDArray[np.uint32]
    half_widths: npt.NDArray[np.int32]

    def __post_init__(self) -> None:
        """Check the arrays and replace them by read-only copies."""
        if problem := _problem(self.freqs, self.half_widths):
            raise InvalidInput(f"scale tables: {problem}; build them with ScaleTables.gaussian() or from_counts()")
        # Views of bytes objects: unlike setflags(write=False), nobody can make these writable again.
        object.__setattr__(self, "freqs", np.frombuffer(self.freqs.tobytes(), np.uint32))
        object.__setattr__(self, "half_widths", np.frombuffer(self.half_widths.tobytes(), np.int32))

    @classmethod
    def gaussian(cls, scales: Sequence[float] | FloatArray | None = None) -> "ScaleTables":
        """Build tables of discretised zero-mean Gaussians.

        Args:
            scales: standard deviations in quantisation steps, one per index; default ``scale_values()``.

        Raises:
            InvalidInput: no scales, more than 256, or one outside 0 < scale <= 512.
        """
        return cls._of([gaussian_freqs(scale) for scale in _checked_scales(scales)])

    @classmethod
    def from_counts(
        cls,
        counts: Sequence[npt.NDArray[np.integer[Any]]] | npt.NDArray[np.integer[Any]],
        beyond: Sequence[int] | npt.NDArray[np.integer[Any]] | None = None,
        scales: Sequence[float] | FloatArray | None = None,
        strength: float = 4.0,
    ) -> "ScaleTables":
        """Calibrate tables on histograms of real symbols.

        The frequencies are the posterior mean of a Dirichlet prior centred on the Gaussian of the same index, with
        ``strength`` pseudo-counts for every entry of the Gaussian table: with fewer samples than about ``strength``
        per entry the histogram is mostly noise (a free fit of W entries to N samples costs about W / 2N nats per symbol
        on new data) and the Gaussian dominates; with many more, the data do. Residuals of a good model are symmetric,
        so the counts of s and -s are pooled, which halves the noise. L is the least width that leaves at most
        TAIL_MASS of the posterior to the escape. On the given data (a symbol of ``beyond`` counting as R + 1) no table
        codes worse than the Gaussian: where it would, the Gaussian is kept (so an index never seen is Gaussian).

        Args:
            counts: one integer array of odd length 2 * R + 1 per index (R may differ), or one of shape
                (n_scales, 2 * R + 1): how often each symbol -R..R occurred.
            beyond: int[n_scales], how often a symbol outside -R..R occurred; default none.
            scales: as for :meth:`gaussian`.
            strength: pseudo-counts per entry, > 0.

        Raises:
            InvalidInput: shapes or dtypes do not match, a count is negative or above 2**48, or strength <= 0.
        """
        scale_list = _checked_scales(scales)
        outside = np.zeros(len(scale_list), np.int64) if beyond is None else np.asarray(beyond)
        if len(counts) != len(scale_list) or outside.shape != (len(scale_list),):
            raise InvalidInput(f"expected one histogram and one outside count for each of {len(scale_list)} scales")
        if not 0 < strength < 2**48:
            raise InvalidInput(f"strength must be positive and finite, not {strength}")
        tables = []
        for i, scale in enumerate(scale_list):
            row = np.asarray(counts[i])
            if row.ndim != 1 or len(row) % 2 == 0 or row.dtype.kind not in "iu" or outside.dtype.kind not in "iu":
                raise InvalidInput(f"histogram {i}: need a 1-D integer array of odd length (-R..R)")
            if len(row) // 2 > MAX_MAGNITUDE or min(row.min(), outside[i]) < 0 or max(row.max(), outside[i]) > 1 << 48:
                raise InvalidInput(f"histogram {i}: a count is negative or absurdly large, or R is above 2**20")
            tables.append(fitted_freqs(row.astype(np.int64), int(outside[i]), scale, strength))
        return cls._of(tables)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> "ScaleTables":
        """Rebuild tables from what :meth:`to_arrays` returned, checking everything.

        Raises:
            Corrupt: a key, dtype, shape, width, frequency or sum is wrong.
        """
        if set(arrays) != {"freqs", "half_widths"}:
            raise Corrupt("scale tables: expected exactly the arrays freqs and half_widths; fetch the model again")
        if problem := _problem(arrays["freqs"], arrays["half_widths"]):
            raise Corrupt(f"scale tables: {problem}; the model file was changed, fetch it again")
        return cls(arrays["freqs"], arrays["half_widths"])

    @classmethod
    def _of(cls, tables: list[npt.NDArray[np.uint32]]) -> "ScaleTables":
        return cls(np.concatenate(tables), np.array([len(table) // 2 - 1 for table in tables], np.int32))

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return ``{"freqs": uint32[total], "half_widths": int32[n_scales]}`` (read-only, for the model file)."""
        return {"freqs": self.freqs, "half_widths": self.half_widths}

    @property
    def n_scales(self) -> int:
        """Number of tables; a scale index is below it."""
        return len(self.half_widths)

    @cached_property
    def offsets(self) -> npt.NDArray[np.int64]:
        """int64[n_scales + 1]: table i is ``freqs[offsets[i] : offsets[i + 1]]``."""
        return _offsets(self.half_widths)

    def table(self, index: int) -> npt.NDArray[np.uint32]:
        """Return table ``index`` (uint32[2 * L + 2], -L..L and the escape), a read-only view."""
        return self.freqs[self.offsets[index] : self.offsets[index + 1]]

    @cached_property
    def _digest(self) -> bytes:
        head = b"tadan.ScaleTables.1" + self.n_scales.to_bytes(2, "little")
        return hashlib.sha256(
            head + self.half_widths.astype("<i4").tobytes() + self.freqs.astype("<u4").tobytes()
        ).digest()

    def digest(self) -> bytes:
        """Return the 32-byte SHA-256 of the canonical (little-endian) bytes; the identity of the tables."""
        return self._digest

    @cached_property
    def entry_bits(self) -> FloatArray:
        """float64[total]: code length of every entry of :attr:`freqs`, an escape without its payload."""
        return FREQ_BITS - np.log2(self.freqs)

    def bits(self, symbols: npt.NDArray[np.int32], index: npt.NDArray[np.uint8]) -> FloatArray:
        """Return the ideal code length of every symbol, escape payload included.

        Args:
            symbols: int32[...], residual symbols.
            index: uint8[...], scale indices, same shape.

        Returns:
            float64[...], bits: -log2(frequency / 2**FREQ_BITS), what the coder spends, up to 4 to 8 bytes per stream.

        Raises:
            InvalidInput: see :meth:`check`.
        """
        self.check(symbols, index)
        half = self.half_widths[index]
        escaped = np.abs(symbols) > half
        bits = self.entry_bits[self.offsets[index] + np.where(escaped, 2 * half + 1, symbols + half)]
        if escaped.any():
            bits[escaped] += escape_bits((np.abs(symbols[escaped]) - half[escaped]).astype(np.int64))
        return bits

    def check(self, symbols: npt.NDArray[np.int32], index: npt.NDArray[np.uint8]) -> None:
        """Raise unless these are codable symbols and indices.

        Raises:
            InvalidInput: dtype not int32 / uint8, shapes differ, abs(symbol) > MAX_MAGNITUDE or index >= n_scales.
        """
        self.check_index(index)
        if symbols.dtype != np.int32 or symbols.shape != index.shape:
            raise InvalidInput(
                f"symbols must be int32 of shape {index.shape}, not {symbols.dtype} of shape {symbols.shape}"
            )
        if symbols.size and not -MAX_MAGNITUDE <= int(symbols.min()) <= int(symbols.max()) <= MAX_MAGNITUDE:
            raise InvalidInput(f"a symbol is above {MAX_MAGNITUDE} in magnitude; raise the quantisation step")

    def check_index(self, index: npt.NDArray[np.uint8]) -> None:
        """Raise InvalidInput unless ``index`` is uint8 and below n_scales everywhere."""
        if index.dtype != np.uint8:
            raise InvalidInput(f"scale indices must be uint8, not {index.dtype}")
        if index.size and int(index.max()) >= self.n_scales:
            raise InvalidInput(f"scale index {int(index.max())} with {self.n_scales} tables; is this the right model?")

    def __eq__(self, other: object) -> bool:
        """Compare by content."""
        return isinstance(other, ScaleTables) and self._digest == other._digest

    def __hash__(self) -> int:
        """Hash by content."""
        return hash(self._digest)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the two arrays only: cached coder models stay behind."""
        return ScaleTables, (self.freqs, self.half_widths)


def _checked_scales(scales: Sequence[float] | FloatArray | None) -> list[float]:
    values = [float(scale) for scale in (scale_values() if scales is None else scales)]
    if not 1 <= len(values) <= 256 or not all(0 < value <= 512 for value in values):
        raise InvalidInput("need 1 to 256 scales, each in 0 < scale <= 512 quantisation steps")
    return values


def _offsets(half_widths: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(2 * half_widths.astype(np.int64) + 2)])


def _problem(freqs: Any, half_widths: Any) -> str | None:
    """Say which rule of ScaleTables the arrays break, if any."""
    for name, array, dtype in (("freqs", freqs, np.uint32), ("half_widths", half_widths, np.int32)):
        if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != 1:
            return f"{name} must be a 1-D array of {np.dtype(dtype).name}"
    if not 1 <= len(half_widths) <= 256:
        return f"there are {len(half_widths)} tables, 1 to 256 are possible"
    if int(half_widths.min()) < 1 or int(half_widths.max()) > MAX_HALF_WIDTH:
        return f"a half width is outside 1..{MAX_HALF_WIDTH}"
    offsets = _offsets(half_widths)
    if len(freqs) != offsets[-1]:
        return f"{len(freqs)} frequencies where the widths need {offsets[-1]}"
    if int(freqs.min()) < 1:
        return "a frequency is zero"
    sums = np.add.reduceat(freqs.astype(np.uint64), offsets[:-1])
    return None if (sums == 1 << FREQ_BITS).all() else f"a table does not sum to {1 << FREQ_BITS}"
