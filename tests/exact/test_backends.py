"""Backends, threads and batches: the bundled model decodes the same latents with all of them."""

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

from photo_examples import photo
from tadan.bitstream import read_stream
from tadan.codec.codec import Codec
from tadan.codec.options import EncodeOptions
from tadan.codec.transforms import Transforms
from tadan.errors import Corrupt
from tadan.latents.coder import LatentCoder, plane_shape
from tadan.models import load_model
from tadan.schedule import PatternSchedule, get_schedule

MODEL = load_model()
BY_NAME = {name: get_schedule(name) for name in ("checkerboard", "2x2", "4x4", "2x2-rotated", "wavefront")} | {
    "inline": PatternSchedule([[0, 1, 0], [2, 1, 3]])
}


def torch_matmul(a, b):
    return torch.from_numpy(a).matmul(torch.from_numpy(b)).numpy()


def einsum_matmul(a, b):
    """Without BLAS, in another order of summation."""
    return np.einsum("nk,km->nm", a[:, ::-1], b[::-1])


@pytest.fixture(scope="module")
def coded():
    """Payloads and latents of three photographs under some schedules."""
    transforms, out = Transforms(MODEL, 1), {}
    for name in ("checkerboard", "2x2", "4x4", "2x2-rotated", "inline", "wavefront"):
        for picture in ("astronaut", "coffee", "chelsea"):
            y, z = transforms.analyse(photo(picture), 60)
            payload, latents, _ = LatentCoder(MODEL, 60, BY_NAME[name]).encode(y, z)
            out.setdefault(name, []).append((payload, latents))
    return out


@pytest.mark.parametrize("matmul", [np.matmul, torch_matmul, einsum_matmul])
@pytest.mark.parametrize("threads", [1, 2])
def test_decoding_is_the_same_for_every_backend_thread_count_and_batch(coded, matmul, threads):
    shape = plane_shape(96, 80, 16)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with threadpool_limits(threads, user_api="blas"):
            # Each product of several threads waits for the slowest; few stages say as much.
            for name in coded if threads == 1 and matmul is not einsum_matmul else ("checkerboard",):
                pictures = coded[name]
                payloads = [payload for payload, _ in pictures]
                together = LatentCoder(MODEL, 60, BY_NAME[name], matmul).decode(payloads, shape)
                alone = [LatentCoder(MODEL, 60, BY_NAME[name], matmul).decode([p], shape)[0] for p in payloads[:1]]
                for got, (_, expected) in zip(together + alone, [*pictures, pictures[0]], strict=True):
                    np.testing.assert_array_equal(got.y_hat, expected.y_hat)
                    np.testing.assert_array_equal(got.z_hat, expected.z_hat)
                    assert got.checksum() == expected.checksum()
    finally:
        torch.set_num_threads(before)


def test_a_large_picture_encodes_to_the_same_bytes_on_every_backend():
    """Large enough that BLAS and torch do share the work between threads."""
    picture = photo("astronaut", 256, 320)
    files = {Codec(MODEL, threads=threads).encode(picture, quality=80, schedule="2x2") for threads in (1, 2)}
    assert len(files) == 1
    [tile] = read_stream(*files).tiles
    coder = LatentCoder(MODEL, 80, BY_NAME["2x2"], torch_matmul)
    assert coder.decode([tile.payload], (16, 20))[0].checksum() == tile.content_crc


def test_one_damaged_payload_of_a_batch_is_reported(coded):
    payloads = [payload for payload, _ in coded["2x2"]]
    with pytest.raises(Corrupt):
        LatentCoder(MODEL, 60, BY_NAME["2x2"]).decode([payloads[0], payloads[1][:-4], payloads[2]], (5, 6))


def test_wavefront_has_the_symbols_and_probabilities_of_raster():
    codec, picture = Codec(MODEL, threads=1), photo("coffee")
    raster, wavefront = (
        codec.encode_picture(picture, EncodeOptions(quality=60, schedule=name)) for name in ("raster", "wavefront")
    )
    first, second = (codec.decode_latents(one.data)[0] for one in (raster, wavefront))
    np.testing.assert_array_equal(first.y_hat, second.y_hat)
    assert first.checksum() == second.checksum()
    assert raster.estimated_bits == pytest.approx(wavefront.estimated_bits, rel=1e-9)
    assert abs(len(raster.data) - len(wavefront.data)) <= 12  # 3 for the name, the rest for whole words
