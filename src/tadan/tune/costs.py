"""c(p | S) under the integer networks that every decoder runs: the measure of an order search.

The networks were trained to read any visibility pattern, so what a latent costs when it sees the relative subset S can
be read off without an order: gather the neighbours in S from the decoded plane, predict, count the bits of the latent.
Pictures are coded once, and a fixed sample of latent positions stands for all; every subset is measured on the same
ones. Half of them only choose the order, the other half only say what it is worth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from tadan.bitstream import Limits
from tadan.codec.transforms import Transforms
from tadan.errors import InvalidInput
from tadan.exact.network import EntropyTwin
from tadan.latents.coder import Y_STRIDE, LatentCoder, Latents, plane_shape, residual_symbols
from tadan.models import Model
from tadan.models.config import QUALITY_MAX, QUALITY_MIN
from tadan.pictures.reading import Picture, read_picture
from tadan.schedule import Schedule, get_schedule
from tadan.schedule.optimize import Floats, subset_visible

QUALITIES = (20, 40, 60)
SAMPLES = 2048


@dataclass(frozen=True, eq=False)
class Samples:
    """Sampled latent positions of one quality, with all that any order may show them.

    Attributes:
        quality: 1..100.
        places: int64 (n, 3): picture, row, column.
        y: float32 (n, latent), in quantisation steps.
        windows: float32 (n, k * k, features), embedded neighbours; zeros outside the plane.
        pre: float64 (n, hidden), hyper synthesis with the bias of the quality.
        y_hat: int32 (n, latent), Q6, the decoded latents at the positions themselves.
    """

    quality: int
    places: NDArray[np.int64]
    y: NDArray[np.float32]
    windows: NDArray[np.float32]
    pre: NDArray[np.float64]
    y_hat: NDArray[np.int32]

    def predict(self, twin: EntropyTwin, visible: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        """Mean (Q6) and scale index, both (n, latent), where ``visible``, bool (1, k, k), can be seen.

        The same integers as :meth:`tadan.latents.plane.LatentPlane.predict`.
        """
        kernel = twin.kernel(visible)
        context = None
        if kernel.product is not None:
            side = visible.shape[-1]
            taps = (kernel.taps + side // 2) @ np.array([side, 1])
            context = self.windows[:, taps].reshape(len(self.pre), -1)
        return twin.parameters_of(self.pre.copy(), context, kernel, self.quality, self.y_hat)


class TwinCosts:
    """Mean bits of a latent by relative subset, measured on pictures; what :func:`tadan.schedule.optimize.search` asks.

    A *latent* is one number of y here, so bits are those of y divided by its size; z is the same under every order.

    Args:
        model: whose networks to ask.
        shape: rows and columns of the patch that the relative subsets speak of.
        pictures: Pillow images, uint8 arrays or paths, each of at least a context window (80x80 pixels).
        qualities: 1..100 each.
        samples: latent positions to draw in all, the same number of every picture and quality; smaller planes give
            fewer. Positions whose window leaves the plane are left out, unless they are more than half of it.
        seed: of the draw.
        threads: threads of the networks and products; None for all cores. Results do not depend on it.
        progress: called after every picture and quality.

    Attributes:
        shape: as given.
        measuring: samples that :meth:`__call__` and :meth:`rate` use, one entry a quality.
        held: samples that only :meth:`validate` uses; they share no position of a picture with ``measuring``.

    Raises:
        InvalidInput: no picture or quality, one that is out of range or too small, or fewer samples than two for every
            picture and quality.
        UnreadableInput, LimitExceeded: see :func:`tadan.pictures.reading.read_picture`.
    """

    def __init__(
        self,
        model: Model,
        shape: tuple[int, int],
        pictures: Sequence[Picture],
        qualities: Sequence[int] = QUALITIES,
        samples: int = SAMPLES,
        seed: int = 0,
        threads: int | None = None,
        progress: Callable[[], None] = lambda: None,
    ) -> None:
        """Code the pictures and draw the sample."""
        self.shape = shape
        # Its own networks, as their cache of kernels would drop those of decoders for thousands used once.
        self._model, self._threads = replace(model), threads
        self._known: dict[tuple[bool, bytes], float] = {}
        pairs = len(pictures) * len(qualities)
        outside = [quality for quality in qualities if not QUALITY_MIN <= quality <= QUALITY_MAX]
        if not pairs or outside:
            raise InvalidInput(
                f"costs are measured on pictures and qualities {QUALITY_MIN} to {QUALITY_MAX}; give some"
            )
        if samples < 2 * pairs:
            raise InvalidInput(
                f"{samples} samples are too few for {len(pictures)} pictures at {len(qualities)} qualities; "
                f"take at least {2 * pairs}, or fewer pictures"
            )
        rng, transforms = np.random.default_rng(seed), Transforms(self._model, threads)
        parts: dict[tuple[bool, int], list[Samples]] = {}
        for number, picture in enumerate(pictures):
            rgb = read_picture(picture, Limits().max_pixels).rgb
            self._check_size(rgb.shape[:2], picture)
            with threadpool_limits(threads, user_api="blas"):
                halves = _halves(rng, plane_shape(rgb.shape[1], rgb.shape[0], Y_STRIDE), model.config.radius)
                for quality in qualities:
                    y, z = transforms.analyse(rgb, quality)
                    coded = LatentCoder(self._model, quality, get_schedule("balanced")).encode(y, z).latents
                    for held, half in enumerate(halves):
                        chosen = rng.choice(half, min(samples // (2 * pairs), len(half)), replace=False)
                        drawn = self._gather(quality, number, np.sort(chosen), y, coded)
                        parts.setdefault((bool(held), quality), []).append(drawn)
                    progress()
        self.measuring, self.held = (
            tuple(_joined(parts[held, quality]) for quality in sorted(set(qualities))) for held in (False, True)
        )

    def __call__(self, subsets: Sequence[int]) -> Floats:
        """Mean bits of a latent for each relative subset, on the measuring half."""
        radius = self._model.config.radius
        with threadpool_limits(self._threads, user_api="blas"):
            visible = (subset_visible(self.shape, int(subset), radius) for subset in subsets)
            return np.array([self._bits(False, one) for one in visible])

    def rate(self, schedule: Schedule) -> float:
        """Mean bits of a latent under a schedule of any period, on the measuring half.

        Raises:
            InvalidInput: the schedule tells channel groups apart.
        """
        return self._rate(False, schedule)

    def validate(self, schedule: Schedule) -> float:
        """As :meth:`rate`, on the half that no search has seen: the number to quote for an order that was found."""
        return self._rate(True, schedule)

    def _rate(self, held: bool, schedule: Schedule) -> float:
        if schedule.groups != 1:
            raise InvalidInput("costs are measured for schedules that decode all channels of a position together")
        radius = self._model.config.radius
        with threadpool_limits(self._threads, user_api="blas"):
            places = np.ndindex(*schedule.period)
            return float(np.mean([self._bits(held, schedule.visible(0, row, col, radius)) for row, col in places]))

    def _bits(self, held: bool, visible: NDArray[np.bool_]) -> float:
        key = held, visible.tobytes()
        if key not in self._known:
            total, count = 0.0, 0
            for part in self.held if held else self.measuring:
                mean, index = part.predict(self._model.twin, visible)
                total += float(self._model.tables.bits(residual_symbols(part.y, mean), index).sum())
                count += part.y.size
            self._known[key] = total / count
        return self._known[key]

    def _check_size(self, size: tuple[int, ...], picture: Picture) -> None:
        least = Y_STRIDE * (2 * self._model.config.radius + 1)
        if min(size) < least:
            name = "a picture" if isinstance(picture, np.ndarray) else str(picture)
            raise InvalidInput(
                f"{name} has {size[1]}x{size[0]} pixels, too few to measure a context window; leave out pictures "
                f"below {least}x{least}"
            )

    def _gather(
        self, quality: int, picture: int, positions: NDArray[np.int64], y: NDArray[np.float32], coded: Latents
    ) -> Samples:
        twin, radius = self._model.twin, self._model.config.radius
        height, width, latent = y.shape
        row, col = np.divmod(positions, width)
        embedded = twin.embed_rows(coded.y_hat.reshape(-1, latent)).reshape(height, width, -1)
        padded = np.pad(embedded, ((radius, radius), (radius, radius), (0, 0)))
        down, right = np.divmod(np.arange(twin.sizes.window), 2 * radius + 1)
        return Samples(
            quality,
            np.stack([np.full_like(row, picture), row, col], axis=1),
            y[row, col],
            padded[row[:, None] + down, col[:, None] + right],
            twin.hyper(coded.z_hat[None], quality)[0, row, col],
            coded.y_hat[row, col],
        )


def _halves(
    rng: np.random.Generator, shape: tuple[int, ...], radius: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Flat positions of a plane whose windows lie inside it, or all if those are fewer than half, in two halves."""
    inside = np.zeros(shape, bool)
    inside[radius : shape[0] - radius, radius : shape[1] - radius] = True
    if 2 * np.count_nonzero(inside) < inside.size:
        inside[:] = True
    order = rng.permutation(np.flatnonzero(inside))
    return order[::2], order[1::2]


def _joined(parts: Sequence[Samples]) -> Samples:
    columns = ([getattr(part, name) for part in parts] for name in ("places", "y", "windows", "pre", "y_hat"))
    return Samples(parts[0].quality, *(np.concatenate(column) for column in columns))
