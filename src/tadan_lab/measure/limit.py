"""How long decoding would take if it did nothing but multiply, at the rate that the core reaches in the cache."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tadan.core import Dense, library
from tadan.exact.native import core_layer
from tadan.models import ModelConfig
from tadan.models.macs import decoder_cost
from tadan.schedule import Schedule
from tadan.team import Strength

_INPUTS, _OUTPUTS, _ROWS = 512, 256, 48
_TRIALS, _SECONDS = 20, 0.02


@dataclass(frozen=True)
class ProductRates:
    """Multiply-accumulates of one thread, in billions a second; the best of several trials."""

    floats: float
    integers: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)

    def decode_seconds(self, config: ModelConfig, schedule: Schedule, megapixels: float, threads: int) -> float:
        """Seconds that the products of decoding take with so many threads that never wait."""
        cost = decoder_cost(schedule, config)
        each = cost.g_s / self.floats + (cost.total - cost.g_s) / self.integers
        return each * megapixels / threads


def product_rates() -> ProductRates | None:
    """What the core reaches on this machine now; None without a core for floats."""
    core = library()
    if core is None or not core.tadan_has_floats():
        return None
    rng = np.random.default_rng(1)
    weights = rng.standard_normal((_OUTPUTS * _INPUTS,)).astype(np.float32)
    bias, out = np.zeros(_OUTPUTS, np.float32), np.empty((_ROWS, _OUTPUTS), np.float32)
    x = rng.standard_normal((_ROWS, _INPUTS)).astype(np.float32)
    dense, strength = Dense(weights.ctypes.data, bias.ctypes.data, _INPUTS, _OUTPUTS), Strength(0)
    given = (strength.address, ctypes.byref(dense), x.ctypes.data, _ROWS, out.ctypes.data)
    integers = core_layer(rng.integers(-100, 101, (_INPUTS, _OUTPUTS)), 8191)
    values = rng.integers(0, 8192, (_ROWS, _INPUTS)).astype(np.float32)
    if integers is None:
        return None
    return ProductRates(_rate(lambda: core.tadan_inlet(*given)), _rate(lambda: integers.product(values)))


def _rate(work: Callable[[], object]) -> float:
    best = 0.0
    for _ in range(_TRIALS):
        begun, calls = time.perf_counter(), 0
        while time.perf_counter() - begun < _SECONDS:
            work()
            calls += 1
        best = max(best, calls / (time.perf_counter() - begun))
    return best * _ROWS * _INPUTS * _OUTPUTS / 1e9
