"""Does every way of decoding give the same latents, and pixels within a level? Threads, backends, batches, kernels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from tadan.bitstream import Header, read_stream
from tadan.codec.codec import Codec
from tadan.codec.decoder import TileDecoder
from tadan.codec.sessions import CPU, Session
from tadan.codec.transforms import scaled
from tadan.core import kernel
from tadan.errors import Corrupt
from tadan.exact.linear import MatMul
from tadan.latents.coder import Y_STRIDE, LatentCoder, Latents, plane_shape
from tadan.models import Model
from tadan.pictures.folder import open_rgb
from tadan.schedule import parse_schedule

BATCHES = (1, 3, 4)
#: Levels of onnxruntime's graph optimisation; the product runs with all of them.
OPTIMISATIONS = {"no": "ORT_DISABLE_ALL", "basic": "ORT_ENABLE_BASIC", "extended": "ORT_ENABLE_EXTENDED"}
_GPU_PROVIDERS = ("CUDAExecutionProvider", "ROCMExecutionProvider")
_Synthesis = Callable[[NDArray[np.int32], int], NDArray[np.uint8]]


@dataclass(frozen=True)
class ExactnessRow:
    """One way of decoding: number of pictures, and how many did not have the encoder's latents."""

    way: str
    pictures: int
    mismatches: int


@dataclass(frozen=True)
class PixelRow:
    """One way of turning latents into pixels, against the product's own on one thread.

    Attributes:
        way: what ran.
        pictures: how many.
        levels: largest difference of a sample; at most 1 is promised.
        differing: share of the samples that differ at all.
    """

    way: str
    pictures: int
    levels: int
    differing: float


@dataclass(frozen=True)
class _File:
    """An encoded picture, and the checksum of its latents."""

    data: bytes
    header: Header
    words: bytes
    crc: int


def torch_matmul(device: str = "cpu") -> MatMul:
    """Matrix product by torch, for comparison; needs torch."""
    import torch

    def product(x: Any, weight: Any) -> Any:
        left, right = (torch.from_numpy(np.ascontiguousarray(value)).to(device) for value in (x, weight))
        return (left @ right).cpu().numpy()

    return product


def numpy_matmul(x: NDArray[Any], weight: NDArray[Any]) -> NDArray[Any]:
    """numpy's product, also where there is a core: that computes in place of ``np.matmul`` alone."""
    return np.asarray(np.matmul(x, weight))


def einsum_matmul(x: Any, weight: Any) -> Any:
    """Matrix product in floats by numpy's own loops: another order of summation, and no BLAS."""
    return np.einsum("ij,jk->ik", x, weight, optimize=False)


def integer_matmul(x: Any, weight: Any) -> Any:
    """Matrix product in int64, as docs/SPEC.md has it: no float takes part, no BLAS knows integers. Slow."""
    return (x.astype(np.int64) @ weight.astype(np.int64)).astype(x.dtype)


def check_exactness(
    pictures: Sequence[Path],
    quality: int,
    schedule: str,
    model: str | None = None,
    on_picture: Callable[[], None] = lambda: None,
) -> Iterator[ExactnessRow | PixelRow]:
    """Encode every picture once, then decode it in several ways: the latents must be equal, pixels within a level.

    Ways for latents: numpy with 1 and 2 threads, the integer core, numpy without BLAS in floats and in integers, torch
    and a GPU (when at hand), batches of 1, 3 and 4 pictures of one size. For pixels: 1 and 2 threads, all levels of
    optimisation of onnxruntime, a GPU when at hand.
    """
    encoder = Codec(model, threads=2)
    files = []
    for path in pictures:
        data = encoder.encode(open_rgb(path), quality=quality, schedule=schedule, tile=0, fallback=False)
        stream = read_stream(data)
        files.append(_File(data, stream.header, stream.tiles[0].payload, stream.tiles[0].content_crc))
        on_picture()
    for way, threads, matmul in _ways():
        wrong = 0
        for file in files:
            decoder = TileDecoder(file.header, encoder.model, matmul)
            with threadpool_limits(threads, user_api="blas"):
                try:
                    decoder.latents(read_stream(file.data).tiles[0], (0, 0, file.header.width, file.header.height))
                except Corrupt:  # it compares the checksum
                    wrong += 1
            on_picture()
        yield ExactnessRow(way, len(files), wrong)
    for batch in BATCHES:
        yield _batched(encoder.model, files, schedule, batch, on_picture)
    yield from _compare_pixels(encoder, files, on_picture)


