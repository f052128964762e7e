"""The best decoding order of a patch, found exactly, for every number of stages.

Let c(p | S) be the mean bits of a latent at patch position p when the positions S of all patches are decoded. The
latent plane has no preferred phase, so c depends on S only through where its members stand relative to p, on the torus
that a periodic pattern is. A schedule that decodes the sets T_1, .., T_K in turn costs, per latent,

    (1 / n) * sum_k sum_{p in T_k} c(p | T_1 + .. + T_{k-1})

with n positions per patch. The least cost f_k(S) of decoding exactly the set S in k stages obeys

    f_k(S) = min over B, a proper subset of S, of  f_{k-1}(B) + sum_{p in S - B} c(p | B)

so dynamic programming over subsets finds the best schedule for every K = 1..n without trying orders (3^16 pairs (B, S)
for 4x4, a sixteenth of them by symmetry). The method is ours; the paper publishes one resulting order only.

Where not every subset can be measured, the others come from a ridge regression of c on the presence of single
positions, pairs and triples; what the found schedules use is then measured too, until nothing they rest on is a guess.
A schedule that the regression overrates is thus found out; a better one that it underrates can be missed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from tadan.errors import InvalidInput
from tadan.schedule.schedule import PatternSchedule

MAX_POSITIONS = 16
Floats = NDArray[np.float64]
#: Relative subsets -> mean bits of a latent that sees them; see :func:`relative_subset`.
Measure = Callable[[Sequence[int]], Floats]


@dataclass(frozen=True, eq=False)
class PatchCosts:
    """c(p | S) of one patch shape.

    Attributes:
        shape: rows and columns of the patch, at most 16 positions.
        bits: float64 (2 ** positions,), mean bits of a latent by relative subset (:func:`relative_subset`); entries
            with bit 0, the latent itself, mean nothing.
    """

    shape: tuple[int, int]
    bits: Floats

    def __post_init__(self) -> None:
        """Check the sizes."""
        positions = _positions(self.shape)
        if self.bits.shape != (2**positions,) or not np.isfinite(self.bits[::2]).all():
            raise InvalidInput(f"costs of a patch of {positions} positions are 2**{positions} finite numbers")

    def of(self, position: int, subset: int | NDArray[np.int64]) -> Floats:
        """Bits of ``position`` (row * columns + column) when the positions in ``subset`` (bit set) are visible."""
        return np.asarray(self.bits[relative_subset(self.shape, position, subset)])

    def rate(self, pattern: Sequence[Sequence[int]] | NDArray[np.int64]) -> float:
        """Mean bits per latent under a pattern whose rows and columns divide those of the patch.

        Raises:
            InvalidInput: the pattern does not fit.
        """
        shares = used_subsets(self.shape, np.asarray(pattern))
        return float(sum(self.bits[subset] * share for subset, share in shares.items()))


@dataclass(frozen=True)
class Best:
    """The best schedule with a given number of stages.

    Attributes:
        stages: number of stages.
        schedule: the pattern, translated so that its first decoded position stands top left.
        bits: mean bits per latent under the costs it was found with.
    """

    stages: int
    schedule: PatternSchedule
    bits: float


@dataclass(frozen=True)
class Search:
    """Result of :func:`search`.

    Attributes:
        costs: measured values, completed by the regression.
        best: for K = 1.. positions.
        measured: number of relative subsets that were measured.
        subsets: number that exist.
        model_error: root mean square error of the regression in bits per latent on measured subsets that it was not
            fitted to; 0 when everything was measured.
        model_r2: share of the variance of those that it explains; 1 when everything was measured.
    """

    costs: PatchCosts
    best: tuple[Best, ...]
    measured: int
    subsets: int
    model_error: float
    model_r2: float


# --- subsets ----------------------------------------------------------------------------------------------------------


def _positions(shape: tuple[int, int]) -> int:
    positions = shape[0] * shape[1]
    if min(shape) < 1 or positions > MAX_POSITIONS:
        raise InvalidInput(f"orders are searched for patches of 1 to {MAX_POSITIONS} positions, not {shape}")
    return positions


@lru_cache(maxsize=256)
def _moved(shape: tuple[int, int], position: int) -> NDArray[np.int64]:
    """Where each position comes to stand when ``position`` is moved to the origin of the torus."""
    rows, cols = np.divmod(np.arange(_positions(shape)), shape[1])
    row, col = divmod(position, shape[1])
    return (rows - row) % shape[0] * shape[1] + (cols - col) % shape[1]


def relative_subset(shape: tuple[int, int], position: int, subset: int | NDArray[np.int64]) -> NDArray[np.int64]:
    """Subset of patch positions as ``position`` sees it: bit ``dy * columns + dx`` for offset (dy, dx) on the torus."""
    out = np.zeros_like(np.asarray(subset, dtype=np.int64))
    for source, target in enumerate(_moved(shape, position)):
        out |= (np.asarray(subset, dtype=np.int64) >> source & 1) << target
    return out


def subset_visible(shape: tuple[int, int], subset: int, radius: int) -> NDArray[np.bool_]:
    """Window of a latent that sees a relative subset: bool (1, k, k) as in :class:`tadan.schedule.Cell`."""
    offsets = np.arange(-radius, radius + 1)
    bits = offsets[:, None] % shape[0] * shape[1] + offsets % shape[1]
    return ((subset >> bits & 1) != 0)[None]


# --- dynamic programming ----------------------------------------------------------------------------------------------


def best_schedules(costs: PatchCosts) -> tuple[Best, ...]:
    """Schedules of least cost with exactly K stages, for every K from 1 to the number of positions; exact.

    Ties go to the smaller set decoded before. 4x4 takes two seconds.
    """
    shape, positions = costs.shape, _positions(costs.shape)
    full = 2**positions - 1
    canonical, shift = _canonical(shape)
    kinds, kind = np.unique(canonical, return_inverse=True)  # few enough for the table to stay in the cache
    least = np.full((len(kinds), positions + 1), np.inf)  # by kind of set and number of stages
    least[kind[0], 0] = 0.0
    before: dict[int, NDArray[np.int64]] = {}  # what to decode first, by number of stages
    cost = np.zeros((positions, full + 1))  # c(p | B), 0 where p is in B
    everything = np.arange(full + 1)
    for position in range(positions):
        free = everything >> position & 1 == 0
        cost[position, free] = costs.of(position, everything[free])
    for subset in sorted(kinds.tolist()[1:], key=int.bit_count):
        members = [position for position in range(positions) if subset >> position & 1]
        earlier = np.zeros(1, np.int64)
        for position in members:
            earlier = np.concatenate([earlier, earlier | 1 << position])
        earlier = earlier[:-1]  # proper subsets only
        last = sum(cost[member, earlier] for member in members)
        size = len(members)
        total = least[kind[earlier], :size] + np.asarray(last)[:, None]
        choice = total.argmin(0)
        least[kind[subset], 1 : size + 1] = total[choice, np.arange(size)]
        before[subset] = earlier[choice]
    found = []
    for count in range(1, positions + 1):
        stages = np.zeros(positions, np.int64)
        subset = full
        for stage in range(count - 1, -1, -1):
            # The stored choice is that of the canonical set; move it to where the actual set stands.
            inner = before[int(canonical[subset])][stage]
            rest = int(relative_subset(shape, int(shift[subset]), inner))
            for position in range(positions):
                if (subset & ~rest) >> position & 1:
                    stages[position] = stage
            subset = rest
        bits = float(least[kind[full], count]) / positions
        found.append(Best(count, PatternSchedule(_normalised(stages.reshape(shape))), bits))
    return tuple(found)


@lru_cache(maxsize=4)
def _canonical(shape: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For every subset the smallest of its translations, and the position whose move to the origin undoes that."""
    positions = _positions(shape)
    subsets = np.arange(2**positions)
    canonical, shift = subsets.copy(), np.zeros_like(subsets)
    for position in range(1, positions):
        moved = relative_subset(shape, position, subsets)
        inverse = int(_moved(shape, position)[0])  # moving this one to the origin moves everything back
        shift[moved < canonical] = inverse
        canonical = np.minimum(canonical, moved)
    return canonical, shift


