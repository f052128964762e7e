"""Rate-distortion curves: a codec over a folder of pictures, as the JSON that the anchors of this field use.

The schema is CompressAI's (``name, description, meta, results`` with ``bpp, psnr-rgb, ms-ssim-rgb, encoding_time,
decoding_time``, one number per point), with a column for each further metric, and ``pictures``: one row per picture and
quality, from which all means follow.
"""

import hashlib
import json
import math
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from tadan.errors import Corrupt, InvalidInput, UnreadableInput
from tadan.files import read_bytes, write_atomically
from tadan.pictures.folder import list_pictures, open_rgb
from tadan_lab.measure.metrics import IDENTICAL_DB
from tadan_lab.measure.rivals import PictureCodec
from tadan_lab.measure.yardsticks import BASIC, METRICS, PSNR, Metric, measure_all

TIME_KEYS = ("encoding_time", "decoding_time")
_LONGEST_NAME = 100  # characters; file systems allow 255 bytes
_FIVE_SCALES_ABOVE = 160  # pixels of the shorter side


@dataclass(frozen=True)
class Measurement:
    """One picture at one quality: ``data`` is the file, times are wall seconds.

    ``values`` by key of the metric; None where the picture is too small for it.
    """

    quality: int
    data: bytes
    decoded: Image.Image
    values: dict[str, float | None]
    encode_s: float
    decode_s: float

    @property
    def bpp(self) -> float:
        """Bits of the whole file per pixel."""
        return 8 * len(self.data) / (self.decoded.width * self.decoded.height)


@dataclass(frozen=True)
class Curve:
    """One codec's curve; ``pictures`` are rows.

    ``results`` maps ``bpp``, keys of METRICS and TIME_KEYS to a list with a number per point.
    """

    name: str
    description: str
    meta: dict[str, Any]
    results: dict[str, list[float]]
    pictures: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Point:
    """One point of a curve: means over pictures; None for what the curve does not say.

    ``values`` holds every key of METRICS.
    """

    quality: float | str | None
    bpp: float
    values: dict[str, float | None]
    encode_s: float | None
    decode_s: float | None


def curve_points(curve: Curve) -> list[Point]:
    """Return the points in the order of the file; curves by others may lack all but rate and PSNR."""
    count = len(curve.results["bpp"])

    def column(values: Any) -> list[Any]:
        return list(values) if isinstance(values, list) and len(values) == count else [None] * count

    def measured(key: str) -> list[float | None]:
        return [None if value is None or math.isnan(value) else value for value in column(curve.results.get(key))]

    values = zip(*(measured(key) for key in METRICS), strict=True)
    rows = zip(
        column(curve.meta.get("quality")),
        curve.results["bpp"],
        (dict(zip(METRICS, row, strict=True)) for row in values),
        *(measured(key) for key in TIME_KEYS),
        strict=True,
    )
    return [Point(*row) for row in rows]


def curve_file(name: str) -> str:
    """Name of the JSON file of a curve called ``name``, safe in every file system.

    Written-out schedules hold slashes and can be long: what is not a letter, a digit or one of ``.,_-`` becomes a
    hyphen, and a name over 100 characters is cut and ends in eight digits of its hash.
    """
    safe = re.sub(r"[^A-Za-z0-9.,_-]", "-", name).lstrip(".") or "curve"
    if len(safe) > _LONGEST_NAME:
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
        safe = f"{safe[: _LONGEST_NAME - 9]}-{digest[:8]}"
    return f"{safe}.json"


def run_trial(codec: PictureCodec, image: Image.Image, quality: int, metrics: Sequence[Metric] = BASIC) -> Measurement:
    """Encode and decode ``image`` once and measure; Corrupt if the picture comes back with another size."""
    start = time.perf_counter()
    data = codec.encode(image, quality)
    encoded = time.perf_counter()
    decoded = codec.decode(data).convert("RGB")
    encode_s, decode_s = encoded - start, time.perf_counter() - encoded
    if decoded.size != image.size:
        raise Corrupt(f"A picture of {image.size} pixels came back with {decoded.size}: the codec is broken.")
    return Measurement(quality, data, decoded, measure_all(metrics, image, decoded), encode_s, decode_s)


