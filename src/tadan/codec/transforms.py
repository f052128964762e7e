"""g_a, h_a and g_s of a model: padding, gains, layout. The only floating point that touches pixels."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tadan.codec.native import CoreAnalysis, CoreGradient, CoreSynthesis, runs_in_core
from tadan.codec.sessions import Session
from tadan.codec.tiling import Box
from tadan.exact.constants import LATENT_FRACTION
from tadan.fork import ForkLock, renew_in_children
from tadan.models import Model
from tadan.models.lite import LiteDecoder, Shows, check_lite
from tadan.models.search_rule import CELL, plain_weights
from tadan.team import team

Core = TypeVar("Core", CoreAnalysis, CoreSynthesis, CoreGradient)
STRIP_PIXELS = 2**22  # of one run of the gradient, which keeps about 0.25 kB a pixel


class Transforms:
    """Float networks of one model; sessions start on first use. Safe to share between threads.

    Args:
        model: whose graphs to run.
        threads: threads of one run; None for all cores.
        lite: lite decoder that shows latents in place of the model's g_s; searches and their errors stay the model's.

    Raises:
        ModelMissing, Corrupt: the lite decoder does not fit the model.
    """

    def __init__(self, model: Model, threads: int | None = None, lite: LiteDecoder | None = None) -> None:
        self.model, self._threads = model, threads or os.cpu_count() or 1
        if lite is not None:
            check_lite(lite, model)
        self._shows: Shows = model if lite is None else lite
        self._stride = model.config.stride
        self._sessions: dict[str, Session] = {}
        self._left_behind: list[Any] = []
        self.in_core = runs_in_core(model) and runs_in_core(self._shows)  # where all threads share a tile
        self._cores: dict[Any, Any] = {}
        self._lock = ForkLock()
        renew_in_children(self)

    def renew(self) -> None:
        """Start anew in a forked child, where the threads of sessions are missing: their ends would be waited for."""
        self._left_behind.append(self._sessions)
        self._sessions = {}

    def _session(self, name: str) -> Session:
        with self._lock:
            if name not in self._sessions:
                source = self._shows if name == "g_s" else self.model
                self._sessions[name] = Session(source, name, self._threads)
            return self._sessions[name]

    def analyse(self, rgb: NDArray[np.uint8], quality: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """y and z of a picture that is one tile: :meth:`latents_of`, then :meth:`hyper_of`."""
        y = self.latents_of(rgb, quality)
        return y, self.hyper_of(y)

    def latents_of(self, rgb: NDArray[np.uint8], quality: int) -> NDArray[np.float32]:
        """Picture uint8 (H, W, 3) -> y float32 (ceil(H/stride), ceil(W/stride), latent) in quantisation steps.

        The picture is continued by its last rows and columns to a multiple of the model's stride.
        """
        padded, gains = _padded(rgb, self._stride), self.model.block_gains("g_a", quality)
        if self.in_core:
            self.model.check_encoder()
            with team(self._threads):
                return self._core(CoreAnalysis).run(padded, gains) * self.model.gain(quality)
        session = self._session("g_a")
        [unscaled] = session.run(padded[None], gains)
        rows, cols = (side // self._stride for side in padded.shape[:2])
        session.check(unscaled, (1, self.model.config.latent, rows, cols), np.float32)
        return np.ascontiguousarray(unscaled[0].transpose(1, 2, 0) * self.model.gain(quality))

    def hyper_of(self, y: NDArray[np.float32]) -> NDArray[np.float32]:
        """y float32 (h, w, latent) of a tile -> z float32 (ceil(h/4), ceil(w/4), z_channels).

        y is continued by its last rows and columns to a multiple of 4.
        """
        padded = np.pad(y, ((0, -y.shape[0] % 4), (0, -y.shape[1] % 4), (0, 0)), mode="edge")
        session = self._session("h_a")
        [z] = session.run(np.ascontiguousarray(padded.transpose(2, 0, 1))[None])
        session.check(z, (1, self.model.config.z_channels, padded.shape[0] // 4, padded.shape[1] // 4), np.float32)
        return np.ascontiguousarray(z[0].transpose(1, 2, 0))

    def synthesise(self, y_hat: NDArray[np.int32], quality: int, inner: Box | None = None) -> NDArray[np.uint8]:
        """Show latents: in the core if it can, else in ONNX Runtime.

        Args:
            y_hat: int32 (h, w, latent), Q6.
            quality: 1..100.
            inner: part of the positions to show; None for all.

        Returns:
            uint8 (stride * height, stride * width, 3) of the part.
        """
        height, width = y_hat.shape[:2]
        x, y, w, h = inner or (0, 0, width, height)
        gains = self._shows.block_gains("g_s", quality)
        if self.in_core:
            with team(self._threads):
                return self._core_shows().run(scaled_rows(self._shows, y_hat, quality), gains, (x, y, w, h))
        session, stride = self._session("g_s"), self._stride
        [picture] = session.run(scaled(self._shows, y_hat, quality), gains)
        session.check(picture, (1, stride * height, stride * width, 3), np.uint8)
        return np.asarray(picture[0, stride * y : stride * (y + h), stride * x : stride * (x + w)])

    def _core(self, kind: Callable[..., Core], *parts: Any) -> Core:
        """A network in the core, made once from the model and the ``parts`` that it shares with others."""
        return self._made(kind, lambda: kind(self.model, *parts))

    def _core_shows(self) -> CoreSynthesis:
        if self._shows is self.model:
            return self._core(CoreSynthesis)
        return self._made("lite", lambda: CoreSynthesis(self._shows))

    def _core_gradient(self) -> CoreGradient:
        return self._core(CoreGradient, self._core(CoreSynthesis))

    def _made(self, key: object, make: Callable[[], Core]) -> Core:
        with self._lock:
            if key not in self._cores:
                self._cores[key] = make()
            return self._cores[key]  # type: ignore[no-any-return]

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
        picture, weights = _padded(rgb, self._stride), self._weights(rgb, weights)
        total, parts = 0.0, []
        for own, seen in self._strips(y_hat.shape, self.model.config.reach):
            error, gradient = self._gradient(y_hat, quality, picture, weights, seen)
            inside = slice(own.start - seen.start, own.stop - seen.start)
            total += float(error[inside].sum(dtype=np.float64))
            parts.append(gradient[inside])
        return total, np.concatenate(parts) * self.model.inverse_gain(quality)

    def error(
        self,
        y_hat: NDArray[np.int32],
        quality: int,
        rgb: NDArray[np.uint8],
        weights: NDArray[np.float32] | None = None,
    ) -> float:
        """The error alone, as :meth:`error_gradient` gives it, in a third of the time."""
        if not self.in_core:
            return self.error_gradient(y_hat, quality, rgb, weights)[0]
        picture, weights = _padded(rgb, self._stride), self._weights(rgb, weights)
        gains, total = self.model.block_gains("g_s", quality), 0.0
        for own, seen in self._strips(y_hat.shape, 0):
            y = scaled_rows(self.model, y_hat[seen], quality)
            with team(self._threads):
                error = self._core_gradient().error(y, gains, *self._under(picture, weights, seen))
            total += float(error[own.start - seen.start : own.stop - seen.start].sum())
        return total

    def _gradient(
        self,
        y_hat: NDArray[np.int32],
        quality: int,
        picture: NDArray[np.uint8],
        weights: NDArray[np.float32],
        seen: slice,
    ) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Error of each row of positions (h,), or of parts of it, and derivative (h, w, latent), of some rows."""
        gains = self.model.block_gains("g_s", quality)
        y, (under, cells) = scaled_rows(self.model, y_hat[seen], quality), self._under(picture, weights, seen)
        if self.in_core:
            with team(self._threads):
                return self._core_gradient().run(y, gains, under, cells)
        session, planes = self._session("g_s_gradient"), np.ascontiguousarray(y.transpose(2, 0, 1))[None]
        gradient, by_cells = session.run(planes, gains, under[None], cells[None])
        session.check(gradient, planes.shape, np.float32)
        session.check(by_cells, (1, len(cells)), np.float32)
        return by_cells[0].reshape(len(y), -1), gradient[0].transpose(1, 2, 0)

    def _under(
        self, picture: NDArray[np.uint8], weights: NDArray[np.float32], seen: slice
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Pixels and cells under some rows of positions."""
        pixels, cells = (slice(side * seen.start, side * seen.stop) for side in (self._stride, self._stride // CELL))
        return picture[pixels], weights[cells]

    def _weights(self, rgb: NDArray[np.uint8], weights: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """Weights of all cells of a picture continued to whole positions."""
        if weights is None:
            weights = plain_weights(*rgb.shape[:2])
        whole = [-(-side // self._stride) * self._stride // CELL for side in rgb.shape[:2]]
        missing = [(0, most - has) for most, has in zip(whole, weights.shape[:2], strict=True)]
        return np.pad(weights, [*missing, (0, 0)], mode="edge")

    def _strips(self, shape: tuple[int, ...], back: int) -> Iterator[tuple[slice, slice]]:
        """Rows of positions to work on at a time, and those that they depend on.

        A latent changes pixels within its reach, and their values depend on latents as far again (``back``).
        """
        rows, margin = shape[0], self.model.config.reach + back + 1
        strip = max(margin, STRIP_PIXELS // (self._stride**2 * shape[1]))
        for first in range(0, rows, strip):
            last = min(first + strip, rows)
            yield slice(first, last), slice(max(0, first - margin), min(rows, last + margin))


def scaled(shows: Shows, y_hat: NDArray[np.int32], quality: int) -> NDArray[np.float32]:
    """Input of g_s: y_hat int32 (h, w, latent), Q6, under the inverse gains, float32 (1, latent, h, w)."""
    return np.ascontiguousarray(scaled_rows(shows, y_hat, quality).transpose(2, 0, 1))[None]


def scaled_rows(shows: Shows, y_hat: NDArray[np.int32], quality: int) -> NDArray[np.float32]:
    """As :func:`scaled`, position by position: float32 (h, w, latent)."""
    scale = shows.inverse_gain(quality) * np.float32(2.0**-LATENT_FRACTION)
    return np.multiply(y_hat, scale, dtype=np.float32, casting="same_kind")


def _padded(rgb: NDArray[np.uint8], stride: int) -> NDArray[np.uint8]:
    """Continue a picture by its last rows and columns to multiples of ``stride``."""
    height, width = rgb.shape[:2]
    return np.pad(rgb, ((0, -height % stride), (0, -width % stride), (0, 0)), mode="edge")
