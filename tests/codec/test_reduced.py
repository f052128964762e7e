"""Smaller pictures straight from latents: near the means of the full picture, of the right size, and as safe."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import tadan
from photo_examples import photo, psnr
from tadan import Codec, Corrupt, InvalidInput
from tadan.bitstream import Stream, Tile, read_stream, write_stream
from tadan.codec import reduced
from tadan.codec.options import FACTORS
from tadan.codec.reduced import factor_for


@pytest.fixture
def small_is_large(monkeypatch):
    """Pictures of the tests take the way of large ones."""
    monkeypatch.setattr(reduced, "EXACT_PIXELS", 2**14)
    monkeypatch.setattr(reduced, "_POSITIONS", 400)


def enlarged(height, width, mode="RGB"):
    image = Image.fromarray(photo("coffee", 240, 320)).resize((width, height), Image.Resampling.BICUBIC)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image.convert(mode)


@pytest.mark.parametrize("factor", FACTORS[1:])
def test_small_pictures_are_the_means_of_the_full_one(factor):
    data = tadan.encode(photo("astronaut", 150, 130), effort=0)
    small, full = tadan.decode(data, reduce=factor), tadan.decode(data)
    assert np.array_equal(np.asarray(small), np.asarray(full.reduce(factor)))
    assert tadan.decode(data, reduce=1).size == full.size


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
@pytest.mark.parametrize("factor", FACTORS[1:])
def test_large_pictures_are_near_the_means(mode, factor, small_is_large):
    picture = enlarged(610, 700, mode)
    data = tadan.encode(picture, quality=60, effort=0, tile=384, fallback=False)
    small, full = tadan.decode(data, reduce=factor), tadan.decode(data)
    assert (small.mode, small.size) == (mode, (-(-700 // factor), -(-610 // factor)))
    means = full.reduce(factor)
    # Weighted by opacity, as Pillow averages; cells that the border cuts hold less.
    weighted = (np.asarray(one.convert("RGBa" if mode == "RGBA" else mode))[:-1, :-1] for one in (small, means))
    assert psnr(*weighted) > 36
    if mode == "RGBA":
        assert np.array_equal(np.asarray(small)[..., 3], np.asarray(means)[..., 3])


def test_parts_are_parts_of_the_whole(small_is_large):
    data = tadan.encode(enlarged(610, 700), quality=50, effort=0, tile=320, fallback=False)
    whole = tadan.decode(data, reduce=8)
    part = tadan.decode(data, reduce=8, region=(101, 203, 400, 300))
    left, top, right, bottom = 12, 25, 63, 63
    assert part.size == (right - left, bottom - top)
    cut = whole.crop((left, top, right, bottom))
    assert psnr(np.asarray(part), np.asarray(cut)) > 40  # fitted to other tiles


def test_previews_become_smaller_too(small_is_large):
    data = tadan.encode(enlarged(610, 700), quality=50, effort=0, tile=320, fallback=False)
    first, last = (tadan.decode(data, reduce=4, stages=stages) for stages in (1, 4))
    assert first.size == last.size
    assert not np.array_equal(np.asarray(first), np.asarray(last))


def test_damage_is_found(small_is_large):
    stream = read_stream(tadan.encode(enlarged(610, 700), quality=50, effort=0, tile=320, fallback=False))
    tiles = list(stream.tiles)
    tiles[5] = Tile(tiles[5].content_crc ^ 1, tiles[5].payload)
    data = write_stream(Stream(stream.header, {}, tuple(tiles)))
    with pytest.raises(Corrupt, match="checksum"):
        tadan.decode(data, reduce=4)
    assert tadan.decode(data, reduce=4, region=(0, 0, 320, 320)).size == (80, 80)  # far from that tile


def test_tiles_too_small_to_fit_to_are_shown_in_full(small_is_large):
    data = tadan.encode(enlarged(300, 300), quality=50, effort=0, tile=64, fallback=False)
    full = tadan.decode(data)
    assert np.array_equal(np.asarray(tadan.decode(data, reduce=4)), np.asarray(full.reduce(4)))


def test_threads_change_nothing(small_is_large):
    data = tadan.encode(enlarged(610, 700), quality=50, effort=0, tile=320, fallback=False)
    one, two = (np.asarray(Codec(threads=threads).decode(data, reduce=4), int) for threads in (1, 2))
    assert np.abs(one - two).max() <= 1


def test_hundred_megapixels_take_little_memory_and_no_g_s(monkeypatch):
    """One tile of a photograph 400 times: the map is fitted to a few and used for all."""
    one = read_stream(tadan.encode(enlarged(512, 512), quality=40, effort=0, fallback=False))
    header = replace(one.header, width=10_240, height=10_240, tile_size=512)
    data = write_stream(Stream(header, {}, one.tiles * header.tile_count))
    seen = []
    from tadan.codec.transforms import Transforms

    shown = Transforms.synthesise
    monkeypatch.setattr(Transforms, "synthesise", lambda *given: (seen.append(given[1].shape), shown(*given))[1])
    part = tadan.decode(data, reduce=16, region=(0, 0, 10_240, 1024))
    assert part.size == (640, 64)
    assert len(seen) <= 6
    assert psnr(np.asarray(part)[:32, 32:64], np.asarray(tadan.decode(data, region=(512, 0, 512, 512)).reduce(16))) > 35


def test_only_some_factors(tmp_path):
    data = tadan.encode(photo("astronaut", 40, 40), effort=0)
    for wrong in (0, 2, 3, 32, -4, True, "4", None, 4.5):
        with pytest.raises(InvalidInput, match="reduce is one of"):
            tadan.decode(data, reduce=wrong)


@pytest.mark.parametrize(
    ("picture", "size", "factor"),
    [
        ((4000, 3000), (500, None), 8),
        ((4000, 3000), (250, 250), 16),
        ((4000, 3000), (501, None), 4),
        ((4000, 3000), (900, 100), 16),  # the height decides
        ((100, 9000), (None, 700), 8),
        ((300, 200), (500, None), 1),
        ((9, 9), (None, None), 1),
    ],
)
def test_the_factor_never_makes_less_than_is_needed(picture, size, factor):
    assert factor_for(*picture, size) == factor


def test_pillows_thumbnails_are_decoded_small(tmp_path, small_is_large, monkeypatch):
    tadan.write(tmp_path / "a.tdn", enlarged(610, 700), quality=60, effort=0, tile=320, fallback=False)
    asked = []
    decode = Codec.decode
    monkeypatch.setattr(
        Codec, "decode", lambda *given, **options: (asked.append(options), decode(*given, **options))[1]
    )
    with Image.open(tmp_path / "a.tdn") as image:
        image.thumbnail((60, 60))
        assert image.size == (60, 52)
    assert asked == [{"reduce": 4}]  # twice what is needed at least, as Pillow asks
    with Image.open(tmp_path / "a.tdn") as image:
        full = image.copy()
        assert image.draft(None, (10, 10)) is None  # too late
    full.thumbnail((60, 60))
    with Image.open(tmp_path / "a.tdn") as image:
        image.thumbnail((60, 60))
        assert psnr(np.asarray(image), np.asarray(full)) > 36
    with Image.open(tmp_path / "a.tdn") as image:
        assert image.draft("L", (650, 10)) is None
        assert image.size == (700, 610)
        assert image.draft(None, None) is None


def test_command_line_makes_pictures_smaller(tmp_path):
    from typer.testing import CliRunner

    from tadan.cli.main import app

    source = tmp_path / "a.tdn"
    tadan.write(source, photo("astronaut", 90, 130), effort=0)
    for words, size in (
        (["decode", "--reduce", "8"], (17, 12)),
        (["transcode", "--max-side", "20"], (20, 14)),
    ):
        target = tmp_path / f"{words[0]}.png"
        result = CliRunner().invoke(app, [words[0], str(source), str(target), *words[1:]])
        assert result.exit_code == 0, result.output
        with Image.open(target) as image:
            assert image.size == size
    result = CliRunner().invoke(app, ["decode", str(source), str(tmp_path / "b.png"), "--reduce", "3"])
    assert result.exit_code == 2
    assert "reduce is one of" in result.output
    assert not (tmp_path / "b.png").exists()
