"""The full decoder beside lite ones, on the same files: quality, seconds, bytes of weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

from tadan.codec.codec import Codec
from tadan.codec.options import FULL
from tadan.models import Model
from tadan.models.lite import find_lite
from tadan.models.macs import g_s_macs_per_pixel
from tadan.pictures.folder import open_rgb
from tadan_lab.measure.metrics import psnr, ssimulacra2


@dataclass(frozen=True)
class DecoderRow:
    """One decoder at one quality; means over pictures.

    Attributes:
        decoder: "full", "lite" or a file.
        quality: 1 to 100.
        bpp: bits per pixel of the files, the same for all decoders.
        psnr: dB.
        ssimulacra2: 100 for equal pictures.
        seconds: of decoding, the mean of each picture's median.
    """

    decoder: str
    quality: int
    bpp: float
    psnr: float
    ssimulacra2: float
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)


def compare_decoders(
    pictures: Sequence[Path],
    decoders: Sequence[str],
    qualities: Sequence[int],
    model: str | None,
    threads: int,
    repeat: int,
    on_picture: Callable[[], None] = lambda: None,
) -> list[DecoderRow]:
    """Encode every picture once at every quality, and decode it by every decoder in turn.

    Args:
        pictures: files.
        decoders: as :class:`tadan.Codec` takes them.
        qualities: 1 to 100.
        model: name or path; None for the bundled one.
        threads: of each codec.
        repeat: decodes of each file that are timed, after one that is not.
        on_picture: called after every picture and quality.
    """
    codecs = [Codec(model, threads=threads, decoder=one) for one in decoders]
    rows = []
    for quality in qualities:
        found: list[list[tuple[float, float, float, float]]] = [[] for _ in codecs]
        for path in pictures:
            image = open_rgb(path)
            data = codecs[0].encode(image, quality=quality, fallback=False)
            bpp = 8 * len(data) / (image.width * image.height)
            shown = [codec.decode(data) for codec in codecs]
            seconds: list[list[float]] = [[] for _ in codecs]
            for _ in range(repeat):
                for codec, own in zip(codecs, seconds, strict=True):
                    begun = time.perf_counter()
                    codec.decode(data)
                    own.append(time.perf_counter() - begun)
            for picture, own, all_of in zip(shown, seconds, found, strict=True):
                all_of.append((bpp, psnr(image, picture), ssimulacra2(image, picture), median(own)))
            on_picture()
        for name, all_of in zip(decoders, found, strict=True):
            rows.append(DecoderRow(name, quality, *(mean(column) for column in zip(*all_of, strict=True))))
    return rows


def weights_of(decoder: str, model: Model) -> dict[str, float]:
    """Bytes of the weights of a decoder's g_s, and kMAC per pixel."""
    if decoder == FULL:
        size, config = sum(model.tensors[name].nbytes for name in ("graph.g_s", "weights.g_s")), model.config
    else:
        lite = find_lite(model, decoder)
        size, config = lite.nbytes, lite.config
    return {"bytes": size, "kmac": g_s_macs_per_pixel(config) / 1000}
