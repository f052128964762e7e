"""How time and memory grow with the picture: ``tadan encode`` and ``tadan decode`` in processes of their own."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import linear_regression
from typing import Any

from tadan.bitstream import Limits, read_header
from tadan.bitstream.constants import HEADER_PREFIX_BYTES
from tadan.errors import InvalidInput
from tadan.machine import machine_facts
from tadan_lab.measure.mosaic import mosaic_size, write_mosaic
from tadan_lab.measure.process import Cost, run_tadan

REGION_SIDE = 512  # pixels of the region in the middle that is decoded alone
FIT_FROM = 1.0  # megapixels from which exponents are fitted; below, the start of the process weighs too much
PROCESSES = 3  # of every row: encode, decode, decode a region
MEGABYTE = 2**20


@dataclass(frozen=True)
class ScaleRow:
    """One picture, encoded and decoded.

    Attributes:
        width: pixels, as ``height``.
        effort: of the encoder; None: its default.
        tile_size: pixels a side of the tiles; 0: one tile.
        tiles: how many there are.
        stored: whether it was not coded but stored (docs/fallback.md); its figures are then not those of the codec.
        bytes: of the file.
        encode: from a PPM file to a ``.tdn`` file.
        decode: back to a PPM file.
        region: the same of 512x512 pixels in the middle, or all pixels of a smaller picture.
    """

    width: int
    height: int
    effort: int | None
    tile_size: int
    tiles: int
    stored: bool
    bytes: int
    encode: Cost
    decode: Cost
    region: Cost

    @property
    def megapixels(self) -> float:
        """Millions of pixels."""
        return self.width * self.height / 1e6

    @property
    def bpp(self) -> float:
        """Bits of the file per pixel."""
        return 8 * self.bytes / (self.width * self.height)

    @property
    def peak_bytes(self) -> int | None:
        """Largest resident set of the three processes."""
        peaks = [cost.peak_bytes for cost in (self.encode, self.decode, self.region)]
        return None if None in peaks else max(peak for peak in peaks if peak is not None)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {"megapixels": self.megapixels, "bpp": self.bpp, **asdict(self)}


def check_megapixels(sizes: Sequence[float]) -> list[float]:
    """Distinct sizes in ascending order.

    Raises:
        InvalidInput: none is given, or one is no size of a picture or above the limit of the decoder.
    """
    most = Limits().max_pixels
    for size in sizes:
        width, height = mosaic_size(size)
        if width * height > most:
            raise InvalidInput(f"{size:g} megapixels are above the limit of pictures, {most / 1e6:.1f}; give less")
    if not sizes:
        raise InvalidInput("no size is given; give megapixels such as 0.1,1,10")
    return sorted(set(sizes))


def measure_scale(
    photographs: Sequence[Path],
    megapixels: Sequence[float],
    quality: int,
    efforts: Sequence[int | None],
    threads: int | None = None,
    model: str | None = None,
    on_trial: Callable[[], None] = lambda: None,
) -> Iterator[ScaleRow]:
    """Measure every size, the smallest first, at every effort; rows come as they are measured.

    Args:
        photographs: what the pictures are made of.
        megapixels: sizes.
        quality: 1..100.
        efforts: 0..9; None: the encoder's default.
        threads: of encoder and decoder; None: all cores.
        model: name or path; None for the bundled one.
        on_trial: called after every process, for progress bars: 3 times a row.

    Raises:
        InvalidInput: a size or the number of threads is out of range, or a process failed; no row follows then.
        UnreadableInput: a photograph cannot be opened.
        UnwritableOutput: there is no room for temporary files: two PPM files of the largest size.
    """
    options = [
        *([] if threads is None else ["--threads", f"{threads}"]),
        *([] if model is None else ["--model", model]),
    ]

    def run(*arguments: str) -> Cost:
        cost = run_tadan([*arguments, *options])
        on_trial()
        return cost

    for size in check_megapixels(megapixels):
        width, height = mosaic_size(size)
        with tempfile.TemporaryDirectory(prefix="tadan-scale-") as folder:
            picture, stream, decoded = (Path(folder, name) for name in ("mosaic.ppm", "mosaic.tdn", "decoded.ppm"))
            write_mosaic(picture, photographs, width, height)
            for effort in efforts:
                chosen = [] if effort is None else ["--effort", f"{effort}"]
                encoding = run("encode", str(picture), str(stream), "-f", "--quality", f"{quality}", *chosen)
                decoding = run("decode", str(stream), str(decoded), "-f")
                cut = run("decode", str(stream), str(decoded), "-f", "--region", _middle(width, height))
                with stream.open("rb") as file:
                    header = read_header(file.read(HEADER_PREFIX_BYTES))
                facts = (header.tile_size, header.tile_count, not header.has_latents, stream.stat().st_size)
                yield ScaleRow(width, height, effort, *facts, encoding, decoding, cut)


def _middle(width: int, height: int) -> str:
    w, h = min(width, REGION_SIDE), min(height, REGION_SIDE)
    return f"{(width - w) // 2},{(height - h) // 2},{w},{h}"


def exponent(rows: Sequence[ScaleRow], seconds: Callable[[ScaleRow], float]) -> float | None:
    """Slope of log seconds over log megapixels of rows of at least a megapixel: 1 is linear; None below two sizes."""
    points = [(math.log(row.megapixels), math.log(seconds(row))) for row in rows if row.megapixels >= 0.999 * FIT_FROM]
    if len({x for x, _ in points}) < 2:
        return None
    return linear_regression(*zip(*points, strict=True)).slope


def exponents(rows: Sequence[ScaleRow]) -> dict[str, float | None]:
    """:func:`exponent` of encoding and of decoding; rows of one effort."""
    return {
        "encode": exponent(rows, lambda row: row.encode.seconds),
        "decode": exponent(rows, lambda row: row.decode.seconds),
    }


def size_text(megapixels: float) -> str:
    """``0.1``, ``30``: megapixels of pictures that are nearly as large as was asked for."""
    return f"{megapixels:.2g}" if megapixels < 1 else f"{megapixels:.3g}"


def limit_line(rows: Sequence[ScaleRow], limit_mb: float) -> str:
    """Whether every process stayed below ``limit_mb`` megabytes of 2^20 bytes, in words."""
    if any(row.peak_bytes is None for row in rows):
        return "Peak memory was not measured: this system has no os.wait4"
    row = max(rows, key=lambda row: row.peak_bytes or 0)
    most = f"at most {(row.peak_bytes or 0) / MEGABYTE:.0f} MB, at {size_text(row.megapixels)} megapixels"
    above = dict.fromkeys(size_text(row.megapixels) for row in rows if (row.peak_bytes or 0) > limit_mb * MEGABYTE)
    if not above:
        return f"PASS: peak memory stays within {limit_mb:g} MB ({most})"
    return f"FAIL: peak memory is above {limit_mb:g} MB at {', '.join(above)} megapixels ({most})"


def scale_document(
    rows: Sequence[ScaleRow], photographs: Sequence[Path], quality: int, threads: int | None, limit_mb: float
) -> dict[str, Any]:
    """What `tadan lab scale --out` writes."""
    efforts = list(dict.fromkeys(row.effort for row in rows))
    return {
        "machine": machine_facts(),
        "photographs": [path.name for path in photographs],
        "quality": quality,
        "threads": threads,
        "limit_mb": limit_mb,
        "limit": limit_line(rows, limit_mb),
        "exponents": [{"effort": one, **exponents([row for row in rows if row.effort == one])} for one in efforts],
        "rows": [row.to_dict() for row in rows],
    }
