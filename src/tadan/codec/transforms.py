"""g_a, h_a and g_s of a model on ONNX Runtime: padding, gains, layout. The only floating point that touches pixels."""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tadan.exact.constants import LATENT_FRACTION
from tadan.models import Model
from tadan.models.search_rule import CELL, plain_weights

STRIP_PIXELS = 2**22  # of one run of the gradient, which keeps about 0.25 kB a pixel


class Transforms:
    """Float networks of one model; sessions start on first use. Safe to share between threads.

    Args:
        model: whose graphs to run.
        threads: threads of one run; None for all cores.
    """

    def __init__(self, model: Model, threads: int | None = None) -> None:
        self.model, self._threads = model, threads or os.cpu_count() or 1
        self._stride = model.config.stride
        self._sessions: dict[str, Any] = {}
        self._lock = threading.Lock()

    def _run(self, name: str, *values: NDArray[Any]) -> list[NDArray[Any]]:
        with self._lock:
            if name not in self._sessions:
                import onnxruntime

                options = onnxruntime.SessionOptions()
                options.intra_op_num_threads = self._threads
                options.log_severity_level = 3
                options.enable_mem_pattern = False  # patterns of every size of window would be kept
                self._sessions[name] = onnxruntime.InferenceSession(
                    self.model.graph(name), options, providers=["CPUExecutionProvider"]
                )
            session = self._sessions[name]
        names = [one.name for one in session.get_inputs()]
        return list(session.run(None, dict(zip(names, values, strict=True)), _returning_memory()))

    def analyse(self, rgb: NDArray[np.uint8], quality: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """y and z of a picture that is one tile: :meth:`latents_of`, then :meth:`hyper_of`."""
        y = self.latents_of(rgb, quality)
        return y, self.hyper_of(y)

    def latents_of(self, rgb: NDArray[np.uint8], quality: int) -> NDArray[np.float32]:
        """Picture uint8 (H, W, 3) -> y float32 (ceil(H/stride), ceil(W/stride), latent) in quantisation steps.

        The picture is continued by its last rows and columns to a multiple of the model's stride.
        """
        unscaled = self._run("g_a", _padded(rgb, self._stride)[None], self.model.block_gains("g_a", quality))[0][0]
        return np.ascontiguousarray(unscaled.transpose(1, 2, 0) * self.model.gain(quality))

    def hyper_of(self, y: NDArray[np.float32]) -> NDArray[np.float32]:
        """y float32 (h, w, latent) of a tile -> z float32 (ceil(h/4), ceil(w/4), z_channels).

        y is continued by its last rows and columns to a multiple of 4.
        """
        padded = np.pad(y, ((0, -y.shape[0] % 4), (0, -y.shape[1] % 4), (0, 0)), mode="edge")
        z = self._run("h_a", np.ascontiguousarray(padded.transpose(2, 0, 1))[None])[0][0]
        return np.ascontiguousarray(z.transpose(1, 2, 0))

    def synthesise(self, y_hat: NDArray[np.int32], quality: int) -> NDArray[np.uint8]:
        """y_hat int32 (h, w, latent), Q6 -> picture uint8 (stride * h, stride * w, 3)."""
        picture: NDArray[np.uint8]
        picture = self._run("g_s", self._scaled(y_hat, quality), self.model.block_gains("g_s", quality))[0][0]
        return picture

    def error_gradient(
        self,
        y_hat: NDArray[np.int32],
        quality: int,
        rgb: NDArray[np.uint8],
        weights: NDArray[np.float32] | None = None,
    ) -> tuple[float, NDArray[np.float32]]:
        """Squared error of the picture that y_hat shows, and its gradient.

        Args:
            y_hat: int32 (h, w, latent), Q6.
            quality: 1..100.
            rgb: uint8 (H, W, 3), the picture to reach; continued as for :meth:`latents_of`.
            weights: of the cells of ``rgb`` (:func:`~tadan.models.search_rule.error_weights`), None for plain squares.

        Returns:
            sum over all samples of the squared difference times its weight, in squared levels; its derivative by y_hat
            in quantisation steps, float32 (h, w, latent). Large pictures are done in strips of rows, with the same
            result.
        """
        stride = self._stride
        gains, picture = self.model.block_gains("g_s", quality), _padded(rgb, stride)
        rows = y_hat.shape[0]
        cells = stride // CELL
        if weights is None:
            weights = plain_weights(*picture.shape[:2])
        missing = [(0, picture.shape[axis] // CELL - weights.shape[axis]) for axis in (0, 1)]
        weights = np.pad(weights, [*missing, (0, 0)], mode="edge")
        # A latent changes pixels within its reach, and their values depend on latents as far again.
        margin = 2 * self.model.config.reach + 1
        strip = max(margin, STRIP_PIXELS // (stride**2 * y_hat.shape[1]))
        total, parts = 0.0, []
        for first in range(0, rows, strip):
            last = min(first + strip, rows)
            top, bottom = max(0, first - margin), min(rows, last + margin)
            scaled = self._scaled(y_hat[top:bottom], quality)
            under = picture[None, stride * top : stride * bottom], weights[None, cells * top : cells * bottom]
            gradient, error = self._run("g_s_gradient", scaled, gains, *under)
            total += float(error[0, cells * (first - top) : cells * (last - top)].sum(dtype=np.float64))
            parts.append(gradient[0, :, first - top : last - top])
        return total, np.concatenate(parts, axis=1).transpose(1, 2, 0) * self.model.inverse_gain(quality)

    def _scaled(self, y_hat: NDArray[np.int32], quality: int) -> NDArray[np.float32]:
        scale = self.model.inverse_gain(quality) * np.float32(2.0**-LATENT_FRACTION)
        return np.ascontiguousarray((y_hat * scale).astype(np.float32).transpose(2, 0, 1))[None]


def _returning_memory() -> Any:
    """Options of a run that keeps nothing for the next: sessions take turns, and sizes of windows differ."""
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


def _padded(rgb: NDArray[np.uint8], stride: int) -> NDArray[np.uint8]:
    """Continue a picture by its last rows and columns to multiples of ``stride``."""
    height, width = rgb.shape[:2]
    return np.pad(rgb, ((0, -height % stride), (0, -width % stride), (0, 0)), mode="edge")
