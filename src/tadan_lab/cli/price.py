"""``tadan lab price``: bits that integer networks cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tadan.errors import MissingPackage
from tadan_lab.cli import options


def price(
    pictures: options.Pictures,
    qualities: options.Qualities = "5,20,40,60,80,95",
    schedule: Annotated[str, typer.Option(help="Order of decoding: a name, an alias or a pattern.")] = "2x2",
    weights: Annotated[
        Path | None, typer.Option(help="ema.safetensors of the exported run; default: restored from the model.")
    ] = None,
    model: options.Model = None,
    out: options.Out = None,
) -> None:
    """Bits that integer networks cost against the float networks they were made from. Needs the extra train."""
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise MissingPackage('this comparison needs torch; run: pip install "tadan[train]"')
    from tadan.optional import parse_qualities
    from tadan.pictures.folder import list_pictures
    from tadan_lab.measure.price import measure_price

    rows = []
    wanted = parse_qualities(qualities, range(1, 101))
    for one in measure_price(list_pictures(pictures), wanted, schedule, model, weights):
        rows.append(
            {"quality": one.quality, "integer_percent": one.integer_percent, "total_percent": one.total_percent}
        )
        typer.echo(
            f"quality {one.quality}: {one.integer_bits / 8:,.0f} bytes; integers {one.integer_percent:+.3f} %, "
            f"with tables {one.total_percent:+.3f} % against float"
        )
    options.write(out, {"schedule": schedule, "rows": rows})
