"""Section bytes: files of every codec at equal SSIMULACRA2, picture by picture, and where it went worst."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from tadan.errors import TadanError
from tadan.files import make_folder, write_atomically
from tadan_lab.measure.codec_compare import write_batches
from tadan_lab.measure.crops import detailed_box
from tadan_lab.measure.curve import Curve, curve_of, run_trial, trial_row
from tadan_lab.measure.equal import EqualRow, RateCurve, compare_pairs
from tadan_lab.measure.named_points import named_points
from tadan_lab.measure.ours import TadanCodec
from tadan_lab.measure.rivals import PictureCodec, choose_rivals
from tadan_lab.measure.session import spread
from tadan_lab.measure.yardsticks import PSNR, SSIMULACRA2
from tadan_lab.poc.census import Facts, choose, cut
from tadan_lab.poc.plan import Plan

_METRICS = (PSNR, SSIMULACRA2)
_WORST = 5
_CROP = 288, 216  # pixels shown one to one
_POINTS = (10, 25, 40, 55, 70, 85, 95)  # qualities of Tadan: SSIMULACRA2 of about 20 to 90 on photographs

Rows = dict[str, list[dict[str, Any]]]


def measure_bytes(
    plan: Plan, folder: Path, facts: Sequence[Facts], out: Path, on_step: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """The section; crops and the export for codec-compare go into ``out``.

    ``on_step`` is called after every codec on every picture: :func:`steps` times.
    """
    codecs, skipped = _codecs(plan)
    rows: Rows = {codec.name: [] for codec in codecs}
    bad = []
    for one in choose(facts, plan.sample, plan.seed):
        try:
            image = cut(folder / one.name, plan.megapixels)
        except TadanError as error:
            bad.append({"name": one.name, "reason": str(error)})
            continue
        for codec in codecs:
            try:
                for quality in _qualities(codec, plan.points):
                    rows[codec.name].append(trial_row(one.name, run_trial(codec, image, quality, _METRICS)))
            except TadanError as error:
                bad.append({"name": one.name, "reason": f"{codec.name}: {error}"})
            on_step()
    curves = [_curve(codec, folder, rows[codec.name]) for codec in codecs if rows[codec.name]]
    ours, table = codecs[0].name, _table(rows, codecs, plan)
    worst = _worst(plan, folder, codecs, rows, out)
    if curves:
        write_batches(curves, out)
    return {
        "codecs": {codec.name: codec.description for codec in codecs},
        "ours": ours,
        "skipped": skipped,
        "failed": bad,
        "score": plan.score,
        "equal": [row.to_dict() for row in table],
        "pictures": _pairs(rows, codecs, plan.score),
        "worst": worst,
        "named_points": [point.to_dict() for curve in curves for point in named_points(curve, "ssimulacra2")],
        "rows": rows,
    }


def steps(plan: Plan, facts: Sequence[Facts]) -> int:
    """How often :func:`measure_bytes` calls ``on_step`` at most."""
    return len(choose(facts, plan.sample, plan.seed)) * len(_codecs(plan)[0])


def _codecs(plan: Plan) -> tuple[list[PictureCodec], list[str]]:
    rivals, skipped = choose_rivals(",".join(plan.against), plan.threads)
    return [TadanCodec(model=plan.model, threads=plan.threads, effort=plan.effort), *rivals], skipped


def _qualities(codec: PictureCodec, count: int) -> list[int]:
    return spread(_POINTS if isinstance(codec, TadanCodec) else codec.points[3:], count)


def _curve(codec: PictureCodec, folder: Path, rows: list[dict[str, Any]]) -> Curve:
    return curve_of(codec, folder, sorted({row["quality"] for row in rows}), rows, _METRICS)


def _rates(rows: Rows, name: str) -> dict[str, RateCurve]:
    """By picture."""
    points: dict[str, list[tuple[float | None, float]]] = {}
    for row in rows[name]:
        points.setdefault(row["picture"], []).append((row[SSIMULACRA2.key], row["bytes"]))
    return {picture: RateCurve.of(pairs) for picture, pairs in points.items()}


def _pixels(rows: Rows) -> dict[str, int]:
    return {row["picture"]: row["width"] * row["height"] for name in rows for row in rows[name]}


def _table(rows: Rows, codecs: Sequence[PictureCodec], plan: Plan) -> list[EqualRow]:
    table, pixels = [], _pixels(rows)
    ours = _rates(rows, codecs[0].name)
    for rival in codecs[1:]:
        theirs = _rates(rows, rival.name)
        for score in sorted({*plan.scores, plan.score}):
            pairs = []
            for picture, count in pixels.items():
                sizes = [one[picture].bytes_at(score) if picture in one else None for one in (ours, theirs)]
                pairs.append(None if sizes[0] is None or sizes[1] is None else (sizes[0], sizes[1], count))
            table.append(compare_pairs(rival.name, score, pairs))
    return table


def _pairs(rows: Rows, codecs: Sequence[PictureCodec], score: float) -> list[dict[str, Any]]:
    """Bytes of every codec for every picture at one score; None where it does not reach it."""
    curves = {codec.name: _rates(rows, codec.name) for codec in codecs}
    return [
        {
            "picture": picture,
            "pixels": count,
            "bytes": {name: one[picture].bytes_at(score) if picture in one else None for name, one in curves.items()},
        }
        for picture, count in _pixels(rows).items()
    ]


def _worst(plan: Plan, folder: Path, codecs: Sequence[PictureCodec], rows: Rows, out: Path) -> list[dict[str, Any]]:
    """The pictures whose files are largest against the best rival of each, with crops at about equal score."""
    ours, ranked = codecs[0].name, []
    for pair in _pairs(rows, codecs, plan.score):
        sizes = {name: size for name, size in pair["bytes"].items() if size is not None}
        mine = sizes.pop(ours, None)
        if mine is not None and sizes:
            rival = min(sizes, key=lambda name: sizes[name])
            ranked.append((mine / sizes[rival], pair["picture"], rival))
    ranked.sort(reverse=True)
    known = {codec.name: codec for codec in codecs}
    shown = []
    for place, (ratio, picture, rival) in enumerate(ranked[:_WORST]):
        image = cut(folder / picture, plan.megapixels)
        box = detailed_box(image, *_CROP)
        panels = [_panel(out, f"{place + 1}-original", "original", image, box)]
        for name in (ours, rival):
            quality = _knob(rows[name], picture, plan.score)
            trial = run_trial(known[name], image, quality, _METRICS)
            facts = {"quality": quality, "bytes": len(trial.data), "score": trial.values[SSIMULACRA2.key]}
            panels.append({**_panel(out, f"{place + 1}-{name}", name, trial.decoded, box), **facts})
        shown.append({"picture": picture, "rival": rival, "percent": 100 * (ratio - 1), "box": box, "panels": panels})
    return shown


def _knob(rows: Sequence[dict[str, Any]], picture: str, score: float) -> int:
    mine = [row for row in rows if row["picture"] == picture and row[SSIMULACRA2.key] is not None]
    curve = RateCurve.of((row[SSIMULACRA2.key], row["bytes"]) for row in mine)
    found = curve.knob_at(score, {row[SSIMULACRA2.key]: row["quality"] for row in mine})
    if found is None:
        raise ValueError(f"{picture} was ranked at a score that it does not reach")
    return found


def _panel(out: Path, name: str, label: str, image: Image.Image, box: tuple[int, int, int, int]) -> dict[str, Any]:
    import io

    file = io.BytesIO()
    image.crop(box).save(file, "PNG")
    path = make_folder(out / "crops") / f"{name}.png"
    write_atomically(path, file.getvalue())
    return {"label": label, "file": f"crops/{path.name}"}
