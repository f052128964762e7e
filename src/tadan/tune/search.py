"""The search: settings that a machine can afford, raced for bytes on the user's pictures, and the one to take.

Bounds of time and memory are checked by the cost model, before anything is coded. Bytes come from real files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tadan.errors import TargetMissed
from tadan.models import load_model
from tadan.tune.album import Album
from tadan.tune.halving import Race, rounds, successive_halving
from tadan.tune.machine import MachineProfile
from tadan.tune.plan import Figures, Planner, loads_of
from tadan.tune.predict import CostModel
from tadan.tune.rates import Rates
from tadan.tune.setting import EFFORTS, SCHEDULES, TILES, Deployment, Setting, grid
from tadan.tune.target import Tuning

PART_PIXELS = (393_216, 262_144, 196_608, 131_072, 98_304, 65_536)  # of a picture, whatever time allows
_TILED = 3  # pictures on which tile sizes are compared
_TILE_PIXELS = 2**22
_TIE = 0.0005  # of the logarithm of bytes: less is no difference
_DOUBT = 0.02  # by which the whole sample may differ from the pictures that a setting was tried on
_METRIC_SECONDS = {"error": 0.08, "psnr": 0.02, "score": 2.5}  # a megapixel; only the estimate depends on it
_TYPICAL_BPP = 0.6


@dataclass(frozen=True)
class Space:
    """What is searched.

    Attributes:
        schedules: names or patterns.
        efforts: 0..9.
        tiles: sizes, where pictures are large enough for them to differ.
        models: names or files; None is the bundled one.
    """

    schedules: Sequence[str] = SCHEDULES
    efforts: Sequence[int] = EFFORTS
    tiles: Sequence[int | None] = TILES
    models: Sequence[str | None] = (None,)


@dataclass(frozen=True)
class Entry:
    """A setting with what is known of it.

    Attributes:
        setting: with its tiles.
        way: how the machine would work with it.
        figures: predicted.
        log_ratio: logarithm of bytes over those of the reference, for equal quality.
        pictures: of the sample on which that rests.
        meets: whether the bounds of time and memory hold.
    """

    setting: Setting
    way: Deployment
    figures: Figures
    log_ratio: float
    pictures: int
    meets: bool


@dataclass(frozen=True)
class Tuned:
    """Result.

    Attributes:
        tuning: what was asked for.
        chosen: the setting that is best.
        entries: all that were tried, the front among them.
        bpp: bits a pixel of the sample with the chosen one.
        value: mean of the metric with it.
        lowest: of the metric on the sample.
        stored: share of the sample that is stored in another format.
        part_pixels: of each picture that was coded.
    """

    tuning: Tuning
    chosen: Entry
    entries: list[Entry]
    bpp: float
    value: float
    lowest: float
    stored: float
    part_pixels: int


@dataclass
class Tuner:
    """Finds the setting for an album.

    Attributes:
        album: the pictures.
        tuning: what is asked for.
        machine: planned for.
        here: this machine, for how long the search takes.
        space: what is searched.
        quality: where the target has no floor.
        say: told what is done next.
    """

    album: Album
    tuning: Tuning
    machine: MachineProfile
    here: MachineProfile
    space: Space = Space()
    quality: int = 60
    say: Callable[[str], None] = lambda what: None
    _tile_ratio: dict[int | None, float] = field(default_factory=lambda: {None: 0.0})

    @property
    def metric(self) -> str:
        """That the rates are compared by."""
        return "error" if self.tuning.floor is None else self.tuning.floor[0]

    def estimate(self, pixels: int) -> float:
        """Seconds that the search takes at most with parts of so many pixels, by the profile of this machine."""
        costs = {model: CostModel(self.here, load_model(model).config) for model in self.space.models}
        side = max(64, int(math.sqrt(pixels)) // 16 * 16)
        areas = [min(pixels, one.size[0] * one.size[1]) / (side * side) for one in self.album.sample]
        share, cores = float(np.mean(areas)), self.here.cores

        def seconds(setting: Setting, size: tuple[int, int] = (side, side)) -> float:
            cost, bits = costs[setting.model], _TYPICAL_BPP * size[0] * size[1]
            metric = _METRIC_SECONDS[self.metric] * size[0] * size[1] / 1e6
            return cost.encode(setting, size, bits, cores) + cost.decode(setting, size, bits, cores) + metric

        each = sorted((share * seconds(one) for one in self._bases(self.quality)), reverse=True)
        count = len(self.album.sample)
        total = sum(sum(each[: one.candidates]) * (one.last - one.first) for one in rounds(len(each), count))
        reference = share * seconds(Setting(self.quality, effort=0, model=self.space.models[0]))
        total += count * reference * (9 if self.tuning.floor else 3)
        for tile in self._tiles():
            tiled = Setting(effort=0, tile=tile, model=self.space.models[0])
            total += sum(seconds(tiled, self._tiled_size(one)) for one in self._tiled())
        return total

    def part_pixels(self, seconds: float) -> int:
        """The largest parts for which the search takes at most so long; the smallest there are if none does."""
        return next((one for one in PART_PIXELS if self.estimate(one) <= seconds), PART_PIXELS[-1])

    def run(self, rates: Rates) -> Tuned:
        """Search.

        Raises:
            TargetMissed: no setting meets the bounds; the message says what comes nearest.
        """
        quality, floor = self.quality, self.tuning.floor
        if floor is not None:
            self.say(f"the quality for {floor[0]} {floor[1]:g}")
            found = rates.quality_for(floor[1], rates.reference(quality))
            if found is None:
                best = rates.mean_value(rates.reference(100))
                raise TargetMissed(f"no quality reaches {floor[0]} {floor[1]:g}; the best has {best:.2f}: ask for less")
            quality = found
        self.say("pictures as work")
        loads = loads_of(rates, quality, self.here, self.machine)
        planner = Planner(self.machine, loads, self.album.largest, self.tuning.memory)
        self.say("tile sizes")
        self._measure_tiles(rates, quality)
        bases = self._bases(quality)
        options = {base: self._options(planner, base) for base in bases}
        afford = [base for base in bases if options[base]]
        if not afford:
            raise self._missed(planner, bases)
        self.say("rates")
        race = self._race(rates, afford, options)
        chosen = self._choose(rates, race, options)
        if floor is not None:
            chosen = self._at_floor(rates, planner, chosen, floor[1])
        return self._result(rates, planner, chosen, race, options)

    def everything(self, planner: Planner, quality: int) -> list[Entry]:
        """Every setting that the machine can afford: what an exhaustive search would try, after :meth:`run`.

        ``log_ratio`` is that of the tiles alone.
        """
        return [entry for base in self._bases(quality) for entry in self._options(planner, base)]

    def _bases(self, quality: int) -> list[Setting]:
        return grid(quality, self.space.schedules, self.space.efforts, (None,), self.space.models)

    def _options(self, planner: Planner, base: Setting) -> list[Entry]:
        """What the machine can afford of a setting, by tiles, the best for the goal first; its bytes are not known."""
        entries = []
        for tile, ratio in self._tile_ratio.items():
            setting = replace(base, tile=tile)
            for way, figures in planner.ways(setting, self.tuning)[:1]:
                entries.append(Entry(setting, way, figures, ratio, 0, True))
        speed = self.tuning.goal != "bytes"
        return sorted(entries, key=lambda one: -one.figures.goal(self.tuning) if speed else one.log_ratio)

    def _race(
        self, rates: Rates, afford: Sequence[Setting], options: Mapping[Setting, Sequence[Entry]]
    ) -> Race[Setting]:
        if self.tuning.goal != "bytes" and self.tuning.excess == math.inf:  # bytes play no part: measure the fastest
            fastest = sorted(afford, key=lambda one: -options[one][0].figures.goal(self.tuning))
            return successive_halving(fastest[:2], len(self.album.sample), rates.log_ratio)

        def rank(base: Setting, cost: float) -> float:
            return round((cost + min(one.log_ratio for one in options[base])) / _TIE) * _TIE

        ordered = sorted(afford, key=lambda one: -options[one][0].figures.speed)  # of equals the fastest
        return successive_halving(ordered, len(self.album.sample), rates.log_ratio, rank)

    def _choose(self, rates: Rates, race: Race[Setting], options: Mapping[Setting, Sequence[Entry]]) -> Entry:
        everything = len(self.album.sample)
        if self.tuning.goal == "bytes":
            best = min(options[race.best], key=lambda one: one.log_ratio)
            near = [one for one in options[race.best] if one.log_ratio <= best.log_ratio + _TIE]
            fastest = max(near, key=lambda one: one.figures.speed)
            return replace(fastest, log_ratio=fastest.log_ratio + race.costs[race.best], pictures=everything)
        known = [
            replace(one, log_ratio=one.log_ratio + cost) for base, cost in race.costs.items() for one in options[base]
        ]
        least = min(one.log_ratio for one in known if race.tried[replace(one.setting, tile=None)] == everything)
        limit = least + math.log1p(self.tuning.excess)
        known.sort(key=lambda one: (-one.figures.goal(self.tuning), one.log_ratio))
        for entry in known:
            if entry.log_ratio > limit + _DOUBT:
                continue
            base = replace(entry.setting, tile=None)
            mean = float(np.mean([rates.log_ratio(base, picture) for picture in range(everything)]))
            whole = mean + self._tile_ratio[entry.setting.tile]
            if whole <= limit + 1e-9:
                return replace(entry, log_ratio=whole, pictures=everything)
        return replace(min(known, key=lambda one: one.log_ratio), pictures=everything)

    def _at_floor(self, rates: Rates, planner: Planner, chosen: Entry, floor: float) -> Entry:
        """The chosen setting at its own least quality for the floor."""
        base, tile = replace(chosen.setting, tile=None), chosen.setting.tile
        quality = base.quality
        while quality < 100 and rates.mean_value(replace(base, quality=quality)) < floor:
            quality += 1
        while quality > 1 and rates.mean_value(replace(base, quality=quality - 1)) >= floor:
            quality -= 1
        setting = replace(base, quality=quality, tile=tile)
        return replace(chosen, setting=setting, figures=planner.figures(setting, chosen.way))

    def _result(
        self,
        rates: Rates,
        planner: Planner,
        chosen: Entry,
        race: Race[Setting],
        options: Mapping[Setting, Sequence[Entry]],
    ) -> Tuned:
        entries = []
        for base in self._bases(race.best.quality):
            if base not in race.costs:
                continue
            for tile, ratio in self._tile_ratio.items():
                setting = replace(base, tile=tile)
                figures = planner.figures(setting, chosen.way)
                cost = ratio + race.costs[base]
                entries.append(Entry(setting, chosen.way, figures, cost, race.tried[base], figures.meets(self.tuning)))
        base = replace(chosen.setting, tile=None)
        coded = [rates.coded(base, picture) for picture in range(len(self.album.sample))]
        values = [one.value for one in coded]
        return Tuned(
            self.tuning,
            chosen,
            entries,
            bpp=float(np.mean([8 * one.size / one.pixels for one in coded])),
            value=float(np.mean(values)),
            lowest=min(values),
            stored=float(np.mean([one.stored for one in coded])),
            part_pixels=rates.pixels,
        )

    def _missed(self, planner: Planner, bases: Sequence[Setting]) -> TargetMissed:
        """What comes nearest to bounds that nothing meets."""
        nearest = []
        for base in bases:
            for tile in self._tile_ratio:
                for way in (Deployment(1, 1), Deployment(1, self.machine.cores), Deployment(self.machine.cores, 1)):
                    figures = planner.figures(replace(base, tile=tile), way)
                    nearest.append((_excess(figures, self.tuning), figures))
        _, figures = min(nearest, key=lambda one: one[0])
        return TargetMissed(
            f"no setting meets {self.tuning}; the nearest encodes in {figures.encode:.3g} s and decodes in "
            f"{figures.decode:.3g} s (nine pictures in ten), {figures.speed:.3g} pictures a second, with "
            f"{figures.memory / 1e6:.0f} MB; ask for less, smaller pictures, or plan for another --machine"
        )

    def _tiled(self) -> list[int]:
        """Pictures of the sample on which tile sizes can be compared."""
        sizes = {number: one.size for number, one in enumerate(self.album.sample)}
        large = [number for number, size in sizes.items() if size[0] * size[1] > PART_PIXELS[0] * 4]
        return sorted(large, key=lambda number: -sizes[number][0] * sizes[number][1])[:_TILED]

    def _tiled_size(self, number: int) -> tuple[int, int]:
        width, height = self.album.sample[number].size
        scale = min(1.0, math.sqrt(_TILE_PIXELS / (width * height)))
        return max(64, int(width * scale)), max(64, int(height * scale))

    def _tiles(self) -> list[int | None]:
        return [tile for tile in self.space.tiles if tile is not None] if self._tiled() else []

    def _measure_tiles(self, rates: Rates, quality: int) -> None:
        """Change of bytes by tile sizes, at effort 0: the order of settings of one tile size does not depend on it."""
        reference = rates.reference(quality)
        for tile in self._tiles():
            ratios = [rates.log_ratio(replace(reference, tile=tile), one, _TILE_PIXELS) for one in self._tiled()]
            self._tile_ratio[tile] = float(np.mean(ratios))


def _excess(figures: Figures, tuning: Tuning) -> float:
    """By what factor the worst bound is missed."""
    factors = [figures.encode / tuning.encode, figures.decode / tuning.decode, figures.memory / tuning.memory]
    return max(*factors, tuning.speed / figures.speed)
