"""What a server or a batch gets: pixels per second in steady state, and how long a process takes until it works."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from PIL import Image

from tadan.codec.codec import Codec
from tadan.codec.options import EncodeFields
from tadan.process import run_tadan


@dataclass(frozen=True)
class ThroughputRow:
    """Steady state with pictures of one size.

    Attributes:
        megapixels: of a picture.
        workers: threads of Python that share a codec; it has one thread of its own for each call.
        encode: megapixels a second of all workers together, default effort unless another was asked for.
        decode: the same, file bytes to pixels.
        latents: the same of checking a file.
    """

    megapixels: float
    workers: int
    encode: float
    decode: float
    latents: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)


def resized(image: Image.Image, megapixels: float) -> Image.Image:
    """A photograph of about so many megapixels: cut out of the middle, or scaled up and cut."""
    side = (megapixels * 1e6 / (image.width * image.height)) ** 0.5
    if side > 1:
        return image.resize((round(image.width * side), round(image.height * side)), Image.Resampling.LANCZOS)
    width, height = round(image.width * side), round(image.height * side)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def measure_throughput(
    image: Image.Image,
    sizes: Sequence[float],
    workers: Sequence[int],
    seconds: float,
    effort: int | None = None,
    model: str | None = None,
    on_trial: Callable[[], None] = lambda: None,
) -> list[ThroughputRow]:
    """Let workers encode, decode and check the same picture again and again.

    Args:
        image: photograph that the pictures are made of.
        sizes: megapixels.
        workers: numbers of threads.
        seconds: that each of the three takes; what is begun is finished and counted, with the time that it took.
        effort: of the encoder; None: its default.
        model: see :class:`tadan.Codec`.
        on_trial: called three times for each size and number.
    """
    codec, rows = Codec(model, threads=1), []
    options: EncodeFields = {} if effort is None else {"effort": effort}
    for size in sizes:
        picture = resized(image, size)
        data = codec.encode(picture, **options)
        codec.decode(data)
        pixels = picture.width * picture.height / 1e6
        for count in workers:
            rates = []
            for work in (
                lambda: codec.encode(picture, **options),  # noqa: B023 (called at once)
                lambda: codec.decode(data),  # noqa: B023
                lambda: codec.verify(data),  # noqa: B023
            ):
                rates.append(pixels * _rate(work, count, seconds))
                on_trial()
            rows.append(ThroughputRow(pixels, count, *rates))
    return rows


def _rate(work: Callable[[], object], workers: int, seconds: float) -> float:
    """Calls a second: of each worker its calls over its time, added up."""
    rates: list[float] = []

    def serve() -> None:
        begun, calls = time.perf_counter(), 0
        while calls == 0 or time.perf_counter() - begun < seconds:
            work()
            calls += 1
        rates.append(calls / (time.perf_counter() - begun))

    threads = [threading.Thread(target=serve) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(rates)


def measure_start(image: Image.Image, repeat: int) -> dict[str, float]:
    """Seconds until a new process has done something, medians: ``import tadan``, and commands on one picture."""
    with tempfile.TemporaryDirectory() as folder:
        source, coded, back = (Path(folder) / name for name in ("a.ppm", "a.tdn", "b.ppm"))
        image.save(source)
        run_tadan(["encode", str(source), str(coded), "-Q"])
        commands = {
            "tadan info": ["info", str(coded)],
            "tadan decode": ["decode", str(coded), str(back), "-f", "-Q"],
            "tadan encode": ["encode", str(source), str(coded), "-f", "-Q"],
        }
        times: dict[str, list[float]] = {}
        for _ in range(repeat):
            times.setdefault("import tadan", []).append(_import_seconds())
            for name, line in commands.items():
                times.setdefault(name, []).append(run_tadan(line).seconds)
    return {name: median(values) for name, values in times.items()}


def _import_seconds() -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import tadan"], check=True)
    return time.perf_counter() - begun
