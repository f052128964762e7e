"""g_a, g_s and its adjoint in the core: the networks that :mod:`tadan.nn.transforms` exports, without ONNX Runtime.

Layers of floats, position by position: nothing is computed twice at the borders of a window, and what is in work fits
the processor's cache. Pixels are within one level of those of ONNX Runtime, as its own are on other machines.
Structures hold addresses only; what they point to is kept beside them.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tadan.codec.tiling import Box, window
from tadan.core import CHUNK, OUTPUTS, Area, Dense, Renderer, Search, Wide, library
from tadan.models import Model
from tadan.models.graph_check import check_graph
from tadan.models.lite import Shows
from tadan.models.search_rule import AXES, CELL
from tadan.models.weights import stored_tensors, weight_of
from tadan.team import Strength

CELL_SAMPLES = 3 * CELL * CELL
Floats = NDArray[np.float32]


def runs_in_core(model: Shows) -> bool:
    """Whether there is a core that can run the transforms of a model of these sizes."""
    core, config = library(), model.config
    widths = (config.latent, config.body_width, config.grid, config.grid_hidden, config.analysis_width)
    return core is not None and bool(core.tadan_has_floats()) and not any(width % OUTPUTS for width in widths)


class _Weights:
    """Layers of one graph as the core reads them.

    Raises:
        Corrupt: the graph is none of ours, or a weight is missing or does not fit the configuration.
    """

    def __init__(self, model: Shows, graph: str) -> None:
        data = model.graph(graph)
        check_graph(data, graph)  # what one machine refuses, others do not show
        self._stored = stored_tensors(data)
        self._kept: list[Any] = []

    def of(self, name: str, inputs: int, outputs: int) -> tuple[Floats, Floats]:
        weight = weight_of(self._stored, f"{name}.weight", (outputs, inputs))
        return weight, weight_of(self._stored, f"{name}.bias", (outputs,))

    def bias(self, name: str, outputs: int) -> Floats:
        return weight_of(self._stored, f"{name}.bias", (outputs,))

    def dense(self, name: str, inputs: int, outputs: int) -> Dense:
        return self.packed(*self.of(name, inputs, outputs))

    def packed(self, weight: Floats, bias: Floats | None = None) -> Dense:
        """A layer from its weights (outputs, inputs)."""
        outputs, inputs = weight.shape
        blocks = np.ascontiguousarray(weight.reshape(-1, OUTPUTS, inputs).transpose(0, 2, 1), np.float32)
        added = np.zeros(outputs, np.float32) if bias is None else np.ascontiguousarray(bias, np.float32)
        self._kept.append((blocks, added))
        return Dense(blocks.ctypes.data, added.ctypes.data, inputs, outputs)

    def array(self, layers: list[Dense]) -> int:
        """Address of an array of layers."""
        self._kept.append((Dense * len(layers))(*layers))
        return ctypes.addressof(self._kept[-1])

    def wide(self, name: str, width: int, wide: int, side: int) -> Wide:
        spatial = weight_of(self._stored, f"{name}.spatial.weight", (width, side * side))
        spatial, bias = np.ascontiguousarray(spatial.T), self.bias(f"{name}.spatial", width)
        self._kept.append((spatial, bias))
        expand, project = self.dense(f"{name}.expand", width, wide), self.dense(f"{name}.project", wide, width)
        return Wide(spatial.ctypes.data, bias.ctypes.data, expand, project, side)

    def forget(self) -> None:
        """Drop what is packed by now."""
        self._stored = {}


def _through(layer: Dense, rows: Floats) -> Floats:
    """A pointwise layer on rows (n, inputs)."""
    strength, rows = Strength(0), np.ascontiguousarray(rows)
    out = np.empty((len(rows), layer.outputs), np.float32)
    library().tadan_inlet(strength.address, ctypes.byref(layer), rows.ctypes.data, len(rows), out.ctypes.data)
    return out


def _block(
    block: Wide, gains: Floats, plane: Floats, here: Box, near: Box, positive: NDArray[np.uint8] | None = None
) -> Floats:
    """A wide block on the part ``near`` of a plane (positions, channels) that holds the box ``here``."""
    area = Area(here[3], here[2], near[1] - here[1], near[0] - here[0], near[2])
    out = np.empty((near[3] * near[2], plane.shape[1]), np.float32)
    strength = Strength(4 * CHUNK * (block.expand.inputs + block.expand.outputs))
    own = (strength.address, ctypes.byref(block), gains.ctypes.data, plane.ctypes.data, ctypes.byref(area))
    mask = None if positive is None else positive.ctypes.data
    library().tadan_wide_block(*own, len(out), out.ctypes.data, mask)
    return out


class CoreAnalysis:
    """g_a; immutable, safe to share between threads. Args and Raises as of :class:`CoreSynthesis`."""

    def __init__(self, model: Model) -> None:
        config, weights = model.config, _Weights(model, "g_a")
        width, wide = config.analysis_width, config.analysis_width * config.analysis_expansion
        self._stride, self._inlet = config.stride, weights.dense("inlet", 3 * config.stride**2, width)
        names = (f"blocks.{i}" for i in range(config.analysis_blocks))
        self._blocks = [weights.wide(name, width, wide, config.kernel) for name in names]
        self._outlet = weights.dense("outlet", width, config.latent)
        weights.forget()
        self._kept = weights

    def run(self, rgb: NDArray[np.uint8], gains: Floats) -> Floats:
        """Analyse a picture in the threads of the team.

        Args:
            rgb: uint8 (H, W, 3), sides multiples of the stride.
            gains: of all blocks (:meth:`Model.block_gains`).

        Returns:
            float32 (h, w, latent), unscaled.
        """
        rows, cols, side = rgb.shape[0] // self._stride, rgb.shape[1] // self._stride, self._stride // CELL
        cells = rgb.reshape(rows, side, CELL, cols, side, CELL, 3).transpose(0, 3, 1, 4, 2, 5, 6)
        patches = np.divide(cells.reshape(rows * cols, -1), np.float32(255), dtype=np.float32) - np.float32(0.5)
        plane, whole = _through(self._inlet, patches), (0, 0, cols, rows)
        for block, own in zip(self._blocks, np.ascontiguousarray(gains).reshape(len(self._blocks), -1), strict=True):
            plane = _block(block, own, plane, whole, whole)
        return _through(self._outlet, plane).reshape(rows, cols, -1)


class CoreSynthesis:
    """g_s; immutable, safe to share between threads.

    Args:
        model: of which :func:`runs_in_core` is true; or a lite decoder.

    Raises:
        Corrupt: a weight is missing or does not fit the configuration.
    """

    def __init__(self, model: Shows) -> None:
        self._config = config = model.config
        weights = self._weights = _Weights(model, "g_s")
        width, wide, side = config.body_width, config.body_width * config.body_expansion, config.stride // CELL
        grid, hidden = config.grid, config.grid_hidden
        self._inlet = weights.dense("inlet", config.latent, width)
        self.blocks = [weights.wide(f"blocks.{i}", width, wide, config.kernel) for i in range(config.body_blocks)]
        parts = zip(*(np.split(one, side**2) for one in weights.of("to_grid", width, side**2 * grid)), strict=True)
        names = [f"renderer.{i}" for i in range(config.grid_blocks)]
        layers = (
            [weights.packed(*part) for part in parts],
            [self._modulate(name, width, hidden) for name in names],
            [weights.dense(f"{name}.expand", grid, hidden) for name in names],
            [weights.dense(f"{name}.project", hidden, grid) for name in names],
        )
        weight, bias = weights.of("outlet", grid, CELL_SAMPLES)
        outlet = weights.packed(255 * weight, 255 * bias + np.float32(127.5))
        self.renderer = Renderer(*map(weights.array, layers), outlet, len(names), side, CELL)
        weights.forget()

    def _modulate(self, name: str, width: int, hidden: int) -> Dense:
        weight, bias = self._weights.of(f"{name}.modulate", width, 2 * hidden)
        shift = self._weights.bias(f"{name}.expand", hidden)
        return self._weights.packed(weight, bias + np.concatenate([shift, np.ones(hidden, np.float32)]))

    def body(
        self, y: Floats, gains: Floats, inner: Box | None = None, masks: list[NDArray[np.uint8]] | None = None
    ) -> Floats:
        """The body of a part of the positions (None: all), (positions, width); ``masks``: set to where ReLUs pass."""
        config, (height, width) = self._config, y.shape[:2]
        here = (0, 0, width, height)
        plane = _through(self._inlet, y.reshape(height * width, -1))
        for number, (block, own) in enumerate(zip(self.blocks, gains, strict=True)):
            # What the blocks behind this one see of it, and no more.
            margin = (config.body_blocks - 1 - number) * (config.kernel // 2)
            near = here if inner is None else window(inner, margin, width, height).outer
            plane, here = _block(block, own, plane, here, near, None if masks is None else masks[number]), near
        return plane

    def run(self, y: Floats, gains: Floats, inner: Box) -> NDArray[np.uint8]:
        """Show a part of a plane, in the threads of the team (:mod:`tadan.team`).

        Args:
            y: float32 (h, w, latent), inverse gain applied. Outside are zeros, as beyond the borders of a picture.
            gains: of all blocks (:meth:`Model.block_gains`).
            inner: the part, in positions.

        Returns:
            uint8 (stride * height, stride * width, 3).
        """
        config = self._config
        of_blocks, of_grid = split_gains(gains, config.body_blocks, config.body_width)
        plane = self.body(y, of_blocks, inner)
        _, _, cols, rows = inner
        picture = np.empty((config.stride * rows, config.stride * cols, 3), np.uint8)
        floats = config.grid + config.grid_hidden * (1 + 2 * config.grid_blocks) + CELL_SAMPLES
        strength = Strength(4 * CHUNK * floats)
        given = (strength.address, ctypes.byref(self.renderer), of_grid.ctypes.data, plane.ctypes.data)
        library().tadan_render(*given, cols, rows * cols, picture.ctypes.data)
        return picture


def split_gains(gains: Floats, blocks: int, width: int) -> tuple[Floats, Floats]:
    """Gains of the wide blocks, (blocks, 2 * width), and those of the renderer."""
    flat = np.ascontiguousarray(gains, np.float32).ravel()
    return flat[: 2 * blocks * width].reshape(blocks, -1), flat[2 * blocks * width :]


@dataclass(frozen=True)
class _BlockBack:
    """Layers of a wide block with their weights transposed."""

    project: Dense
    expand: Dense


class CoreGradient:
    """The squared error of what g_s shows, and its derivative; Raises as of :class:`CoreSynthesis`.

    Args:
        model: as there.
        forward: its g_s.
    """

    def __init__(self, model: Model, forward: CoreSynthesis) -> None:
        self._config = config = model.config
        self._forward = forward
        weights = _Weights(model, "g_s_gradient")
        width, wide, side = config.body_width, config.body_width * config.body_expansion, config.stride // CELL
        grid, hidden = config.grid, config.grid_hidden

        def back(name: str, inputs: int, outputs: int) -> Dense:
            return weights.packed(weights.of(name, inputs, outputs)[0].T)

        self._inlet = back("inlet", config.latent, width)
        names = [f"blocks.{i}" for i in range(config.body_blocks)]
        self._blocks = [
            _BlockBack(back(f"{name}.project", wide, width), back(f"{name}.expand", width, wide)) for name in names
        ]
        parts = np.split(weights.of("to_grid", width, side**2 * grid)[0], side**2)
        names = [f"renderer.{i}" for i in range(config.grid_blocks)]
        layers = (
            [weights.packed(part.T) for part in parts],
            [back(f"{name}.modulate", width, 2 * hidden) for name in names],
            [back(f"{name}.expand", grid, hidden) for name in names],
            [back(f"{name}.project", hidden, grid) for name in names],
        )
        outlet = weights.packed(255 * weights.of("outlet", grid, CELL_SAMPLES)[0].T)
        self._axes = np.ascontiguousarray(AXES, np.float32)
        self._search = Search(*map(weights.array, layers), outlet, self._axes.ctypes.data)
        weights.forget()
        self._kept = weights

    def run(
        self, y: Floats, gains: Floats, picture: NDArray[np.uint8], weights: Floats
    ) -> tuple[NDArray[np.float64], Floats]:
        """Compare what latents show with a picture, in the threads of the team.

        Args:
            y: float32 (h, w, latent), inverse gain applied.
            gains: of all blocks.
            picture: uint8 (stride * h, stride * w, 3).
            weights: of the cells, float32 (4 h, 4 w, 3) (:func:`tadan.models.search_rule.error_weights`).

        Returns:
            error of each row of positions, in squared levels, float64 (h,); its derivative by y, float32 like y.
        """
        of_blocks, _ = split_gains(gains, len(self._blocks), self._config.body_width)
        masks = [np.empty((y.shape[0] * y.shape[1], block.expand.outputs), np.uint8) for block in self._forward.blocks]
        body = self._forward.body(y, of_blocks, masks=masks)
        towards = np.empty_like(body)
        errors = self._compare(body, y.shape[:2], gains, picture, weights, towards)
        for block, back, own, mask in reversed(
            list(zip(self._forward.blocks, self._blocks, of_blocks, masks, strict=True))
        ):
            towards = self._back(block, back, own, mask, towards, y.shape[:2])
        return errors, _through(self._inlet, towards).reshape(y.shape)

    def error(self, y: Floats, gains: Floats, picture: NDArray[np.uint8], weights: Floats) -> NDArray[np.float64]:
        """The errors alone, as of :meth:`run`, in less than half of the time."""
        of_blocks, _ = split_gains(gains, len(self._blocks), self._config.body_width)
        return self._compare(self._forward.body(y, of_blocks), y.shape[:2], gains, picture, weights, None)

    def _compare(
        self,
        body: Floats,
        shape: tuple[int, ...],
        gains: Floats,
        picture: NDArray[np.uint8],
        weights: Floats,
        towards: Floats | None,
    ) -> NDArray[np.float64]:
        config, (rows, cols) = self._config, shape
        _, of_grid = split_gains(gains, config.body_blocks, config.body_width)
        errors = np.empty((rows, cols))
        picture, weights = np.ascontiguousarray(picture), np.ascontiguousarray(weights, np.float32)
        floats = 2 * config.grid + config.grid_hidden * (1 + 5 * config.grid_blocks) + CELL_SAMPLES
        strength = Strength(4 * CHUNK * floats)
        own = (strength.address, ctypes.byref(self._forward.renderer), ctypes.byref(self._search))
        planes = (of_grid.ctypes.data, body.ctypes.data, cols, rows * cols)
        results = (errors.ctypes.data, None if towards is None else towards.ctypes.data)
        library().tadan_compare(*own, *planes, picture.ctypes.data, weights.ctypes.data, *results)
        return np.asarray(errors.sum(1))

    def _back(
        self, block: Wide, back: _BlockBack, gains: Floats, mask: Any, slopes: Floats, shape: tuple[int, ...]
    ) -> Floats:
        core, inside, out = library(), np.empty_like(slopes), np.empty_like(slopes)
        strength = Strength(4 * CHUNK * (block.expand.inputs + block.expand.outputs))
        layers = (ctypes.byref(back.project), ctypes.byref(back.expand), gains.ctypes.data, mask.ctypes.data)
        core.tadan_wide_back(strength.address, *layers, slopes.ctypes.data, len(slopes), inside.ctypes.data)
        planes = (inside.ctypes.data, slopes.ctypes.data, *shape, out.ctypes.data)
        core.tadan_spread(strength.address, ctypes.byref(block), *planes)
        return out