def run_curve(
    codec: PictureCodec,
    folder: str | os.PathLike[str],
    qualities: Sequence[int],
    *,
    limit: int | None = None,
    metrics: Sequence[Metric] = BASIC,
    on_trial: Callable[[], None] | None = None,
) -> Curve:
    """Run ``codec`` over the pictures in ``folder`` (the first ``limit`` by name) at each quality.

    The first picture is coded once before the clock starts, so that loading a model is not timed. Means are taken over
    pictures, a point per quality; an identical picture counts as 100 dB. PSNR is measured in any case. ``on_trial`` is
    called after each trial. UnreadableInput for a folder without pictures, InvalidInput for a quality that the codec
    does not take, and errors of the metrics.
    """
    measured = tuple(dict.fromkeys((PSNR, *metrics)))
    wanted = sorted(set(qualities))
    outside = [quality for quality in wanted if quality not in codec.qualities]
    if outside or not wanted:
        allowed = f"{codec.qualities[0]} to {codec.qualities[-1]}"
        raise InvalidInput(f"{codec.name} takes qualities {allowed}, got {outside or 'none'}.")
    paths = list_pictures(folder, limit)
    warm_up(codec, open_rgb(paths[0]), wanted[len(wanted) // 2])
    rows = []
    for path in paths:
        image = open_rgb(path)
        for quality in wanted:
            rows.append(trial_row(path.name, run_trial(codec, image, quality, measured)))
            if on_trial is not None:
                on_trial()
    return curve_of(codec, Path(folder), wanted, rows, measured)


def warm_up(codec: PictureCodec, image: Image.Image, quality: int) -> None:
    """Encode and decode once and forget the result, so that later timings exclude loading and first allocations."""
    codec.decode(codec.encode(image, quality))


def save_curve(curve: Curve, path: str | os.PathLike[str]) -> None:
    """Write ``curve`` as JSON, one picture a line, atomically; UnwritableOutput if that fails."""
    fields = asdict(curve)
    rows = ",\n  ".join(json.dumps(row) for row in fields.pop("pictures"))
    head = json.dumps(fields, indent=1).removesuffix("\n}")
    write_atomically(path, f'{head},\n "pictures": [\n  {rows}\n ]\n}}\n'.encode())


def load_curve(path: str | os.PathLike[str]) -> Curve:
    """Read a curve or an anchor; ``results`` needs ``bpp`` and ``psnr-rgb`` of one length, all else may be missing.

    UnreadableInput if the file cannot be read or is no such JSON.
    """
    try:
        document = json.loads(read_bytes(path))
        results = {key: [float(value) for value in values] for key, values in document["results"].items()}
        complete = 0 < len(results["bpp"]) == len(results["psnr-rgb"])
        name = str(document.get("name", Path(path).stem))
        meta, rows = dict(document.get("meta") or {}), [dict(row) for row in document.get("pictures") or []]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, UnreadableInput):
            raise
        raise _no_curve(path, f"{type(error).__name__}: {error}") from error
    if not complete:
        raise _no_curve(path, "bpp and psnr-rgb are empty or differ in length")
    return Curve(name, str(document.get("description", "")), meta, results, rows)


def _no_curve(path: str | os.PathLike[str], reason: str) -> UnreadableInput:
    wanted = '{"name": ..., "results": {"bpp": [...], "psnr-rgb": [...]}}'
    return UnreadableInput(f"{os.fspath(path)} is not a rate-distortion curve ({reason}); expected JSON like {wanted}.")


def trial_row(picture: str, trial: Measurement) -> dict[str, Any]:
    """A row of ``Curve.pictures``; values that are missing or infinite (lossless) are None."""
    return {
        "picture": picture,
        "quality": trial.quality,
        "width": trial.decoded.width,
        "height": trial.decoded.height,
        "bytes": len(trial.data),
        "bpp": round(trial.bpp, 6),
        **{key: None if value is None or math.isinf(value) else round(value, 6) for key, value in trial.values.items()},
        "encoding_time": round(trial.encode_s, 6),
        "decoding_time": round(trial.decode_s, 6),
    }


def curve_of(
    codec: PictureCodec, folder: Path, qualities: list[int], rows: list[dict[str, Any]], metrics: Sequence[Metric]
) -> Curve:
    """The curve whose points are means over ``rows`` of :func:`trial_row`; ``folder`` gives the data their name."""
    counts_as = {metric.key: metric.identical for metric in metrics}
    results: dict[str, list[float]] = {}
    for key in ("bpp", *counts_as, *TIME_KEYS):
        means: list[float] = []
        for quality in qualities:
            values = [counts_as.get(key) if row[key] is None else row[key] for row in rows if row["quality"] == quality]
            present = [value for value in values if value is not None]
            means += [round(sum(present) / len(present), 6)] if present else []
        if len(means) == len(qualities):  # else every picture was too small for this metric
            results[key] = means
    names = {row["picture"] for row in rows}
    meta = {
        "dataset": f"{folder.resolve().name} ({len(names)} pictures)",
        "quality": qualities,
        "points": len(qualities),
        "lossless_counts_as_db": IDENTICAL_DB,
        "pictures_with_fewer_ms_ssim_scales": len(
            {row["picture"] for row in rows if min(row["width"], row["height"]) <= _FIVE_SCALES_ABOVE}
        ),
    }
    times = "wall seconds in one process, start-up excluded"
    return Curve(
        codec.name, f"{codec.description}. Per-picture values averaged; times are {times}", meta, results, rows
    )