def _normalised(stages: NDArray[np.int64]) -> NDArray[np.int64]:
    row, col = np.argwhere(stages == 0)[0]
    return np.roll(stages, (-int(row), -int(col)), axis=(0, 1))


# --- measuring --------------------------------------------------------------------------------------------------------


def _features(shape: tuple[int, int], subsets: NDArray[np.int64]) -> Floats:
    single = (subsets[:, None] >> np.arange(1, _positions(shape)) & 1).astype(np.float64)
    columns = range(single.shape[1])
    products = [single[:, list(chosen)].prod(1) for size in (2, 3) for chosen in combinations(columns, size)]
    return np.column_stack([np.ones(len(subsets)), single, *products])


def _regress(shape: tuple[int, int], subsets: NDArray[np.int64], bits: Floats) -> Callable[[NDArray[np.int64]], Floats]:
    features, mean = _features(shape, subsets), float(bits.mean())
    penalty = np.full(features.shape[1], 1e-3 * len(subsets))
    penalty[: _positions(shape)] = 1e-6  # constant and single positions
    weights = np.linalg.solve(features.T @ features + np.diag(penalty), features.T @ (bits - mean))
    return lambda wanted: _features(shape, wanted) @ weights + mean


def least_budget(shape: tuple[int, int]) -> int:
    """Smallest budget of :func:`search`: twice the terms of the regression, or all subsets where these are fewer."""
    return min(2 * _features(shape, np.zeros(1, np.int64)).shape[1], 2 ** (_positions(shape) - 1))


