"""Results of a study as one JSON-able value, and the numbers that follow from it. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from tadan.errors import InvalidInput, UnreadableInput
from tadan.files import read_bytes
from tadan.models.macs import anchor_share
from tadan.schedule import PatternSchedule, Schedule, parse_schedule
from tadan_lab.measure.bdrate import percent_more

REFERENCE = "raster"  # autoregressive: raster and wavefront see the same


def collect(folder: Path) -> dict[str, Any]:
    """Gather the files of a finished study; rates per picture are kept, stages are averaged over pictures.

    Raises:
        UnreadableInput: a piece is missing; run the study to its end.
    """
    general = _read(folder / "any.json")
    special = [_read(path) for path in sorted((folder / "special").glob("*-s*.json"))]
    if not special:
        raise UnreadableInput(f"{folder} holds no specialised networks yet; run tadan lab study to its end first")
    return {
        "settings": _read(folder / "settings.json"),
        "pictures": general["pictures"],
        "parameters": general["parameters"],
        "any": {name: _rates(one) for name, one in general["schedules"].items()},
        "specialised": [{key: one[key] for key in ("name", "seed", "parameters")} | _rates(one) for one in special],
        "orders": _read(folder / "orders.json"),
        "groups": collect_groups(folder),
        "codec": _read(folder / "codec.json"),
        "speed": {path.stem.removeprefix("speed-"): _read(path) for path in sorted(folder.glob("speed-*.json"))},
    }


def _read(path: Path) -> Any:
    return json.loads(read_bytes(path))


def _rates(one: dict[str, Any]) -> dict[str, Any]:
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in one["rows"]:
        rows.setdefault(str(row["quality"]), []).append(row)
    return {
        "schedule": one["schedule"],
        "bpp": {quality: [round(row["bpp"], 6) for row in part] for quality, part in rows.items()},
        "stages": {
            quality: [round(fmean(stage), 6) for stage in zip(*(row["stages"] for row in part), strict=True)]
            for quality, part in rows.items()
        },
    }


def collect_groups(folder: Path) -> dict[str, Any]:
    """What entropy models of a study were measured to gain and cost, by the number of their channel groups."""
    files = sorted((folder / "groups").glob("[0-9]*.json"))
    if not files:
        return {}
    found, times = {path.stem: _grouped(_read(path)) for path in files}, _read(folder / "groups" / "times.json")
    for count, one in found.items():
        one["timed"] = times["picture"]
        for name, row in one["schedules"].items():
            row["ms"] = times["ms"][name][count]
    return found


def groups_bd(groups: dict[str, Any], count: int) -> float:
    """BD-rate in percent, by PSNR, of the streams of ``count`` channel groups against those of the fewest.

    Args:
        groups: as of :func:`collect_groups`.
        count: one of its numbers.
    """
    ours, theirs = (groups[str(one)]["coded"] for one in (count, min(map(int, groups))))
    (our_bpp, our_psnr), (bpp, level) = ([list(one[key].values()) for key in ("bpp", "psnr")] for one in (ours, theirs))
    return percent_more((bpp, level), (our_bpp, our_psnr))


def _grouped(one: dict[str, Any]) -> dict[str, Any]:
    """A model of other channel groups with mean rates by quality in place of those of every picture."""
    schedules = {}
    for name, row in one["schedules"].items():
        rates: dict[str, list[float]] = {}
        for rate in row["rows"]:
            rates.setdefault(str(rate["quality"]), []).append(rate["bpp"])
        means = {quality: round(fmean(values), 6) for quality, values in rates.items()}
        schedules[name] = {"bpp": means, **{key: value for key, value in row.items() if key != "rows"}}
    return {**one, "schedules": schedules}


class Results:
    """Questions to ask of a study.

    Args:
        content: what :func:`collect` gave, or the committed JSON.
    """

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content
        self.qualities: list[str] = sorted(content["pictures"], key=int)
        self.psnr = [content["pictures"][quality]["psnr"] for quality in self.qualities]
        self._special: dict[str, dict[int, dict[str, Any]]] = {}
        for one in content["specialised"]:
            self._special.setdefault(one["name"], {})[one["seed"]] = one

    @property
    def names(self) -> list[str]:
        """Schedules with a specialised network, in the order of the any-schedule results."""
        return [name for name in self.content["any"] if name in self._special]

    def seeds(self, name: str) -> list[int]:
        """Seeds that a schedule was trained with."""
        return sorted(self._special.get(name, {}))

    def special(self, name: str, seed: int) -> list[float]:
        """Mean bpp at each quality of one specialised network."""
        return self._means(self._special[name][seed])

    def special_mean(self, name: str) -> list[float]:
        """Mean bpp at each quality over the seeds of a schedule."""
        return [fmean(column) for column in zip(*(self.special(name, seed) for seed in self.seeds(name)), strict=True)]

    def general(self, name: str) -> list[float]:
        """Mean bpp at each quality of the any-schedule network."""
        return self._means(self.content["any"][name])

    def _means(self, one: dict[str, Any]) -> list[float]:
        return [fmean(one["bpp"][quality]) for quality in self.qualities]

    def parameters(self, name: str) -> int:
        """Weights behind z_hat of the specialised network of a schedule."""
        return int(next(iter(self._special[name].values()))["parameters"])

    def stages(self, name: str, general: bool = False) -> dict[str, list[float]]:
        """Bits per latent of every stage, by quality; of the first seed's specialised network or of the general one."""
        one = self.content["any"][name] if general else self._special[name][self.seeds(name)[0]]
        stages: dict[str, list[float]] = one["stages"]
        return stages

    def schedule(self, name: str) -> Schedule:
        """Schedule of a name of the study."""
        return parse_schedule(self.content["any"][name]["schedule"])

    def stage_count(self, name: str) -> int | None:
        """Number of stages of a pattern; None for scans, where it depends on the picture."""
        schedule = self.schedule(name)
        return int(schedule.pattern.max()) + 1 if isinstance(schedule, PatternSchedule) else None

    def anchors(self, name: str) -> float:
        """Share of latents that see no neighbour."""
        return anchor_share(self.schedule(name))

    def bd_rate(self, test: Sequence[float], anchor: Sequence[float]) -> float:
        """BD-rate in percent over the qualities of the study, piecewise cubic; PSNR is the same by construction.

        Raises:
            InvalidInput: the package bjontegaard is missing, or there are fewer than two qualities.
        """
        if len(self.psnr) < 2:
            raise InvalidInput("a BD-rate needs at least two qualities; name more with --qualities")
        return percent_more((list(anchor), self.psnr), (list(test), self.psnr))

    def special_bd(self, name: str, anchor: str = REFERENCE) -> tuple[float, float]:
        """BD-rate of specialised networks against those of another schedule: mean, and half the range over seeds.

        Runs of one seed saw the same latents in the same order and are compared with each other where both exist.
        """
        values = [
            self.bd_rate(self.special(name, seed), self.special(anchor, seed))
            for seed in self.seeds(name)
            if seed in self.seeds(anchor)
        ]
        return fmean(values), (max(values) - min(values)) / 2

    def general_bd(self, name: str) -> float:
        """BD-rate of the any-schedule network under a schedule against autoregressive specialised networks."""
        return self.bd_rate(self.general(name), self.special_mean(REFERENCE))

    def price_of_generality(self, name: str) -> float:
        """BD-rate of the any-schedule network against the specialised networks of the same schedule."""
        return self.bd_rate(self.general(name), self.special_mean(name))

    @property
    def groupings(self) -> list[int]:
        """Numbers of channel groups of the entropy models that were compared, descending; none in older studies."""
        return sorted(map(int, self.content.get("groups", {})), reverse=True)

    def grouped(self, count: int, schedule: str) -> dict[str, Any]:
        """What was measured of the entropy model of ``count`` channel groups under a schedule."""
        row: dict[str, Any] = self.content["groups"][str(count)]["schedules"][schedule]
        return row

    def grouped_bd(self, count: int, schedule: str) -> float:
        """BD-rate of an entropy model against that of the fewest groups, under the same schedule."""
        ours, theirs = (self.grouped(one, schedule)["bpp"] for one in (count, self.groupings[-1]))
        return self.bd_rate(*([one[quality] for quality in self.qualities] for one in (ours, theirs)))

    def coded_bd(self, name: str, anchor: str) -> float:
        """BD-rate in percent of whole files of the installed codec under one schedule against another."""
        ours, theirs = (self.content["codec"]["schedules"][one] for one in (name, anchor))
        return percent_more((theirs["bpp"], theirs["psnr"]), (ours["bpp"], ours["psnr"]))

    def excess(self, name: str) -> list[float]:
        """Percent by which each stage of a specialised network exceeds the autoregressive bits per latent.

        Mean over qualities. Weighted by the share of latents that each stage decodes (:meth:`shares`), the sum is
        what the schedule loses on y.
        """
        stages, reference = self.stages(name), self.stages(REFERENCE)
        ratios = ([stage / reference[quality][0] for stage in stages[quality]] for quality in self.qualities)
        return [100 * (fmean(column) - 1) for column in zip(*ratios, strict=True)]

    def shares(self, name: str) -> list[float]:
        """Share of latents that each stage of a pattern decodes; one stage for scans."""
        schedule = self.schedule(name)
        if not isinstance(schedule, PatternSchedule):
            return [1.0]
        counts = [int((schedule.pattern == stage).sum()) for stage in range(int(schedule.pattern.max()) + 1)]
        return [count / schedule.pattern.size for count in counts]
