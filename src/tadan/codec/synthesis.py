"""g_s in the core: the network that :class:`tadan.nn.transforms.Synthesis` exports, without ONNX Runtime.

Layers of floats, position by position: nothing is computed twice at the borders of a window, and what is in work fits
the processor's cache. Pixels are within one level of those of ONNX Runtime, as its own are on other machines.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tadan.codec.tiling import Box, window
from tadan.core import CHUNK, OUTPUTS, Area, Dense, Renderer, Wide, library
from tadan.errors import Corrupt
from tadan.models import Model
from tadan.models.search_rule import CELL
from tadan.models.weights import stored_tensors, weight_of
from tadan.team import Strength

CELL_SAMPLES = 3 * CELL * CELL


def core_synthesis(model: Model) -> CoreSynthesis | None:
    """g_s of a model in the core; None where there is none, or where it cannot run these sizes."""
    core, config = library(), model.config
    widths = (config.body_width, config.body_width * config.body_expansion, config.grid, config.grid_hidden)
    if core is None or not core.tadan_has_floats() or any(width % OUTPUTS for width in widths):
        return None
    return CoreSynthesis(model)


class CoreSynthesis:
    """Weights of g_s as the core reads them; immutable, safe to share between threads.

    Args:
        model: whose g_s.

    Raises:
        Corrupt: a weight is missing or does not fit the configuration.
    """

    def __init__(self, model: Model) -> None:
        self._config = config = model.config
        self._stored = stored_tensors(model.graph("g_s"))
        self._kept: list[Any] = []  # the structures hold addresses only
        width, wide, side = config.body_width, config.body_width * config.body_expansion, config.stride // CELL
        grid, hidden = config.grid, config.grid_hidden
        self._inlet = self._dense("inlet", config.latent, width)
        self._blocks = [self._wide(f"blocks.{i}", width, wide) for i in range(config.body_blocks)]
        whole = self._weights("to_grid", width, side**2 * grid)
        parts = [self._packed(*part) for part in zip(*(np.split(one, side**2) for one in whole), strict=True)]
        names = [f"renderer.{i}" for i in range(config.grid_blocks)]
        modulate = [self._modulate(name, width, hidden) for name in names]
        expand = [self._dense(f"{name}.expand", grid, hidden) for name in names]
        project = [self._dense(f"{name}.project", hidden, grid) for name in names]
        weight, bias = self._weights("outlet", grid, CELL_SAMPLES)
        outlet = self._packed(255 * weight, 255 * bias + 128)  # 0.5 * 255 and half a level: truncation then rounds
        arrays = [(Dense * len(one))(*one) for one in (parts, modulate, expand, project)]
        self._kept.append(arrays)
        self._renderer = Renderer(*map(ctypes.addressof, arrays), outlet, len(names), side, CELL)
        self._scratch = 4 * CHUNK * max(width + wide, grid + hidden + CELL_SAMPLES + 2 * hidden * len(names))
        del self._stored

    def run(self, y: NDArray[np.float32], gains: NDArray[np.float32], inner: Box) -> NDArray[np.uint8]:
        """Show a part of a plane, in the threads of the team (:mod:`tadan.team`).

        Args:
            y: float32 (h, w, latent), inverse gain applied. Outside are zeros, as beyond the borders of a picture.
            gains: of all blocks (:meth:`Model.block_gains`).
            inner: the part, in positions.

        Returns:
            uint8 (stride * height, stride * width, 3).
        """
        config, (height, width) = self._config, y.shape[:2]
        of_blocks, of_grid = np.split(np.ascontiguousarray(gains).ravel(), [2 * config.body_width * config.body_blocks])
        plane, here = self._enter(np.ascontiguousarray(y)), (0, 0, width, height)
        for left, (block, own) in enumerate(
            zip(self._blocks, of_blocks.reshape(config.body_blocks, -1), strict=True), 1 - config.body_blocks
        ):
            # What the blocks behind this one see of it, and no more.
            near = window(inner, -left * (config.kernel // 2), width, height).outer
            plane, here = self._block(block, own, plane, here, near), near
        return self._render(of_grid, plane, inner)

    def _enter(self, y: NDArray[np.float32]) -> NDArray[np.float32]:
        rows = y.reshape(-1, y.shape[2])
        out = np.empty((len(rows), self._config.body_width), np.float32)
        strength = Strength(0)
        own = (strength.address, ctypes.byref(self._inlet))
        library().tadan_inlet(*own, rows.ctypes.data, len(rows), out.ctypes.data)
        return out

    def _block(
        self, block: Wide, gains: NDArray[np.float32], plane: NDArray[np.float32], here: Box, near: Box
    ) -> NDArray[np.float32]:
        """A block on the part ``near`` of a plane that holds the box ``here``."""
        area = Area(here[3], here[2], near[1] - here[1], near[0] - here[0], near[2])
        out = np.empty((near[3] * near[2], plane.shape[1]), np.float32)
        strength = Strength(self._scratch)
        own = (strength.address, ctypes.byref(block), gains.ctypes.data, plane.ctypes.data, ctypes.byref(area))
        library().tadan_wide_block(*own, len(out), out.ctypes.data)
        return out

    def _render(self, gains: NDArray[np.float32], body: NDArray[np.float32], inner: Box) -> NDArray[np.uint8]:
        stride, (_, _, cols, rows) = self._config.stride, inner
        picture = np.empty((stride * rows, stride * cols, 3), np.uint8)
        gains = np.ascontiguousarray(gains)
        strength = Strength(self._scratch)
        own = (strength.address, ctypes.byref(self._renderer), gains.ctypes.data, body.ctypes.data)
        library().tadan_render(*own, cols, rows * cols, picture.ctypes.data)
        return picture

    def _weights(self, name: str, inputs: int, outputs: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        weight = weight_of(self._stored, f"{name}.weight", (outputs, inputs))
        return weight, weight_of(self._stored, f"{name}.bias", (outputs,))

    def _dense(self, name: str, inputs: int, outputs: int) -> Dense:
        return self._packed(*self._weights(name, inputs, outputs))

    def _packed(self, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> Dense:
        outputs, inputs = weight.shape
        blocks = np.ascontiguousarray(weight.reshape(-1, OUTPUTS, inputs).transpose(0, 2, 1), np.float32)
        bias = np.ascontiguousarray(bias, np.float32)
        self._kept.append((blocks, bias))
        return Dense(blocks.ctypes.data, bias.ctypes.data, inputs, outputs)

    def _modulate(self, name: str, width: int, hidden: int) -> Dense:
        weight, bias = self._weights(f"{name}.modulate", width, 2 * hidden)
        shift = weight_of(self._stored, f"{name}.expand.bias", (hidden,))
        return self._packed(weight, bias + np.concatenate([shift, np.ones(hidden, np.float32)]))

    def _wide(self, name: str, width: int, wide: int) -> Wide:
        side = self._config.kernel
        spatial = weight_of(self._stored, f"{name}.spatial.weight", (width, side * side))
        spatial, bias = np.ascontiguousarray(spatial.T), weight_of(self._stored, f"{name}.spatial.bias", (width,))
        self._kept.append((spatial, bias))
        expand, project = self._dense(f"{name}.expand", width, wide), self._dense(f"{name}.project", wide, width)
        return Wide(spatial.ctypes.data, bias.ctypes.data, expand, project, side)