def search(
    shape: tuple[int, int],
    measure: Measure,
    budget: int = 2**15,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Search:
    """Measure c and find the best schedule for every number of stages.

    Args:
        shape: rows and columns of the patch.
        measure: mean bits of a latent for each of some relative subsets.
        budget: relative subsets to measure before the first search; with fewer than all, the rest is predicted and
            the schedules that are found are checked by measuring, a few dozen more.
        seed: of the choice of subsets.
        progress: called with the number measured so far and the number expected.

    Raises:
        InvalidInput: the patch has more than 16 positions, or the budget is too small for the regression.
    """
    positions = _positions(shape)
    every = np.arange(0, 2**positions, 2)
    complete = budget >= len(every)
    if budget < least_budget(shape):
        raise InvalidInput(
            f"a patch of {shape} needs a budget of at least {least_budget(shape)} measured subsets, not {budget}"
        )
    first = every if complete else _sample(every, budget, np.random.default_rng(seed))
    measured: dict[int, float] = {}

    def take(subsets: Sequence[int]) -> None:
        total = len(measured) + len(subsets)
        for start in range(0, len(subsets), 32):
            part = [int(one) for one in subsets[start : start + 32]]
            measured.update(zip(part, measure(part).tolist(), strict=True))
            progress(len(measured), total)

    take(first.tolist())
    error, r2 = (0.0, 1.0) if complete else _validate(shape, measured)
    while True:
        costs = PatchCosts(shape, _completed(shape, measured))
        best = best_schedules(costs)
        unknown = sorted(
            {one for found in best for one in used_subsets(shape, found.schedule.pattern[0])} - measured.keys()
        )
        if not unknown:
            return Search(costs, best, len(measured), len(every), error, r2)
        take(unknown)


def _sample(every: NDArray[np.int64], budget: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Random subsets, each number of visible positions about equally often: orders meet every number once."""
    size = np.array([int(one).bit_count() for one in every.tolist()])
    chance = 1.0 / np.bincount(size)[size]
    return np.sort(rng.choice(every, budget, replace=False, p=chance / chance.sum()))


def used_subsets(shape: tuple[int, int], pattern: NDArray[np.int64]) -> dict[int, float]:
    """Relative subsets that the latents of a pattern see, and the share of latents that sees each.

    Args:
        shape: rows and columns of the patch.
        pattern: stages, (rows, columns) that divide those of the patch.

    Raises:
        InvalidInput: the pattern does not fit.
    """
    stages = np.asarray(pattern, dtype=np.int64)
    if stages.ndim != 2 or any(size % part for size, part in zip(shape, stages.shape, strict=True)):
        raise InvalidInput(f"a pattern of shape {stages.shape} does not tile a patch of {shape}")
    stages = np.tile(stages, (shape[0] // stages.shape[0], shape[1] // stages.shape[1])).ravel()
    shares: dict[int, float] = {}
    for position, stage in enumerate(stages):
        decoded = int(np.bitwise_or.reduce(1 << np.flatnonzero(stages < stage), initial=0))
        subset = int(relative_subset(shape, position, decoded))
        shares[subset] = shares.get(subset, 0.0) + 1 / len(stages)
    return shares


def _completed(shape: tuple[int, int], measured: Mapping[int, float]) -> Floats:
    bits = np.zeros(2 ** _positions(shape))
    subsets, values = _columns(measured)
    if len(measured) < len(bits) // 2:
        every = np.arange(0, len(bits), 2)
        bits[every] = _regress(shape, subsets, values)(every)
    bits[subsets] = values
    return bits


def _validate(shape: tuple[int, int], measured: Mapping[int, float]) -> tuple[float, float]:
    """Error of the regression on every fifth measured subset when fitted to the others."""
    subsets, values = _columns(measured)
    apart = np.arange(len(subsets)) % 5 == 0
    guess = _regress(shape, subsets[~apart], values[~apart])(subsets[apart])
    error = float(np.mean((guess - values[apart]) ** 2))
    variance = float(np.var(values[apart]))
    return error**0.5, 1 - error / variance if variance else 1.0


def _columns(measured: Mapping[int, float]) -> tuple[NDArray[np.int64], Floats]:
    subsets = np.array(sorted(measured), dtype=np.int64)
    return subsets, np.array([measured[int(one)] for one in subsets])
