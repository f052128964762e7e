"""JPEG files kept byte for byte: what comes back, what is shown, and what damaged or hostile ones end in."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import tadan
from photo_examples import photo
from tadan import Codec, Corrupt, InvalidInput, LimitExceeded, Limits, UnreadableInput
from tadan.bitstream import Stream, Tile, read_stream, write_stream
from tadan.cli.main import app
from tadan.codec import jpeg_file

pytest.importorskip("lepton_jpeg_python")


def jpeg(name="astronaut", height=94, width=150, **options):
    buffer = io.BytesIO()
    image = Image.fromarray(photo(name, height, width))
    if options.pop("grey", False):
        image = image.convert("L")
    image.save(buffer, "JPEG", **{"quality": 90, **options})
    return buffer.getvalue()


def turned():
    """Orientation 6: shown turned by a quarter."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return jpeg(exif=exif.tobytes(), icc_profile=b"p" * 200)


KINDS = {
    "colour": jpeg(),
    "grey": jpeg(grey=True),
    "4:2:0": jpeg(subsampling=2),
    "progressive": jpeg(progressive=True),
    "turned": turned(),
    "tail": jpeg() + b"what a camera left behind the picture",
    "restarts": jpeg(restart_marker_rows=1),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_byte_comes_back_and_the_picture_is_the_jpegs(kind):
    given = KINDS[kind]
    data = Codec().keep_jpeg(given).data
    assert Codec().original(data) == given
    assert tadan.inspect(data).content == "jpeg-file"
    shown = tadan.decode(data)
    with Image.open(io.BytesIO(given)) as image:
        plain = tadan.decode(tadan.encode(image, lossless=True))
    assert (shown.mode, shown.size) == (plain.mode, plain.size)
    assert np.array_equal(np.asarray(shown), np.asarray(plain))
    assert shown.info.keys() >= plain.info.keys()
    assert Codec().verify(data).content == "jpeg-file"
    left = tadan.salvage(data)
    assert left.whole
    assert left.image.info == shown.info
    part = tadan.decode(data, region=(10, 20, 30, 25))
    assert np.array_equal(np.asarray(part), np.asarray(shown.crop((10, 20, 40, 45))))


def test_photographs_become_smaller():
    given = jpeg("coffee", 240, 300, quality=92)
    assert len(Codec().keep_jpeg(given).data) < 0.9 * len(given)


def test_what_is_no_jpeg_or_damaged_is_refused():
    with pytest.raises(InvalidInput, match="--lossless"):
        Codec().keep_jpeg(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UnreadableInput):
        Codec().keep_jpeg(KINDS["colour"][:300])
    with pytest.raises(LimitExceeded):
        Codec(limits=Limits(max_pixels=150 * 94 - 1)).keep_jpeg(KINDS["colour"])
    buffer = io.BytesIO()
    Image.new("CMYK", (40, 40)).save(buffer, "JPEG")
    with pytest.raises(InvalidInput, match="byte for byte"):
        Codec().keep_jpeg(buffer.getvalue())
    with pytest.raises(InvalidInput, match="no JPEG to give back"):
        Codec().original(tadan.encode(photo("astronaut", 20, 20), lossless=True))


def test_large_jpegs_are_one_tile_within_the_limit_of_pixels():
    """A JPEG cannot be cut: the limit of pixels in a tile is not for it."""
    limits = Limits(max_tile_pixels=4096)
    data = Codec(limits=limits).keep_jpeg(KINDS["colour"]).data
    assert Codec(limits=limits).decode(data).size == (150, 94)


@pytest.mark.parametrize("seed", range(4))
def test_damage_is_found_whatever_byte_it_hits(seed):
    """Section checksums are put right, so that Lepton meets the damage."""
    stream = read_stream(Codec().keep_jpeg(KINDS["colour"]).data)
    words, rng = stream.tiles[0].payload, np.random.default_rng(seed)
    for _ in range(60):
        hurt = bytearray(words)
        for at in rng.integers(0, len(hurt), size=rng.integers(1, 4)):
            hurt[at] ^= int(rng.integers(1, 256))
        if rng.random() < 0.3:
            del hurt[int(rng.integers(1, len(hurt))) :]
        tile = Tile(stream.tiles[0].content_crc, bytes(hurt))
        data = write_stream(Stream(stream.header, {}, (tile,)))
        try:
            assert Codec().original(data) == KINDS["colour"]
        except Corrupt:
            continue


def test_sizes_are_compared_before_anything_is_unpacked(monkeypatch):
    """A frame of 65,535 pixels a side, a zip bomb for a header, a promise of gigabytes: none of them reaches Lepton."""
    import lepton_jpeg_python

    stream = read_stream(Codec().keep_jpeg(KINDS["colour"]).data)
    words = stream.tiles[0].payload
    fields = list(jpeg_file._LEPTON.unpack_from(words))
    start, rest = words[jpeg_file._LEPTON.size :][: fields[6]], words[jpeg_file._LEPTON.size + fields[6] :]
    plain = zlib.decompress(start)
    at = plain.index(struct.pack(">HH", 94, 150))

    def file(header, size=fields[5]):
        packed = zlib.compress(header)
        head = jpeg_file._LEPTON.pack(*fields[:5], size, len(packed))
        body = head + packed + rest[:-4]
        tile = Tile(stream.tiles[0].content_crc, body + struct.pack("<I", len(body) + 4))  # of the whole
        return write_stream(Stream(stream.header, {}, (tile,)))

    assert Codec().original(file(plain)) == KINDS["colour"]
    monkeypatch.setattr(lepton_jpeg_python, "decompress_bytes", lambda _: pytest.fail("it was asked to unpack"))
    hostile = [
        file(plain[:at] + struct.pack(">HH", 65535, 65535) + plain[at + 4 :]),
        file(plain + bytes(2**27)),
        file(plain, 2**32 - 1),
        file(plain + b"\xff\xda\0\2" * 101),
        file(plain[:20]),
    ]
    for data in hostile:
        with pytest.raises(Corrupt):
            Codec().original(data)
        with pytest.raises(Corrupt):
            Codec().decode(data)


def test_metadata_stands_inside_the_jpeg_alone():
    stream = read_stream(Codec().keep_jpeg(KINDS["colour"]).data)
    data = write_stream(Stream(stream.header, {"exif": b"II*\0"}, stream.tiles))
    for read in (tadan.decode, Codec().verify, Codec().original):
        with pytest.raises(Corrupt, match="metadata beside"):
            read(data)


def test_command_line_keeps_and_gives_back(tmp_path):
    def run(*words):
        return CliRunner().invoke(app, [*map(str, words)])

    given, kept, back = tmp_path / "a.jpg", tmp_path / "a.tdn", tmp_path / "back.jpg"
    given.write_bytes(KINDS["turned"])
    assert run("encode", given, kept, "--lossless-jpeg").exit_code == 0
    assert "JPEG-FILE" in run("info", kept).output
    assert run("decode", kept, back).exit_code == 0
    assert back.read_bytes() == given.read_bytes()
    assert run("transcode", kept, tmp_path / "b.jpeg").exit_code == 0
    assert (tmp_path / "b.jpeg").read_bytes() == given.read_bytes()
    assert run("decode", kept, tmp_path / "small.jpg", "-q", 40).exit_code == 0
    assert (tmp_path / "small.jpg").stat().st_size < given.stat().st_size
    assert run("decode", kept, tmp_path / "a.png").exit_code == 0
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (94, 150)
    assert run("transcode", kept, tmp_path / "again.tdn", "--max-side", 64).exit_code == 0
    assert tadan.inspect(tmp_path / "again.tdn").quality < 100
    picture = tmp_path / "a.png"
    assert run("encode", picture, tmp_path / "c.tdn", "--lossless-jpeg").exit_code == 2
    assert not (tmp_path / "c.tdn").exists()
    assert run("encode", given, kept, "-f", "--lossless-jpeg", "-q", 50).exit_code == 2
