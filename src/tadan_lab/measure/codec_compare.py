"""Curves as batches of codec-compare, the viewer of https://github.com/webmproject/codec-compare.

A batch is one codec over many pictures and qualities: names and values of constants, then names and rows of fields.
The names are those that the viewer knows (``src/entry.ts``); it takes other ones as they are.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tadan.files import make_folder, write_atomically
from tadan_lab.measure.curve import Curve, curve_file
from tadan_lab.measure.yardsticks import METRICS, Metric

FOLDER = "codec-compare"
LIST = "batches.json"
#: The viewer's name of each metric; others keep their key.
_NAMES = {"psnr-rgb": "psnr", "ms-ssim-rgb": "msssim", "ssimulacra2": "ssimulacra2", "butteraugli-3-norm": "p3-norm"}
_FIELDS = {
    "picture": ("original_name", "File name of the original picture"),
    "width": ("width", "Pixel columns of the picture that was encoded"),
    "height": ("height", "Pixel rows of the picture that was encoded"),
    "quality": ("quality", "Quality parameter of the encoder"),
    "bytes": ("encoded_size", "Bytes of the encoded file"),
    "encoding_time": ("encoding_time", "Wall seconds of encoding, on the machine of this batch only"),
    "decoding_time": ("decoding_time", "Wall seconds of decoding, on the machine of this batch only"),
}


def batch(curve: Curve) -> dict[str, Any]:
    """The curve as a batch; rows that lack a value are left out, as the viewer takes none.

    A curve without rows of pictures (by others, or of means only) gives a batch without rows.
    """
    metrics = [metric for metric in METRICS.values() if any(row.get(metric.key) is not None for row in curve.pictures)]
    fields = [*_FIELDS.values(), *((_NAMES.get(one.key, one.key), _said(one)) for one in metrics)]
    keys = [*_FIELDS, *(metric.key for metric in metrics)]
    rows = [[row.get(key) for key in keys] for row in curve.pictures]
    constants = {
        "name": ("Name of this batch", f"{curve.name}, {curve.meta.get('dataset', 'unnamed pictures')}"),
        "codec": ("Name of the codec used to generate this data", curve.name),
        "version": ("Version and settings of the codec", curve.description),
        "time": ("Timestamp of when this data was generated", _date(curve)),
        "encoding_cmd": ("The command used to generate this data", str(curve.meta.get("command", "unknown"))),
    }
    return {
        "constant_descriptions": [{name: said} for name, (said, _) in constants.items()],
        "constant_values": [value for _, value in constants.values()],
        "field_descriptions": [{name: said} for name, said in fields],
        "field_values": [row for row in rows if None not in row],
    }


def write_batches(curves: Sequence[Curve], out: Path) -> list[str]:
    """Write ``codec-compare/NAME.json`` for every curve with rows, and the list that the viewer loads; their names.

    Raises:
        UnwritableOutput: that fails.
    """
    names = []
    for curve in curves:
        content = batch(curve)
        if content["field_values"]:
            make_folder(out / FOLDER)
            names.append(curve_file(curve.name))
            write_atomically(out / FOLDER / names[-1], json.dumps(content, indent=1).encode() + b"\n")
    if names:
        write_atomically(out / FOLDER / LIST, json.dumps([[name] for name in names]).encode() + b"\n")
    return [f"{FOLDER}/{name}" for name in ([LIST, *names] if names else [])]


def _said(metric: Metric) -> str:
    direction = "lower is better" if metric.lower_is_better else "higher is better"
    return f"{metric.title} of the decoded picture, {direction}"


def _date(curve: Curve) -> str:
    measured = curve.meta.get("measured")
    date = measured.get("date") if isinstance(measured, dict) else None
    return str(date or time.strftime("%Y-%m-%dT%H:%M:%S"))
