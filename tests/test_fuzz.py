"""A minute of the fuzz targets with a fixed seed, and everything that they ever found (fuzz/README.md)."""

import random
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest

import corpus
from codec_examples import CODEC
from mutators import MUTATORS, damage, forge, split_file
from oracles import Violation, check, confined, within
from photo_examples import photo
from tadan.bitstream import MAGIC, Header, Limits, ScheduleField, Stream, Tile, read_stream, recover, write_stream
from tadan.codec.stored import as_jpeg, read_tile
from tadan.codec.transforms import Transforms
from tadan.errors import Corrupt, TadanError
from targets import TARGETS

REGRESSIONS = sorted((Path(__file__).parents[1] / "fuzz" / "regressions").iterdir())
MEMORY = 768 * 2**20  # bytes that a target may add to the process


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_mutated_inputs(name):
    """As many inputs of each target as its ``count`` says: the same ones on every machine with the same model."""
    target, rng = TARGETS[name], random.Random(zlib.crc32(name.encode()))
    seeds = corpus.inputs(target.kind)
    before = _peak()
    for data in seeds.values():
        target.run(data)
    for number in range(target.count):
        seed = rng.choice(sorted(seeds))
        data = MUTATORS[target.kind](seeds[seed], rng)
        try:
            target.run(data)
        except Exception as error:
            raise AssertionError(f"input {number} of {name}, from {seed}: {data[:600].hex()}") from error
    assert _peak() - before < MEMORY


def _peak():
    """Bytes of the process at most so far."""
    resource = pytest.importorskip("resource", reason="this system has no limits of resources")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: path.name)
def test_what_was_found_once(path):
    """The name of the file begins with that of its target."""
    TARGETS[path.name.partition("-")[0]].run(path.read_bytes())


# --- the mutators reach what they are meant to reach ------------------------------------------------------------------


def test_forgeries_pass_the_checksums_of_the_container():
    rng, accepted = random.Random(1), 0
    seeds = [seed.data for seed in corpus.seeds().values()]
    for _ in range(300):
        try:
            accepted += bool(read_stream(forge(rng.choice(seeds), rng)))
        except TadanError:
            continue
    assert accepted > 60


def test_damage_changes_seeds_and_seeds_survive_splitting():
    rng = random.Random(2)
    for seed in corpus.seeds().values():
        assert sum(damage(seed.data, rng) != seed.data for _ in range(20)) > 15
        _, sections = split_file(seed.data)
        assert len(sections) == len(seed.stream.tiles) + len(seed.stream.metadata)


@pytest.mark.parametrize("field", ["tiles", "quality"])
def test_the_oracle_notices_another_picture(field, monkeypatch):
    """A decoder that shows the wrong picture, or that skips the checksum of the latents, is a violation."""
    from tadan.codec import decoder, reader

    if field == "tiles":
        monkeypatch.setattr(decoder.TileDecoder, "latents", _unchecked)
        payload = bytearray(corpus.seeds()["rgb"].stream.tiles[0].payload)
        data = _with_payload(corpus.seeds()["rgb"].stream, bytes(payload[:-1]) + bytes((payload[-1] ^ 1,)))
    else:
        real = reader.pixels
        monkeypatch.setattr(reader, "pixels", lambda *args: ((box, rgb | 1) for box, rgb in real(*args)))
        data = corpus.seeds()["rgb"].data
    with pytest.raises(Violation):
        TARGETS["decode"].run(data)


def _unchecked(self, tile, box):
    latents, _ = self.first_stages(tile, box, None)
    return latents


def _with_payload(stream, payload):
    tile = Tile(stream.tiles[0].content_crc, payload, stream.tiles[0].alpha)
    return write_stream(Stream(stream.header, stream.metadata, (tile,)))


def test_caps_hold():
    with pytest.raises(Violation, match="processor time"), within(0.01):
        _burn(0.05)
    with pytest.raises(Violation, match="what"):
        check(0, "what")
    with confined(), pytest.raises(RuntimeWarning):
        np.float32(1e30) * np.float32(1e30)


def _burn(seconds):
    start = time.process_time()
    while time.process_time() - start < seconds:
        pass


# --- findings that no small file shows --------------------------------------------------------------------------------


def test_a_file_of_nothing_but_tags_is_searched_in_linear_time():
    header = Header(256, 64, "RGB", 50, b"1234567812345678", ScheduleField("2x2"), 64)
    whole = write_stream(Stream(header, {}, (Tile(0, b"x"),) * 4))
    length = 1_500_000
    tag = b"T" + bytes((length & 127 | 128, length >> 7 & 127 | 128, length >> 14)) + b"\x7f"
    with within(8):
        found = recover(whole[:-44] + tag * (2 * length // len(tag)), Limits())
    assert not found.tiles


def test_a_long_header_is_given_up_at_once():
    with within(0.5), pytest.raises(Corrupt):
        recover(MAGIC + b"\x01\xf0\x01" + bytes(300), Limits())


def test_a_jpeg_of_thousands_of_scans_is_refused():
    """Each costs a pass over the picture: 14 bytes, 60 ms at 178 megapixels."""
    side = 512
    data = bytearray(as_progressive(np.zeros((side, side), np.uint8)))
    scan = bytes(data[data.rindex(b"\xff\xda") : -2])
    data[-2:-2] = 3000 * scan
    with within(0.2), pytest.raises(Corrupt):
        read_tile("jpeg", Tile(zlib.crc32(data), bytes(data)), True, side, side)
    plain = as_jpeg(photo()[:, :, 0], 80)
    assert read_tile("jpeg", Tile(zlib.crc32(plain), plain), True, 96, 80).shape == (80, 96, 3)


def as_progressive(pixels):
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", progressive=True)
    return buffer.getvalue()


def test_a_header_alone_is_salvaged_without_running_a_network(monkeypatch):
    """35 bytes that announce 4 megapixels: nothing of them arrived, so there is nothing to compute."""
    header = Header(2048, 2048, "RGB", 50, CODEC.model.id, ScheduleField("2x2"), 64)
    whole = write_stream(Stream(header, {}, (Tile(0, b""),) * 1024))
    for network in ("synthesise", "latents_of", "hyper_of"):
        monkeypatch.setattr(Transforms, network, lambda *_: pytest.fail("a network ran"))
    salvaged = CODEC.salvage(whole[: 10 + whole[9] + 4])
    assert salvaged.count("lost") == 1024
    assert salvaged.image.getextrema() == ((128, 128),) * 3


def test_bytes_like_objects_are_salvaged():
    data = corpus.seeds()["rgb"].data
    for same in (bytearray(data), memoryview(data)):
        assert CODEC.salvage(same).whole
