"""g_a, h_a and g_s of a model on ONNX Runtime: padding, gains, layout. The only floating point that touches pixels."""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tadan.exact.constants import LATENT_FRACTION
from tadan.models import Model


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

    def _run(self, name: str, value: NDArray[Any]) -> NDArray[Any]:
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
        out: NDArray[Any] = session.run(None, {session.get_inputs()[0].name: value})[0]
        return out

    def analyse(self, rgb: NDArray[np.uint8], quality: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Picture uint8 (H, W, 3) -> y float32 (h, w, latent) in quantisation steps, z (h/4, w/4, z_channels).

        The picture is continued by its last rows and columns to a multiple of 16, y to a multiple of 4.
        """
        return self.at_quality(self.unscaled(rgb), quality)

    def unscaled(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """g_a alone: picture uint8 (H, W, 3) -> float32 (latent, h, w), the same for every quality."""
        height, width = rgb.shape[:2]
        picture = np.pad(rgb, ((0, -height % 16), (0, -width % 16), (0, 0)), mode="edge")
        latents: NDArray[np.float32] = self._run("g_a", picture[None])[0]
        return latents

    def at_quality(
        self, unscaled: NDArray[np.float32], quality: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Gain of a quality and h_a: what :meth:`unscaled` gave -> y and z as :meth:`analyse` returns them."""
        y = unscaled * self._model.gain(quality)[:, None, None]
        padded = np.pad(y, ((0, 0), (0, -y.shape[1] % 4), (0, -y.shape[2] % 4)), mode="edge")
        z = self._run("h_a", padded[None])[0]
        return np.ascontiguousarray(y.transpose(1, 2, 0)), np.ascontiguousarray(z.transpose(1, 2, 0))

    def synthesise(self, y_hat: NDArray[np.int32], quality: int) -> NDArray[np.uint8]:
        """y_hat int32 (h, w, latent), Q4 -> picture uint8 (16 h, 16 w, 3)."""
        scale = self._model.inverse_gain(quality) * np.float32(2.0**-LATENT_FRACTION)
        y = np.ascontiguousarray((y_hat * scale).astype(np.float32).transpose(2, 0, 1))
        picture: NDArray[np.uint8] = self._run("g_s", y[None])[0]
        return picture
