"""The main job on one photograph: our codec at a few qualities, beside the others at about the same file size."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from tadan.files import make_folder, write_atomically
from tadan.optional import require
from tadan_lab.measure.crops import match_size, side_by_side
from tadan_lab.measure.curve import Measurement, run_trial, warm_up
from tadan_lab.measure.rivals import PictureCodec
from tadan_lab.measure.yardsticks import BASIC, PSNR

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Row:
    """One codec at the size of one of our files; ``at`` is our quality, ``trial.quality`` the codec's own."""

    at: int
    codec: str
    trial: Measurement


@dataclass(frozen=True)
class Demo:
    """What a demonstration measured, and the files it wrote."""

    rows: list[Row]
    files: list[Path]


def default_photograph() -> Image.Image:
    """Return a real photograph of 451x300 pixels, "Chelsea the cat" by Stefan van der Walt, CC0.

    It comes inside the package scikit-image, nothing is downloaded; InvalidInput if that is not installed.
    """
    data = require("skimage.data", "lab", "The demo's own photograph")
    return Image.fromarray(data.chelsea()).convert("RGB")


def run_demo(
    ours: PictureCodec,
    rivals: Sequence[PictureCodec],
    image: Image.Image,
    qualities: Sequence[int],
    out: Path,
    *,
    name: str = "photo",
    on_step: Callable[[], None] | None = None,
) -> Demo:
    """Code ``image`` (RGB) with ``ours`` at each quality and with each rival at about the same number of bytes.

    Writes into ``out``, created if needed, every file and its decoded PNG, the original as PNG, and
    ``NAME-side-by-side.png`` with a crop of all at the lowest quality. Each codec runs once before the clock starts.
    ``on_step`` is called after each codec at each quality. Errors of the codecs, or UnwritableOutput.
    """
    folder = make_folder(out)
    files = [_write(folder / f"{name}-original.png", _png(image))]
    rows: list[Row] = []
    for codec in (ours, *rivals):
        warm_up(codec, image, codec.qualities[len(codec.qualities) // 2])
    for at in sorted(set(qualities)):
        target = 0
        for codec in (ours, *rivals):
            quality = match_size(codec, image, target).quality if target else at
            trial = run_trial(codec, image, quality)
            target = target or len(trial.data)
            rows.append(Row(at, codec.name, trial))
            stem = f"{name}-q{at}-{codec.name}"
            files.append(_write(folder / f"{stem}{codec.extension}", trial.data))
            files.append(_write(folder / f"{stem}.png", _png(trial.decoded)))
            if on_step is not None:
                on_step()
    lowest = [row for row in rows if row.at == rows[0].at]
    panels = [("original", f"{image.width}x{image.height} pixels", image)]
    panels += [(f"{row.codec}, quality {row.trial.quality}", _label(row.trial), row.trial.decoded) for row in lowest]
    files.append(_write(folder / f"{name}-side-by-side.png", _png(side_by_side(panels))))
    return Demo(rows, files)


def demo_table(demo: Demo, title: str) -> Table:
    """Return a rich table with a row per codec and size, ours first in each group of about equal size."""
    from rich.table import Table

    table = Table(title=title, caption="seconds: one run, wall clock; process start and model loading excluded")
    table.add_column("codec")
    for heading in ("quality", "bytes", "bpp", *(metric.heading for metric in BASIC), "encode s", "decode s"):
        table.add_column(heading, justify="right")
    for index, row in enumerate(demo.rows):
        trial = row.trial
        if index and row.at != demo.rows[index - 1].at:
            table.add_section()
        table.add_row(
            row.codec,
            str(trial.quality),
            f"{len(trial.data):,}",
            f"{trial.bpp:.3f}",
            *(metric.shown(trial.values[metric.key]) for metric in BASIC),
            f"{trial.encode_s:.3f}",
            f"{trial.decode_s:.3f}",
        )
    return table


def _label(trial: Measurement) -> str:
    return f"{len(trial.data):,} bytes, {PSNR.shown(trial.values[PSNR.key])} dB"


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _write(path: Path, data: bytes) -> Path:
    write_atomically(path, data)
    return path
