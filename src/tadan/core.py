"""The integer core in C (``native/tadan_core.c``), if it was built; without it numpy and Python do the same.

``TADAN_CORE=off`` in the environment leaves it aside, ``TADAN_CORE=scalar`` takes its plain C, which is slower than
numpy and there for tests; a path takes the library there.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from importlib.util import find_spec
from typing import Any

_ADDRESS, _NUMBER, _WHOLE, _SMALL = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int, ctypes.c_int32
OUTPUTS, CHUNK = 16, 48  # TADAN_OUTPUTS, TADAN_CHUNK


class Force(ctypes.Structure):
    """``tadan_force``."""

    _fields_ = [("team", _ADDRESS), ("scratch", _ADDRESS), ("bytes", _NUMBER)]


class Layer(ctypes.Structure):
    """``tadan_layer``."""

    _fields_ = [
        *((name, _ADDRESS) for name in ("weights", "bias", "bias32", "shift", "low", "high")),
        *((name, _NUMBER) for name in ("inputs", "k", "outputs", "chunk")),
        *((name, _SMALL) for name in ("split", "narrow", "direct")),
    ]


class Twin(ctypes.Structure):
    """``tadan_twin``."""

    _fields_ = [
        *((name, _ADDRESS) for name in ("hidden", "embed", "late_in", "late_out", "outlet")),
        *((name, _ADDRESS) for name in ("group_sizes", "embed_starts", "base_shift", "late_shift", "late_bias")),
        ("magnitude", _ADDRESS),
        *((name, _NUMBER) for name in ("magnitudes", "width", "late", "features")),
        *((name, _SMALL) for name in ("y_limit", "activation_limit", "pre_limit", "pre_extra", "most_magnitude")),
    ]


class Window(ctypes.Structure):
    """``tadan_window``."""

    _fields_ = [("layer", _ADDRESS), ("where", _ADDRESS), ("bias", _ADDRESS)]


class StepOf(ctypes.Structure):
    """``tadan_step``."""

    _fields_ = [
        *((name, _ADDRESS) for name in ("twin", "hidden", "rows", "starts", "bias", "bias32")),
        *((name, _ADDRESS) for name in ("embedded", "late", "y_hat", "mean", "symbols", "index", "order")),
        *((name, _NUMBER) for name in ("n", "latent", "channel")),
        *((name, _SMALL) for name in ("group", "read", "most")),
    ]


class Stack(ctypes.Structure):
    """``tadan_stack``."""

    _fields_ = [("state", ctypes.c_uint64), ("count", _NUMBER)]


class Tables(ctypes.Structure):
    """``tadan_tables``."""

    _fields_ = [
        *((name, _ADDRESS) for name in ("starts", "widths", "offsets", "guess", "half_widths")),
        ("count", _SMALL),
    ]


class Dense(ctypes.Structure):
    """``tadan_dense``."""

    _fields_ = [("weights", _ADDRESS), ("bias", _ADDRESS), ("inputs", _NUMBER), ("outputs", _NUMBER)]


class Wide(ctypes.Structure):
    """``tadan_wide``."""

    _fields_ = [
        ("spatial", _ADDRESS),
        ("spatial_bias", _ADDRESS),
        ("expand", Dense),
        ("project", Dense),
        ("kernel", _NUMBER),
    ]


class Area(ctypes.Structure):
    """``tadan_area``."""

    _fields_ = [(name, _NUMBER) for name in ("height", "width", "top", "left", "cols")]


class Renderer(ctypes.Structure):
    """``tadan_renderer``."""

    _fields_ = [
        *((name, _ADDRESS) for name in ("to_grid", "modulate", "expand", "project")),
        ("outlet", Dense),
        *((name, _SMALL) for name in ("blocks", "side", "cell")),
    ]


class Search(ctypes.Structure):
    """``tadan_search``."""

    _fields_ = [
        *((name, _ADDRESS) for name in ("to_grid", "modulate", "expand", "project")),
        ("outlet", Dense),
        ("axes", _ADDRESS),
    ]


_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "tadan_kernel": (ctypes.c_char_p, []),
    "tadan_force_scalar": (None, [_WHOLE]),
    "tadan_team_start": (_ADDRESS, [_WHOLE]),
    "tadan_team_end": (None, [_ADDRESS]),
    "tadan_product": (None, [*3 * [_ADDRESS], _WHOLE, _NUMBER, _NUMBER, _ADDRESS]),
    "tadan_apply": (None, [*3 * [_ADDRESS], _WHOLE, _NUMBER, _NUMBER, _ADDRESS]),
    "tadan_scratch": (_NUMBER, [_ADDRESS, _NUMBER]),
    "tadan_hidden": (None, [*7 * [_ADDRESS], _NUMBER, _ADDRESS]),
    "tadan_predict": (None, [_ADDRESS, _ADDRESS, _SMALL, *5 * [_ADDRESS], _NUMBER, _ADDRESS, _ADDRESS]),
    "tadan_reveal": (None, [_ADDRESS, _ADDRESS, _SMALL, *3 * [_ADDRESS], _NUMBER, _ADDRESS, _ADDRESS]),
    "tadan_has_floats": (_WHOLE, []),
    "tadan_inlet": (None, [*3 * [_ADDRESS], _NUMBER, _ADDRESS]),
    "tadan_wide_block": (None, [*5 * [_ADDRESS], _NUMBER, _ADDRESS, _ADDRESS]),
    "tadan_render": (None, [*4 * [_ADDRESS], _NUMBER, _NUMBER, _ADDRESS]),
    "tadan_compare": (None, [*5 * [_ADDRESS], _NUMBER, _NUMBER, *4 * [_ADDRESS]]),
    "tadan_wide_back": (None, [*6 * [_ADDRESS], _NUMBER, _ADDRESS]),
    "tadan_spread": (None, [*4 * [_ADDRESS], _NUMBER, _NUMBER, _ADDRESS]),
    "tadan_decode_step": (_WHOLE, [*7 * [_ADDRESS], _SMALL, _SMALL]),
    "tadan_price_step": (ctypes.c_double, [*8 * [_ADDRESS]]),
    "tadan_bits": (ctypes.c_double, [*5 * [_ADDRESS], _NUMBER]),
    "tadan_rate": (None, [*6 * [_ADDRESS], _NUMBER, _SMALL, _ADDRESS]),
    "tadan_pull": (_WHOLE, [*5 * [_ADDRESS], _SMALL, _ADDRESS, _NUMBER, _SMALL, _ADDRESS, _ADDRESS]),
}


@cache
def library() -> Any:
    """The core, or None."""
    wanted = os.environ.get("TADAN_CORE", "")
    if wanted == "off":
        return None
    found = None if os.sep in wanted else find_spec("tadan._core")
    path = wanted if os.sep in wanted else None if found is None else found.origin
    if path is None:
        return None
    try:
        core = ctypes.CDLL(path)
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(core, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError):  # built for another machine, or from other sources
        return None
    if wanted == "scalar":
        core.tadan_force_scalar(1)
    elif core.tadan_kernel() == b"scalar":  # numpy is faster
        return None
    return core


def kernel() -> str:
    """What multiplies integers: "avx2", "neon" or "scalar" of the core, or "numpy"."""
    core = library()
    return "numpy" if core is None else str(core.tadan_kernel().decode())
