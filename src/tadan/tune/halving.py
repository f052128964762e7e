"""Successive halving: many candidates on few pictures, few on many (Jamieson and Talwalkar, AISTATS 2016).

Costs of a picture are compared with those of a reference on the same picture, so differences between pictures do not
count as differences between candidates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Candidate = TypeVar("Candidate", bound=Hashable)


@dataclass(frozen=True)
class Round:
    """What one round works on.

    Attributes:
        candidates: how many are left at its beginning.
        first: number of the first picture that is new in it.
        last: number after the last one.
    """

    candidates: int
    first: int
    last: int


def rounds(candidates: int, pictures: int, keep: float = 0.5) -> list[Round]:
    """Rounds until one candidate is left or all pictures are used; pictures grow as candidates fall.

    In the last round of several all pictures are used, so the winners are compared on the whole sample.
    """
    if candidates < 1 or pictures < 1:
        return []
    count = max(1, math.ceil(math.log(candidates) / math.log(1 / keep))) if candidates > 1 else 1
    plan, left, seen = [], candidates, 0
    for number in range(count):
        until = max(seen, math.ceil(pictures * keep ** (count - 1 - number)))
        plan.append(Round(left, seen, until))
        left, seen = max(2 if candidates > 1 else 1, math.ceil(left * keep)), until
    return plan


@dataclass(frozen=True)
class Race(Generic[Candidate]):
    """Result of :func:`successive_halving`.

    Attributes:
        order: candidates, the best first: by the round in which they left, then by cost.
        costs: of each candidate the mean over the pictures that it was tried on.
        tried: on how many.
    """

    order: list[Candidate]
    costs: dict[Candidate, float]
    tried: dict[Candidate, int]

    @property
    def best(self) -> Candidate:
        """The winner."""
        return self.order[0]


def successive_halving(
    candidates: Sequence[Candidate],
    pictures: int,
    cost: Callable[[Candidate, int], float],
    rank: Callable[[Candidate, float], float] = lambda candidate, cost: cost,
    keep: float = 0.5,
) -> Race[Candidate]:
    """Find the candidate of least rank.

    Args:
        candidates: distinct ones.
        pictures: how many there are.
        cost: of a candidate on a picture; asked at most once for each pair.
        rank: what is made small, from a candidate and its mean cost; infinite for what may not win. Of equals the one
            that comes first in ``candidates`` wins.
        keep: share of the candidates that stays after a round.
    """
    left = list(dict.fromkeys(candidates))
    totals: dict[Candidate, float] = dict.fromkeys(left, 0.0)
    tried: dict[Candidate, int] = dict.fromkeys(left, 0)
    gone: list[Candidate] = []

    def ranked(those: Sequence[Candidate]) -> list[Candidate]:
        return sorted(those, key=lambda one: rank(one, totals[one] / tried[one]))

    plan = rounds(len(left), pictures, keep)
    for number, one_round in enumerate(plan):
        for candidate in left:
            for picture in range(one_round.first, one_round.last):
                totals[candidate] += cost(candidate, picture)
                tried[candidate] += 1
        left = ranked(left)
        if number + 1 < len(plan):
            stay = plan[number + 1].candidates
            gone, left = left[stay:] + gone, left[:stay]
    order = left + gone
    return Race(order, {one: totals[one] / tried[one] for one in order if tried[one]}, tried)
