"""How time and memory grow with the picture: ``tadan encode`` and ``tadan decode`` in processes of their own.

Large pictures are made of photographs and written strip by strip: no more than one row of photographs is in memory.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import linear_regression
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from tadan.bitstream import Limits, read_header
from tadan.bitstream.fields import HEADER_PREFIX_BYTES
from tadan.errors import InvalidInput
from tadan.files import write_atomically
from tadan.machine import machine_facts
from tadan.optional import require
from tadan.pictures.folder import open_rgb
from tadan.process import Cost, run_tadan
from tadan_lab.measure.plots import PNG_OPTIONS, SVG_OPTIONS, render

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


_PARTS: tuple[tuple[str, str, Callable[[ScaleRow], Cost]], ...] = (
    ("encode", "o", lambda row: row.encode),
    ("decode", "s", lambda row: row.decode),
    ("decode 512x512 of it", "^", lambda row: row.region),
)
_EDGES = 0.7, 1.4  # of the axis of sizes, as factors of the first and last


def scale_plot(rows: Sequence[ScaleRow], limit_mb: float, title: str) -> bytes:
    """Return a PNG: seconds and peak memory over megapixels, logarithmic, with the limit of memory as a line.

    InvalidInput if matplotlib is not installed.
    """
    return _drawn(rows, limit_mb, title, PNG_OPTIONS)


def scale_svg(rows: Sequence[ScaleRow], limit_mb: float, title: str) -> str:
    """Return the plot of :func:`scale_plot` as an SVG document. InvalidInput if matplotlib is not installed."""
    return _drawn(rows, limit_mb, title, SVG_OPTIONS).decode()


def _drawn(rows: Sequence[ScaleRow], limit_mb: float, title: str, options: dict[str, Any]) -> bytes:
    return render(lambda figure, colours: _draw(figure, rows, limit_mb, title, colours), (13, 6), options)


def _draw(figure: Any, rows: Sequence[ScaleRow], limit_mb: float, title: str, colours: Sequence[Any]) -> None:
    seconds, memory = figure.subplots(1, 2)
    lines: list[Any] = []
    efforts = list(dict.fromkeys(row.effort for row in rows))
    for place, effort in enumerate(efforts):
        chosen = [row for row in rows if row.effort == effort]
        powers = exponents(chosen)
        for part, (name, marker, cost) in enumerate(_PARTS):
            costs = [(row.megapixels, cost(row)) for row in chosen]
            label = name if len(efforts) == 1 else f"{name}, effort {effort}"
            if (power := powers.get(name)) is not None:
                label += f" (s: power {power:.2f} of the pixels)"
            style = {"marker": marker, "color": colours[2 * (len(_PARTS) * place + part) % len(colours)]}
            lines += seconds.plot(*_columns((x, one.seconds) for x, one in costs), label=label, **style)
            memory.plot(*_columns((x, one.peak_bytes / MEGABYTE) for x, one in costs if one.peak_bytes), **style)
    lines.append(memory.axhline(limit_mb, color="black", linestyle="--", label=f"{limit_mb:g} MB"))
    sizes = [row.megapixels for row in rows]
    for axes, label in ((seconds, "seconds, start of the process included"), (memory, "peak memory, MB of 2^20 bytes")):
        axes.set(xlabel="megapixels", ylabel=label, xscale="log", yscale="log")
        axes.set_xlim(_EDGES[0] * min(sizes), _EDGES[1] * max(sizes))
        _plain_ticks(axes)
        axes.grid(True, which="both", alpha=0.3)
    figure.legend(handles=lines, loc="outside lower center", ncols=len(_PARTS))
    figure.suptitle(title, parse_math=False)


def _columns(points: Iterable[tuple[float, float]]) -> tuple[list[float], list[float]]:
    pairs = list(points)
    return [x for x, _ in pairs], [y for _, y in pairs]


def _plain_ticks(axes: Any) -> None:
    ticker = require("matplotlib.ticker", "lab", "The plot")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(ticker.NullFormatter())


ROW_HEIGHT = 512  # pixels of a row of photographs


def mosaic_size(megapixels: float) -> tuple[int, int]:
    """Width and height, nearly equal, of a picture of ``megapixels`` million pixels.

    Raises:
        InvalidInput: that is not a pixel.
    """
    pixels = 1e6 * megapixels
    if not 1 <= pixels < math.inf:
        raise InvalidInput(f"a picture of {megapixels:g} megapixels cannot be made; give a size such as 0.1 or 10")
    width = max(1, round(math.sqrt(pixels)))
    return width, max(1, round(pixels / width))


def write_mosaic(path: Path, photographs: Sequence[Path], width: int, height: int) -> None:
    """Write a mosaic of photographs at their own scale as binary PPM (P6).

    In rows of 512 pixels the photographs follow one another, round after round. Every round shows the next 512 rows of
    each, from its end upwards again; every second round is mirrored.

    Raises:
        UnreadableInput: a photograph cannot be opened.
        InvalidInput: there is none.
        UnwritableOutput: the disk is full.
    """
    if not photographs:
        raise InvalidInput("a mosaic needs a photograph; none is given")

    def fill(file: IO[bytes]) -> None:
        file.write(b"P6\n%d %d\n255\n" % (width, height))
        for strip in _strips(photographs, width, height):
            file.write(strip.data)

    write_atomically(path, fill)


def _strips(photographs: Sequence[Path], width: int, height: int) -> Iterator[NDArray[np.uint8]]:
    """Rows of the mosaic from above, uint8 (up to 512, width, 3)."""
    used = 0
    for top in range(0, height, ROW_HEIGHT):
        strip = np.empty((min(ROW_HEIGHT, height - top), width, 3), np.uint8)
        left = 0
        while left < width:
            around, number = divmod(used, len(photographs))
            cell = _cell(photographs[number], around, len(strip))[:, : width - left]
            strip[:, left : left + cell.shape[1]] = cell
            left += cell.shape[1]
            used += 1
        yield strip


def _cell(photograph: Path, around: int, height: int) -> NDArray[np.uint8]:
    """What a round shows of a photograph, uint8 (height, its width, 3)."""
    pixels = np.asarray(open_rgb(photograph))
    rows = (around * ROW_HEIGHT + np.arange(height)) % (2 * len(pixels))
    chosen = pixels[np.minimum(rows, 2 * len(pixels) - 1 - rows)]
    return chosen[:, ::-1] if around % 2 else chosen
