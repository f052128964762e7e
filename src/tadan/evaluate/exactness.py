"""Does every way of decoding give the same latents? Threads, numerical backends, batches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tadan.bitstream import read_stream
from tadan.codec.codec import Codec
from tadan.codec.latents import Y_STRIDE, decode_latents, plane_shape
from tadan.evaluate.pictures import open_rgb
from tadan.exact.linear import MatMul
from tadan.schedule import parse_schedule


@dataclass(frozen=True)
class ExactnessRow:
    """One way of decoding: number of pictures, and how many did not have the encoder's latents."""

    way: str
    pictures: int
    mismatches: int


def torch_matmul(device: str = "cpu") -> MatMul:
    """Matrix product by torch, for comparison; needs torch."""
    import torch

    def product(x: Any, weight: Any) -> Any:
        left, right = (torch.from_numpy(np.ascontiguousarray(value)).to(device) for value in (x, weight))
        return (left @ right).cpu().numpy()

    return product


def check_exactness(
    pictures: Sequence[Path],
    quality: int,
    schedule: str,
    model: str | None = None,
    on_picture: Callable[[], None] = lambda: None,
) -> Iterator[ExactnessRow]:
    """Encode every picture once, then decode it in several ways and compare the checksums of the latents.

    Ways: numpy with 1 and 2 threads, torch with 1 and 2 threads (when installed), batches of up to 4 equal sizes.
    """
    encoder = Codec(model, threads=2)
    files, expected = [], []
    for path in pictures:
        data = encoder.encode(open_rgb(path), quality, schedule)
        files.append(data)
        expected.append(read_stream(data).tiles[0].latents_crc)
        on_picture()
    ways: list[tuple[str, Codec]] = [(f"numpy, {n} thread(s)", Codec(model, threads=n)) for n in (1, 2)]
    try:
        import torch
    except ImportError:
        pass
    else:
        ways.append((f"torch {torch.__version__}", Codec(model, matmul=torch_matmul())))
        if torch.cuda.is_available():
            ways.append((torch.cuda.get_device_name(), Codec(model, matmul=torch_matmul("cuda"))))
    for way, codec in ways:
        wrong = 0
        for data, crc in zip(files, expected, strict=True):
            wrong += codec.decode_latents(data)[0].checksum() != crc
            on_picture()
        yield ExactnessRow(way, len(files), wrong)
    yield _batched(encoder, files, expected, schedule, on_picture)


def _batched(
    codec: Codec, files: Sequence[bytes], expected: Sequence[int], schedule: str, on_picture: Callable[[], None]
) -> ExactnessRow:
    by_size: dict[tuple[int, int], list[int]] = defaultdict(list)
    streams = [read_stream(data) for data in files]
    for number, stream in enumerate(streams):
        by_size[stream.header.width, stream.header.height].append(number)
    wrong = 0
    for (width, height), numbers in by_size.items():
        for start in range(0, len(numbers), 4):
            batch = numbers[start : start + 4]
            decoded = decode_latents(
                codec.model,
                [streams[number].tiles[0].payload for number in batch],
                plane_shape(width, height, Y_STRIDE),
                streams[batch[0]].header.quality,
                parse_schedule(schedule),
            )
            for number, latents in zip(batch, decoded, strict=True):
                wrong += latents.checksum() != expected[number]
                on_picture()
    return ExactnessRow("numpy, batches of 4", len(files), wrong)
