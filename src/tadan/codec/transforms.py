"""g_a, h_a and g_s of a model on ONNX Runtime: padding, gains, layout. The only floating point that touches pixels."""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tadan.exact.constants import LATENT_FRACTION
from tadan.models import Model

STRIP_PIXELS = 2**22  # of one run of the gradient, which keeps about 0.25 kB a pixel


class Transforms:
    """Float networks of one model; sessions start on first use. Safe to share between threads.

    Args:
        model: whose graphs to run.
        threads: threads of one run; None for all cores.
    """

    def __init__(self, model: Model, threads: int | None = None) -> None:
        self._model, self._threads = model, threads or os.cpu_count() or 1
        self._sessions: dict[str, Any] = {}
        self._lock = threading.Lock()

    def _run(self, name: str, *values: NDArray[Any]) -> list[NDArray[Any]]:
        with self._lock:
            if name not in self._sessions:
                import onnxruntime

                options = onnxruntime.SessionOptions()
                options.intra_op_num_threads = self._threads
                options.log_severity_level = 3
                self._sessions[name] = onnxruntime.InferenceSession(
                    self._model.graph(name), options, providers=["CPUExecutionProvider"]
                )
            session = self._sessions[name]
        names = [one.name for one in session.get_inputs()]
        return list(session.run(None, dict(zip(names, values, strict=True))))

    def analyse(self, rgb: NDArray[np.uint8], quality: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Picture uint8 (H, W, 3) -> y float32 (h, w, latent) in quantisation steps, z (h/4, w/4, z_channels).

        The picture is continued by its last rows and columns to a multiple of 16, y to a multiple of 4.
        """
        unscaled = self._run("g_a", _padded(rgb)[None], self._model.block_gains("g_a", quality))[0][0]
        y = unscaled * self._model.gain(quality)[:, None, None]
        padded = np.pad(y, ((0, 0), (0, -y.shape[1] % 4), (0, -y.shape[2] % 4)), mode="edge")
        z = self._run("h_a", padded[None])[0][0]
        return np.ascontiguousarray(y.transpose(1, 2, 0)), np.ascontiguousarray(z.transpose(1, 2, 0))

    def synthesise(self, y_hat: NDArray[np.int32], quality: int) -> NDArray[np.uint8]:
        """y_hat int32 (h, w, latent), Q4 -> picture uint8 (16 h, 16 w, 3)."""
        picture: NDArray[np.uint8]
        picture = self._run("g_s", self._scaled(y_hat, quality), self._model.block_gains("g_s", quality))[0][0]
        return picture

    def error_gradient(
        self, y_hat: NDArray[np.int32], quality: int, rgb: NDArray[np.uint8]
    ) -> tuple[float, NDArray[np.float32]]:
        """Squared error of the picture that y_hat shows, and its gradient.

        Args:
            y_hat: int32 (h, w, latent), Q4.
            quality: 1..100.
            rgb: uint8 (H, W, 3), the picture to reach; continued as for :meth:`analyse`.

        Returns:
            sum over all samples of the squared difference, in squared levels; its derivative by y_hat in quantisation
            steps, float32 (h, w, latent). Large pictures are done in strips of rows, with the same result.
        """
        gains, picture = self._model.block_gains("g_s", quality), _padded(rgb)
        config, rows = self._model.config, y_hat.shape[0]
        # A latent changes pixels up to `reach` beyond its own, whose values depend on latents as far again.
        reach = 8 * config.synthesis_blocks * (config.kernel // 2)
        margin = -(-2 * reach // 16) + 1
        strip = max(margin, STRIP_PIXELS // (256 * y_hat.shape[1]))
        total, parts = 0.0, []
        for first in range(0, rows, strip):
            last = min(first + strip, rows)
            top, bottom = max(0, first - margin), min(rows, last + margin)
            scaled = self._scaled(y_hat[top:bottom], quality)
            gradient, error = self._run("g_s_gradient", scaled, gains, picture[None, 16 * top : 16 * bottom])
            total += float(error[0, 16 * (first - top) : 16 * (last - top)].sum(dtype=np.float64))
            parts.append(gradient[0, :, first - top : last - top])
        return total, np.concatenate(parts, axis=1).transpose(1, 2, 0) * self._model.inverse_gain(quality)

    def _scaled(self, y_hat: NDArray[np.int32], quality: int) -> NDArray[np.float32]:
        scale = self._model.inverse_gain(quality) * np.float32(2.0**-LATENT_FRACTION)
        return np.ascontiguousarray((y_hat * scale).astype(np.float32).transpose(2, 0, 1))[None]


def _padded(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Continue a picture by its last rows and columns to multiples of 16."""
    height, width = rgb.shape[:2]
    return np.pad(rgb, ((0, -height % 16), (0, -width % 16), (0, 0)), mode="edge")
