"""What symbols cost: ideal code lengths and their derivative, in the core if there is one."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from tadan.core import StepOf, library
from tadan.entropy.native import CoreTables, tables_of
from tadan.entropy.tables import ScaleTables
from tadan.team import Strength


def estimate_bits(tables: ScaleTables, symbols: NDArray[np.int32], index: NDArray[np.uint8]) -> float:
    """Return the ideal code length in bits: a tight *lower* bound on what a coder spends on these symbols.

    The bytes of ``StageEncoder.finish`` exceed it by 4 to 8, whatever the number of stages and symbols.

    Args:
        tables: the tables of the model.
        symbols: int32[...], residual symbols.
        index: uint8[...], scale indices, same shape.

    Raises:
        InvalidInput: see :meth:`ScaleTables.check`.
    """
    core = library()
    if core is None:
        return float(tables.bits(symbols, index).sum())
    tables.check(symbols, index)
    symbols, index, own = np.ascontiguousarray(symbols), np.ascontiguousarray(index), tables_of(tables)
    return float(core.tadan_bits(*_prices(own), index.ctypes.data, symbols.ctypes.data, symbols.size))


def rate_slope(
    tables: ScaleTables, y: NDArray[np.float32], mean: NDArray[np.int32], index: NDArray[np.uint8], most: int
) -> NDArray[np.float32]:
    """Derivative of the code length, linear between integers, by latents that are rounded around means.

    Args:
        tables: the tables of the model.
        y: float32[...], latents in quantisation steps.
        mean: int32[...], Q6.
        index: uint8[...], scale indices.
        most: largest magnitude of a symbol, at most :data:`~tadan.entropy.constants.MAX_MAGNITUDE`.

    Returns:
        float32[...], bits a step.
    """
    core = library()
    if core is None:
        below = np.clip(np.floor(y - mean / np.float32(64)), -most, most - 1).astype(np.int32)
        return np.asarray(tables.bits(below + 1, index) - tables.bits(below, index), np.float32)
    tables.check_index(index)
    kept = [np.ascontiguousarray(one) for one in (index, y, mean)]
    out, prices = np.empty(y.shape, np.float32), _prices(tables_of(tables))
    core.tadan_rate(*prices, *(one.ctypes.data for one in kept), y.size, most, out.ctypes.data)
    return out


def price_step(
    tables: ScaleTables,
    step: StepOf,
    strength: Strength,
    y: NDArray[np.float32],
    means: NDArray[np.int32],
    indices: NDArray[np.uint8],
) -> float:
    """Predict a step in the core, round y around the means and take that in (``tadan_price_step``).

    Args:
        tables: the tables of the model.
        step: of a plane.
        strength: threads and scratch.
        y: float32 (positions, latent), in quantisation steps.
        means: int32 (positions, latent), Q6; the step's part is set.
        indices: uint8 (positions, latent), like it.

    Returns:
        ideal code length in bits.
    """
    planes = (one.ctypes.data for one in (y, means, indices))
    return float(library().tadan_price_step(strength.address, ctypes.byref(step), *_prices(tables_of(tables)), *planes))


def _prices(own: CoreTables) -> tuple[object, int, int]:
    return ctypes.byref(own.struct), own.entry_bits.ctypes.data, own.class_bits.ctypes.data
