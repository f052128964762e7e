"""Does a higher quality always give a bigger file and a higher PSNR?"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from tadan.pictures.folder import open_rgb
from tadan_lab.measure.metrics import IDENTICAL_DB, psnr
from tadan_lab.measure.rivals import PictureCodec


@dataclass(frozen=True)
class MonotoneRow:
    """One picture at ascending ``qualities``; ``psnr`` is in dB, an identical picture counts as 100 dB.

    ``bytes_not_rising`` and ``psnr_not_rising`` list the qualities whose value is not above that of the quality before;
    the falls are 0 where nothing falls. PSNR may stand still at 100 dB: there is nothing above.
    """

    picture: str
    qualities: list[int]
    bytes: list[int]
    psnr: list[float]
    bytes_not_rising: list[int]
    psnr_not_rising: list[int]
    largest_bytes_fall_percent: float
    largest_psnr_fall_db: float


def check_monotone(
    codec: PictureCodec,
    pictures: Sequence[Path],
    qualities: Sequence[int],
    on_trial: Callable[[], None] = lambda: None,
) -> Iterator[MonotoneRow]:
    """Encode and decode every picture at every quality; ``on_trial`` is called after each. Errors of the codec."""
    wanted = sorted(set(qualities))
    for path in pictures:
        image = open_rgb(path)
        sizes, decibels = [], []
        for quality in wanted:
            data = codec.encode(image, quality)
            value = psnr(image, codec.decode(data))
            sizes.append(len(data))
            decibels.append(round(value, 6) if math.isfinite(value) else IDENTICAL_DB)
            on_trial()
        yield monotone_row(path.name, wanted, sizes, decibels)


def monotone_row(picture: str, qualities: list[int], sizes: list[int], decibels: list[float]) -> MonotoneRow:
    """Judge what was measured at ascending ``qualities``."""
    steps = range(1, len(qualities))
    flat = [index for index in steps if decibels[index] <= decibels[index - 1] < IDENTICAL_DB]
    return MonotoneRow(
        picture,
        qualities,
        sizes,
        decibels,
        [qualities[index] for index in steps if sizes[index] <= sizes[index - 1]],
        [qualities[index] for index in flat],
        round(max([0.0, *(100 * (1 - sizes[index] / sizes[index - 1]) for index in steps)]), 4),
        round(max([0.0, *(decibels[index - 1] - decibels[index] for index in steps)]), 6),
    )


def monotone_summary(rows: Sequence[MonotoneRow]) -> dict[str, Any]:
    """All pictures together: how many violate, the largest falls, and the mean PSNR at the highest quality."""
    return {
        "pictures": len(rows),
        "qualities": len(rows[0].qualities),
        "pictures_with_bytes_not_rising": sum(bool(row.bytes_not_rising) for row in rows),
        "pictures_with_psnr_not_rising": sum(bool(row.psnr_not_rising) for row in rows),
        "steps_with_bytes_not_rising": sum(len(row.bytes_not_rising) for row in rows),
        "steps_with_psnr_not_rising": sum(len(row.psnr_not_rising) for row in rows),
        "largest_bytes_fall_percent": max(row.largest_bytes_fall_percent for row in rows),
        "largest_psnr_fall_db": max(row.largest_psnr_fall_db for row in rows),
        f"mean_psnr_at_{rows[0].qualities[-1]}": round(mean(row.psnr[-1] for row in rows), 6),
    }


def monotone_document(codec: PictureCodec, rows: Sequence[MonotoneRow]) -> dict[str, Any]:
    """What `tadan lab monotone --out` writes."""
    return {
        "codec": codec.name,
        "description": codec.description,
        "summary": monotone_summary(rows),
        "rows": [asdict(row) for row in rows],
    }