def _ways() -> Iterator[tuple[str, int | None, MatMul]]:
    """Name, threads of BLAS and matrix product of each way to decode."""
    for threads in (1, 2):
        yield f"numpy, {threads} thread(s)", threads, numpy_matmul
    yield f"the integer core, {kernel()}", None, np.matmul
    yield "numpy without BLAS, float einsum", None, einsum_matmul
    yield "numpy without BLAS, int64", None, integer_matmul
    try:
        import torch
    except ImportError:
        return
    yield f"torch {torch.__version__}", None, torch_matmul()
    if torch.cuda.is_available():
        yield torch.cuda.get_device_name(), None, torch_matmul("cuda")


def _batched(
    model: Model, files: Sequence[_File], schedule: str, size: int, on_picture: Callable[[], None]
) -> ExactnessRow:
    by_shape: dict[tuple[int, int], list[_File]] = defaultdict(list)
    for file in files:
        by_shape[plane_shape(file.header.width, file.header.height, Y_STRIDE)].append(file)
    wrong = 0
    for shape, alike in by_shape.items():
        for start in range(0, len(alike), size):
            batch = alike[start : start + size]
            words = [file.words for file in batch]
            try:
                decoded = LatentCoder(model, batch[0].header.quality, parse_schedule(schedule)).decode(words, shape)
            except Corrupt:  # one of them, and nobody knows which
                wrong += len(batch)
            else:
                wrong += sum(one.checksum() != file.crc for file, one in zip(batch, decoded, strict=True))
            for _ in batch:
                on_picture()
    return ExactnessRow(f"numpy, batches of {size}", len(files), wrong)


def _compare_pixels(codec: Codec, files: Sequence[_File], on_picture: Callable[[], None]) -> Iterator[PixelRow]:
    """One row a way; only one picture's latents are held at a time."""
    base = synthesis(codec.model, "all", threads=1)
    ways = {f"onnxruntime, {name} optimisation": synthesis(codec.model, name, threads=1) for name in OPTIMISATIONS}
    ways["onnxruntime, all optimisations, 2 threads"] = synthesis(codec.model, "all", threads=2)
    import onnxruntime

    for provider in set(_GPU_PROVIDERS) & set(onnxruntime.get_available_providers()):
        ways[f"onnxruntime, {provider}"] = synthesis(codec.model, "all", provider=provider)
    levels, differing, samples = dict.fromkeys(ways, 0), dict.fromkeys(ways, 0), 0
    for file in files:
        latents: Latents = codec.decode_latents(file.data)[0]
        quality = file.header.quality
        expected = base(latents.y_hat, quality).astype(np.int16)
        samples += expected.size
        for way, run in ways.items():
            difference = np.abs(run(latents.y_hat, quality) - expected)
            levels[way] = max(levels[way], int(difference.max()))
            differing[way] += int(np.count_nonzero(difference))
        on_picture()
    for way in ways:
        yield PixelRow(way, len(files), levels[way], differing[way] / max(samples, 1))


def synthesis(model: Model, optimisation: str, threads: int = 1, provider: str = CPU) -> _Synthesis:
    """g_s in a session of its own: (y_hat int32 (h, w, latent), quality) -> uint8 (16 h, 16 w, 3), docs/SPEC.md, 11.

    Args:
        model: whose g_s.
        optimisation: a key of OPTIMISATIONS, or "all".
        threads: of onnxruntime.
        provider: of onnxruntime.
    """
    session = Session(model, "g_s", threads, OPTIMISATIONS.get(optimisation, "ORT_ENABLE_ALL"), provider)

    def run(y_hat: NDArray[np.int32], quality: int) -> NDArray[np.uint8]:
        [picture] = session.run(scaled(model, y_hat, quality), model.block_gains("g_s", quality))
        return np.asarray(picture[0])

    return run
