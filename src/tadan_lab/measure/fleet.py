"""What many machines would do with a batch: a simulation by events, from rates that were measured on one.

Every core takes a block of pictures from one queue, and another one when it is done. A picture takes as long as the
longer of its encoding and its reading, as workers read one ahead. Readers share the bandwidth of the source, and that
of their machine. Machines differ in speed, some are stragglers, and all of them die now and then: what their cores had
in work goes back to the queue, and pictures of it that were written already take the time of reading alone.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tadan.errors import InvalidInput

_BEGIN, _DONE, _DIE = 0, 1, 2
_MOST_BLOCKS = 400_000  # events that a simulation should stay below; blocks are made larger for that


@dataclass(frozen=True)
class Work:
    """Pictures as they were measured, one entry each; larger batches draw from them.

    Attributes:
        seconds: of a core to encode and write.
        sizes: bytes of the source.
        begin: seconds until a machine's workers are ready.
    """

    seconds: Sequence[float]
    sizes: Sequence[int]
    begin: float = 1.0


@dataclass(frozen=True)
class Fleet:
    """Machines and their world.

    Attributes:
        machines: of them.
        cores: of each, with a worker each.
        source_bandwidth: bytes a second that the source gives to all together.
        machine_bandwidth: bytes a second that a machine can take.
        stragglers: share of the machines that are slow.
        slowdown: of these.
        spread: standard deviation of the logarithm of the speed of machines.
        hours_between_deaths: of one machine, on average.
        replaced_after: seconds until another machine is in its place.
        block: pictures that a core takes at a time.
    """

    machines: int
    cores: int = 16
    source_bandwidth: float = math.inf
    machine_bandwidth: float = math.inf
    stragglers: float = 0.0
    slowdown: float = 3.0
    spread: float = 0.0
    hours_between_deaths: float = math.inf
    replaced_after: float = 120.0
    block: int = 8


@dataclass(frozen=True)
class Forecast:
    """What came of a simulation.

    Attributes:
        machines: as given.
        seconds: until the last picture is done.
        machine_hours: paid until then.
        efficiency: share of the time of all cores that encoded pictures which were needed.
        waiting: share that waited for the source.
        repeated: share that was lost with machines.
        tail: seconds from the moment that nothing was left to begin.
        deaths: of machines.
    """

    machines: int
    seconds: float
    machine_hours: float
    efficiency: float
    waiting: float
    repeated: float
    tail: float
    deaths: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)


class _Simulation:
    def __init__(self, work: Work, fleet: Fleet, pictures: int, seed: int) -> None:
        self.work, self.fleet, self.dice = work, fleet, random.Random(seed)
        self.block = max(fleet.block, math.ceil(pictures / _MOST_BLOCKS))
        self.fresh, self.lost = pictures, deque[tuple[int, ...]]()  # pictures not begun; blocks that come again
        self.events: list[tuple[float, int, int, int, int]] = []  # time, order, kind, machine, core
        self.order = 0
        self.slow = [self._slowness(at) for at in range(fleet.machines)]
        self.life = [0] * fleet.machines  # how often a machine was replaced; events of earlier lives are void
        self.has: dict[tuple[int, int], tuple[float, float, tuple[int, ...], int]] = {}
        self.useful = self.waited = self.wasted = 0.0
        self.deaths, self.left, self.last_begin, self.now = 0, pictures, 0.0, 0.0
        self.idle: set[tuple[int, int]] = set()

    def _slowness(self, at: int) -> float:
        slow = math.exp(self.dice.gauss(0.0, self.fleet.spread)) if self.fleet.spread else 1.0
        straggles = at < round(self.fleet.stragglers * self.fleet.machines)
        return slow * (self.fleet.slowdown if straggles else 1.0)

    def push(self, time: float, kind: int, machine: int, core: int = 0) -> None:
        self.order += 1
        code = self.life[machine] * 4 + kind
        heapq.heappush(self.events, (time, self.order, code, machine, core))

    def begin_machine(self, machine: int, time: float) -> None:
        for core in range(self.fleet.cores):
            self.push(time + self.work.begin, _BEGIN, machine, core)
        if math.isfinite(self.fleet.hours_between_deaths):
            self.push(time + self.dice.expovariate(1 / (3600 * self.fleet.hours_between_deaths)), _DIE, machine)

    def take(self, machine: int, core: int) -> None:
        """Give a core its next block."""
        known = 0
        if self.lost:
            *pictures, known = self.lost.popleft()
            block = tuple(pictures)
        elif self.fresh:
            count = min(self.block, self.fresh)
            self.fresh -= count
            block = tuple(self.dice.randrange(len(self.work.seconds)) for _ in range(count))
        else:
            self.idle.add((machine, core))
            return
        self.last_begin = self.now
        fleet, busy = self.fleet, len(self.has) + 1
        rate = min(fleet.source_bandwidth / busy, fleet.machine_bandwidth / fleet.cores)
        encoding, whole = 0.0, 0.0
        for at, picture in enumerate(block):
            reading = self.work.sizes[picture] / rate
            seconds = 0.0 if at < known else self.work.seconds[picture] * self.slow[machine]
            encoding += seconds
            whole += max(seconds, reading)
        self.has[machine, core] = self.now, encoding, block, known
        self.waited += whole - encoding
        self.push(self.now + whole, _DONE, machine, core)

    def die(self, machine: int) -> None:
        self.deaths += 1
        self.life[machine] += 1
        for core in range(self.fleet.cores):
            self.idle.discard((machine, core))
            had = self.has.pop((machine, core), None)
            if had is None:
                continue
            begun, _, block, known = had
            done, spent = known, self.now - begun
            for picture in block[known:]:
                seconds = self.work.seconds[picture] * self.slow[machine]
                if spent < seconds:
                    break
                spent, done = spent - seconds, done + 1
                self.useful += seconds
            self.wasted += max(0.0, spent)
            self.lost.append((*block, done))
        self.begin_machine(machine, self.now + self.fleet.replaced_after)
        for waiting in [*self.idle][: len(self.lost)]:
            self.idle.remove(waiting)
            self.take(*waiting)

    def run(self) -> float:
        for machine in range(self.fleet.machines):
            self.begin_machine(machine, 0.0)
        while self.left:
            self.now, _, code, machine, core = heapq.heappop(self.events)
            life, kind = divmod(code, 4)
            if life != self.life[machine]:
                continue
            if kind == _DIE:
                self.die(machine)
                continue
            if kind == _DONE:
                _, encoding, block, _ = self.has.pop((machine, core))
                self.useful += encoding
                self.left -= len(block)
            self.take(machine, core)
        return self.now


def simulate(work: Work, fleet: Fleet, pictures: int, seed: int = 1) -> Forecast:
    """Have a fleet encode so many pictures.

    Raises:
        InvalidInput: nothing was measured, or there is nothing to do.
    """
    if not work.seconds or pictures < 1:
        raise InvalidInput("a simulation needs measured pictures, and at least one to encode")
    one = _Simulation(work, fleet, pictures, seed)
    seconds = one.run()
    total = seconds * fleet.machines * fleet.cores
    shares = one.useful / total, one.waited / total, one.wasted / total
    hours = seconds * fleet.machines / 3600
    return Forecast(fleet.machines, seconds, hours, *shares, seconds - one.last_begin, one.deaths)
