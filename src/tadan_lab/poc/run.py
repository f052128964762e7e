"""A run: sections in their order, each saved as soon as it is done, so that an interrupted run goes on where it was."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from tadan.errors import InvalidInput, TadanError, UnreadableInput
from tadan.files import make_folder, write_atomically
from tadan.machine import machine_facts
from tadan_lab.poc import census, latency, rate, recovery, scenarios, small_sections
from tadan_lab.poc.compare import FORMAT, compare, load_report
from tadan_lab.poc.ladder import climb
from tadan_lab.poc.money import Prices, measure_money
from tadan_lab.poc.plan import Plan, fingerprint
from tadan_lab.poc.subjects import Body, bodies
from tadan_lab.poc.verdict import judge, tally

JSON_NAME, HTML_NAME = "poc.json", "report.html"
#: (name of a section, steps that it takes) -> a function to call after each of them
Progress = Callable[[str, int], AbstractContextManager[Callable[[], None]]]


@dataclass
class Run:
    """One run over one folder.

    Attributes:
        folder: of the pictures.
        out: where the report goes.
        plan: what is measured.
        thresholds: by key figure; fixed when the report is begun.
        prices: for the section money.
        command: as it was typed.
        anew: forget what an earlier run left.
    """

    folder: Path
    out: Path
    plan: Plan
    thresholds: Mapping[str, float]
    prices: Prices
    command: str
    anew: bool = False

    def __post_init__(self) -> None:
        """Look at the folder, which is never cheap to get wrong later.

        Raises:
            UnreadableInput: the folder holds no picture, or none that can be measured.
        """
        sources = census.find_pictures(self.folder)
        self.facts, self.bad = census.take_census(sources)
        if not census.choose(self.facts, 1, self.plan.seed):
            named = "; ".join(f"{name}: {reason}" for name, reason in self.bad[:3])
            raise UnreadableInput(
                f"none of the {len(sources)} files in {self.folder} can be measured"
                f"{f' ({named})' if named else f'; pictures need {census.SMALLEST} pixels a side'}; name another folder"
            )
        files = [(str(one.relative), one.path.stat().st_size) for one in sources]
        self.pictures_hash = hashlib.sha256(json.dumps(sorted(files)).encode()).hexdigest()[:16]
        self.fingerprint = fingerprint(self.plan, files)
        self._sample: list[tuple[str, Image.Image]] | None = None
        self._bodies: list[Body] | None = None
        self.document = self._begun()

    def _begun(self) -> dict[str, Any]:
        """What an earlier run left, or a new report.

        Raises:
            InvalidInput: the earlier one had other settings, thresholds or pictures.
        """
        path = self.out / JSON_NAME
        new = {
            "format": FORMAT,
            "fingerprint": self.fingerprint,
            "pictures_hash": self.pictures_hash,
            "folder": self.folder.resolve().name,
            "begun": _now(),
            "plan": self.plan.to_dict(),
            "thresholds": dict(self.thresholds),
            "machine": machine_facts(),
            "commands": [],
            "sections": {},
            "runs": {},
        }
        if self.anew or not path.exists():
            return new
        old = load_report(path)
        other = [word for word in ("plan", "thresholds", "pictures_hash") if old.get(word) != new[word]]
        if other:
            words = {"plan": "settings", "thresholds": "thresholds", "pictures_hash": "pictures"}
            raise InvalidInput(
                f"the report in {self.out} was begun with other {words[other[0]]}{_difference(old, new, other[0])}; "
                "what was fixed before the run stays fixed: name another --out, or begin anew with --redo all"
            )
        return {**new, **old, "machine": new["machine"]}

    def sample(self) -> list[tuple[str, Image.Image]]:
        """The pictures that are timed, in memory; those that cannot be decoded are left out."""
        if self._sample is None:
            self._sample = []
            for one in census.choose(self.facts, self.plan.timed, self.plan.seed):
                with suppress(TadanError):
                    self._sample.append((one.name, census.cut(self.folder / one.name, self.plan.timed_megapixels)))
            if not self._sample:
                raise UnreadableInput(f"none of the pictures chosen from {self.folder} can be decoded; give others")
        return self._sample

    def bodies(self) -> list[Body]:
        """The same, encoded."""
        if self._bodies is None:
            self._bodies = bodies(self.plan, self.sample())
        return self._bodies

    def missing(self, sections: Sequence[str], redo: Sequence[str] = ()) -> list[str]:
        """Sections that are still to be run; money is cheap and always is, with the prices of today."""
        done = self.document["sections"]
        return [one for one in sections if one not in done or one in redo or one == "money"]

    def section(self, name: str, progress: Progress = lambda name, steps: nullcontext(lambda: None)) -> None:
        """Run a section and save the report."""
        begun, load = time.perf_counter(), _load()
        found = self._measured(name, progress)
        self.document["sections"][name] = found
        self.document.pop("compare", None)  # it spoke of other figures
        self.document["runs"][name] = {
            "at": _now(),
            "seconds": time.perf_counter() - begun,
            "load_before": load,
            "load_after": _load(),
        }
        if self.command not in self.document["commands"]:
            self.document["commands"].append(self.command)
        self.save()

    def _measured(self, name: str, progress: Progress) -> dict[str, Any]:
        plan, facts = self.plan, self.facts
        if name == "pictures":
            with progress(name, len(census.choose(facts, plan.sample, plan.seed))) as step:
                return census.measure_pictures(plan, self.folder, facts, self.bad, step)
        if name == "bytes":
            with progress(name, rate.steps(plan, facts)) as step:
                return rate.measure_bytes(plan, self.folder, facts, self.out, step)
        if name == "latency":
            with progress(name, latency.steps(plan, len(self.sample()))) as step:
                return latency.measure_latency(plan, self.sample(), step)
        if name == "scenarios":
            with progress(name, scenarios.steps()) as step:
                return scenarios.measure_scenarios(plan, self.bodies(), step)
        if name == "memory":
            with progress(name, small_sections.memory_steps(plan)) as step:
                return small_sections.measure_memory(plan, [self.folder / one for one, _ in self.sample()], step)
        if name == "recovery":
            with progress(name, recovery.steps(plan, len(self.bodies()))) as step:
                return recovery.measure_recovery(plan, self.bodies(), step)
        if name == "exactness":
            with progress(name, small_sections.exactness_steps()) as step:
                return small_sections.measure_exactness(plan, step)
        return measure_money(self.prices, self.document["sections"])

    def save(self) -> None:
        """Write ``poc.json``, with all that follows from the sections that are there."""
        document = self.document
        document["kpis"] = judge(document["sections"], self.thresholds)
        document["tally"] = tally(document["kpis"])
        document["ladder"] = climb(document["kpis"])
        make_folder(self.out)
        write_atomically(self.out / JSON_NAME, json.dumps(document, indent=1).encode() + b"\n")

    def finish(self) -> None:
        """Save, and write ``report.html``."""
        from tadan_lab.poc.report import html_report

        self.save()
        write_atomically(self.out / HTML_NAME, html_report(self.document, self.out))

    def compare(self, old: Mapping[str, Any], name: str) -> None:
        """Put the comparison with another report, called ``name``, into this one."""
        self.save()
        self.document["compare"] = compare(self.document, old, name)


def _difference(old: Mapping[str, Any], new: Mapping[str, Any], word: str) -> str:
    if word == "pictures_hash":
        return ""
    then, now = old.get(word) or {}, new[word]
    names = [one for one in {**then, **now} if then.get(one) != now.get(one)]
    return f" ({', '.join(f'{one}: {then.get(one)} then, {now.get(one)} now' for one in names[:3])})"


def _load() -> float | None:
    """Processes that ran or waited to run in the last minute, on average; None where the system does not say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S")
