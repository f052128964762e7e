"""Little memory: sound files are never called damaged, a batch goes on, and small files cannot ask for much."""

import io
import subprocess
import sys
import textwrap
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

import tadan
from codec_examples import CODEC
from photo_examples import photo
from tadan.bitstream import Header, Limits, PixelMode, Stream, Tile, read_stream, write_stream
from tadan.codec import stored
from tadan.codec.codec import Codec
from tadan.errors import Corrupt, LimitExceeded, OutOfMemory
from tadan.pictures import reading

DATA = CODEC.encode(photo(), quality=30, effort=0)
RNG = np.random.default_rng(3)


def no_memory(*_args, **_kwargs):
    raise MemoryError


def stored_stream(alpha=False):
    pixels = np.repeat(np.arange(40, dtype=np.uint8)[:, None], 60, axis=1)
    whole = np.dstack([pixels] * 3 + [pixels] * alpha)
    return CODEC.encode(whole, lossless=True)


def test_memory_that_pillow_lacks_is_no_damage(monkeypatch):
    data = stored_stream()
    monkeypatch.setattr(stored.Image, "open", no_memory)
    with pytest.raises(OutOfMemory, match="not enough memory for decoding"):
        CODEC.decode(data)
    with pytest.raises(OutOfMemory, match="not enough memory for checking"):
        CODEC.verify(data)


def test_memory_that_an_alpha_plane_lacks_is_no_damage(monkeypatch):
    data = stored_stream(alpha=True)
    monkeypatch.setattr(reading, "Image", type("Stub", (), {"open": staticmethod(no_memory)}))
    with pytest.raises(OutOfMemory):
        CODEC.decode(data)


def test_memory_that_numpy_lacks_is_typed(monkeypatch):
    monkeypatch.setattr("tadan.exact.network.EntropyTwin.hyper", no_memory)
    for work in (CODEC.decode, CODEC.verify, CODEC.salvage, CODEC.decode_latents):
        with pytest.raises(OutOfMemory):
            work(DATA)
    with pytest.raises(OutOfMemory, match="encoding"):
        CODEC.encode(photo(), effort=0)


@pytest.mark.parametrize("message", ["Failed to allocate memory for requested buffer of size 1", "std::bad_alloc"])
def test_memory_that_onnx_runtime_lacks_is_typed(message, monkeypatch):
    class Stub:
        def __init__(self, *_args, **_kwargs):
            raise RuntimeError(f"[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : {message}")

    monkeypatch.setattr("onnxruntime.InferenceSession", Stub)
    monkeypatch.setattr("tadan.codec.transforms.runs_in_core", lambda model: False)
    with pytest.raises(OutOfMemory, match="network g_s"):
        Codec(threads=1).decode(DATA)


def test_memory_that_libwebp_lacks_is_typed(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise ValueError("encoding error 1")

    monkeypatch.setattr(stored, "_saved", lambda pixels, form, **_: refuse() if form == "WEBP" else b"png")
    with pytest.raises(OutOfMemory):
        CODEC.encode(photo(), lossless=True)


def test_out_of_memory_says_what_to_change():
    error = OutOfMemory("this")
    assert isinstance(error, MemoryError)
    assert isinstance(error, tadan.TadanError)
    assert "fewer threads" in str(error)


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of address space is Linux's")
@pytest.mark.slow
@pytest.mark.parametrize("megabytes", [60, 120])
def test_a_picture_that_is_too_large_for_the_machine_does_not_end_the_batch(megabytes, tmp_path):
    """Whatever the limit cuts short (pixels, networks), the error is typed and the small picture goes on."""
    large = np.tile(photo("astronaut", 256, 256), (14, 14, 1))
    Image.fromarray(large).save(tmp_path / "a-large.png", compress_level=1)
    Image.fromarray(photo("chelsea", 64, 64)).save(tmp_path / "b-small.png")
    script = """
        import resource, sys
        import tadan, numpy, onnxruntime, PIL.Image
        from tadan.cli.main import app
        warm = tadan.encode(numpy.zeros((64, 64, 3), numpy.uint8) + 7, effort=0)
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[3]) * 2**20,) * 2)
        app(["encode", "--threads", "1", "-e", "0", sys.argv[1], "--out-dir", sys.argv[2]])
    """
    line = [sys.executable, "-c", textwrap.dedent(script), tmp_path, tmp_path / "out", str(megabytes)]
    result = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 2, result.stderr
    assert "not enough memory" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out" / "a-large.tdn").exists()
    assert tadan.read(tmp_path / "out" / "b-small.tdn").size == (64, 64)


def test_a_tiny_stored_file_cannot_claim_hundreds_of_megapixels():
    side = 13377
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "WEBP", lossless=True)
    payload = bytearray(buffer.getvalue())
    payload[21:25] = (side - 1 | side - 1 << 14).to_bytes(4, "little")
    header = Header(side, side, PixelMode.RGB, 50, None, None, content="webp")
    data = write_stream(Stream(header, {}, (Tile(0, bytes(payload)),)))
    assert len(data) < 120
    for work in (CODEC.decode, CODEC.verify, CODEC.salvage):
        with pytest.raises(LimitExceeded, match="max_tile_pixels") as caught:
            work(data)
        assert (caught.value.limit, caught.value.value) == ("max_tile_pixels", side**2)


@pytest.mark.parametrize("alpha", [False, True])
def test_large_stored_pictures_are_cut_into_tiles_that_readers_take(alpha):
    codec = Codec(threads=1, limits=Limits(max_tile_pixels=64 * 64 + 99))
    picture = np.dstack([photo("chelsea", 100, 150)] + [RNG.integers(0, 256, (100, 150), np.uint8)] * alpha)
    data = codec.encode(picture, lossless=True)
    header = read_stream(data).header
    assert (header.tile_size, header.tile_count) == (64, 6)
    np.testing.assert_array_equal(np.asarray(codec.decode(data)), picture)
    np.testing.assert_array_equal(np.asarray(codec.decode(data, region=(60, 60, 10, 20))), picture[60:80, 60:70])


def test_large_unusual_pictures_are_stored_in_tiles_of_one_jpeg_quality():
    noise = RNG.integers(0, 256, (128, 128, 3), np.uint8)
    one, codec = CODEC.encode_picture, Codec(threads=1, limits=Limits(max_tile_pixels=64 * 64))
    options = tadan.codec.options.EncodeOptions(quality=60, effort=0, tile=64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole, cut = one(noise, options), codec.encode_picture(noise, options)
    assert whole.content == cut.content == "jpeg"
    tables = [Image.open(io.BytesIO(tile.payload)).quantization for tile in read_stream(cut.data).tiles]
    assert tables == [tables[0]] * 4
    first = np.asarray(codec.decode(cut.data)).astype(int)
    assert np.abs(first - np.asarray(CODEC.decode(whole.data)).astype(int)).mean() < 20


def test_limits_below_the_smallest_tile_are_an_error():
    codec = Codec(threads=1, limits=Limits(max_tile_pixels=1000))
    with pytest.raises(LimitExceeded, match="at most 1000 pixels"):
        codec.encode(photo("chelsea", 40, 40), lossless=True)


def test_damage_is_still_called_damage():
    data = stored_stream()
    stream = read_stream(data)
    [tile] = stream.tiles
    broken = bytearray(tile.payload)
    broken[len(broken) // 2] ^= 0x55
    changed = write_stream(Stream(stream.header, {}, (Tile(zlib.crc32(b"other"), bytes(broken)),)))
    with pytest.raises(Corrupt):
        CODEC.decode(changed)
