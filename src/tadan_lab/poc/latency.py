"""Section latency: how long one picture takes, in a new process (cold) and in one that has worked before (warm)."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from tadan.codec.codec import Codec
from tadan.process import run_tadan
from tadan_lab.poc.figures import spread_of
from tadan_lab.poc.plan import Plan, encode_fields, encode_words

Sample = Sequence[tuple[str, Image.Image]]  # names and RGB pictures


def measure_latency(plan: Plan, sample: Sample, on_step: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """The section.

    Cold: ``tadan encode`` and ``tadan decode`` from the start of the process to its end, pictures in turn. Warm: calls
    of the library in this process, pixels in memory to bytes and back, every round in an order of its own; the first
    call is no part of it. ``on_step`` is called after every process and every call: :func:`steps` times.
    """
    return {"cold": _cold(plan, sample, on_step), "warm": _warm(plan, sample, on_step)}


def steps(plan: Plan, pictures: int) -> int:
    """How often :func:`measure_latency` calls ``on_step``."""
    return 2 * plan.cold + 2 * plan.repeat * pictures


def _cold(plan: Plan, sample: Sample, on_step: Callable[[], None]) -> dict[str, Any]:
    threads = [] if plan.threads is None else ["--threads", str(plan.threads)]
    common = [*threads, *([] if plan.model is None else ["--model", plan.model]), "-f", "-Q"]
    options = encode_words(plan)
    seconds: dict[str, list[float]] = {"encode": [], "decode": []}
    with tempfile.TemporaryDirectory(prefix="tadan-poc-") as folder:
        source, coded, back = (Path(folder) / name for name in ("a.ppm", "a.tdn", "b.ppm"))
        for turn in range(plan.cold):
            sample[turn % len(sample)][1].save(source)
            for kind, line in (
                ("encode", ["encode", str(source), str(coded), *options]),
                ("decode", ["decode", str(coded), str(back)]),
            ):
                seconds[kind].append(run_tadan([*line, *common]).seconds)
                on_step()
    return {kind: spread_of(values) for kind, values in seconds.items()}


def _warm(plan: Plan, sample: Sample, on_step: Callable[[], None]) -> dict[str, Any]:
    codec, fields, chance = Codec(plan.model, threads=plan.threads), encode_fields(plan), random.Random(plan.seed)
    files = {name: codec.encode(image, **fields) for name, image in sample}
    codec.decode(files[sample[0][0]])
    wall: dict[str, list[float]] = {"encode": [], "decode": []}
    cpu: dict[str, float] = {"encode": 0.0, "decode": 0.0}
    rows: list[dict[str, Any]] = []
    for _ in range(plan.repeat):
        for name, image in chance.sample(list(sample), len(sample)):
            row: dict[str, Any] = {"picture": name, "megapixels": image.width * image.height / 1e6}
            for kind in ("encode", "decode"):
                begun, used = time.perf_counter(), time.process_time()
                if kind == "encode":
                    codec.encode(image, **fields)
                else:
                    codec.decode(files[name])
                row[kind] = time.perf_counter() - begun
                cpu[kind] += time.process_time() - used
                wall[kind].append(row[kind])
                on_step()
            rows.append(row)
    pixels = sum(row["megapixels"] for row in rows)
    return {
        "rows": rows,
        **{
            kind: {
                **spread_of(wall[kind]),
                "per_megapixel": spread_of([row[kind] / row["megapixels"] for row in rows]),
                "cpu_per_megapixel": cpu[kind] / pixels,
            }
            for kind in ("encode", "decode")
        },
    }
