"""Pictures to bytes and back: sizes, modes, qualities, schedules, threads, estimated and real size."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

import tadan
from codec_examples import CODEC
from photo_examples import CORNERS, photo, psnr
from tadan.bitstream import Limits, read_stream
from tadan.codec.codec import Codec, file_symbols
from tadan.codec.options import DEFAULT_QUALITY, EncodeOptions
from tadan.errors import InvalidInput, LimitExceeded, ModelMissing
from tadan.models import load_model
from tadan.schedule import PatternSchedule, ScanSchedule, schedule_names

INLINE = PatternSchedule([[0, 1, 2], [3, 1, 4]])


# --- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 15, 16, 17, 33])
@pytest.mark.parametrize("height", [1, 7, 16, 65])
def test_every_size_comes_back(width, height):
    picture = photo("chelsea", height, width)
    data = CODEC.encode(picture, quality=90)
    decoded = CODEC.decode(data)
    assert (decoded.size, decoded.mode) == ((width, height), "RGB")
    assert psnr(decoded, picture) > 28
    info = tadan.inspect(data)
    assert (info.width, info.height, info.file_bytes) == (width, height, len(data))


@pytest.mark.parametrize("schedule", ["hyper", "checkerboard", "2x2", "4x4", "2x2-rotated", "raster", "wavefront"])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (7, 1), (1, 17), (16, 16), (65, 33), (64, 64)])
def test_sizes_under_schedules(width, height, schedule):
    picture = photo("coffee", height, width)
    assert psnr(CODEC.decode(CODEC.encode(picture, quality=90, schedule=schedule, verify=True)), picture) > 28


def test_a_flat_picture_stays_flat():
    for level in (0, 128, 255):
        decoded = np.asarray(CODEC.decode(CODEC.encode(np.full((40, 50, 3), level, np.uint8), quality=80)))
        assert np.abs(decoded.astype(int) - level).max() < 40


# --- qualities --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CORNERS)
def test_size_and_psnr_rise_with_quality(name):
    picture = photo(name)
    coded = [CODEC.encode(picture, quality=quality) for quality in (10, 40, 70, 95)]
    sizes = [len(data) for data in coded]
    values = [psnr(CODEC.decode(data), picture) for data in coded]
    assert sizes == sorted(set(sizes))
    assert values == sorted(set(values))
    assert values[-1] > 34


@pytest.mark.parametrize("quality", [1, 100, np.int64(50), np.uint8(7)])
def test_qualities_at_the_bounds_and_of_numpy(quality):
    data = CODEC.encode(photo(), quality=quality)
    assert tadan.inspect(data).quality == quality
    assert CODEC.decode(data).size == (96, 80)


@pytest.mark.parametrize("quality", [0, 101, -5, 75.0, "75", True, None, np.float32(3)])
def test_other_qualities_are_refused(quality):
    with pytest.raises(InvalidInput, match="from 1 to 100"):
        CODEC.encode(photo(), quality=quality)


@pytest.mark.parametrize("schedule", ["2x2", "4x4", "raster"])
@pytest.mark.parametrize("quality", [1, 25, 50, 75, 100])
@pytest.mark.parametrize("name", CORNERS)
def test_the_file_is_as_small_as_estimated(name, quality, schedule):
    """Overhead: at most 1 % and 64 bytes of container; and the estimate is a lower bound."""
    coded = CODEC.encode_picture(photo(name), EncodeOptions(quality=quality, schedule=schedule))
    assert coded.estimated_bits <= 8 * len(read_stream(coded.data).tiles[0].payload)
    assert 8 * len(coded.data) <= 1.01 * coded.estimated_bits + 8 * 64


# --- schedules --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", [*schedule_names(), INLINE, PatternSchedule(np.zeros((4, 2, 3), int))], ids=str)
def test_every_schedule_decodes_to_what_the_encoder_had(schedule):
    picture = photo("rocket")
    data = CODEC.encode(picture, quality=60, schedule=schedule, verify=True)
    assert data == CODEC.encode(picture, quality=60, schedule=schedule)
    assert len(CODEC.verify(data).tiles) == 1
    decoded = np.asarray(CODEC.decode(data))
    np.testing.assert_array_equal(decoded, np.asarray(CODEC.decode(data)))
    assert psnr(decoded, picture) > 25
    if isinstance(schedule, str):
        assert tadan.inspect(data).schedule == schedule


def test_aliases_and_patterns_travel_by_name_where_the_catalogue_has_one():
    picture = photo()
    assert CODEC.encode(picture, quality=50, schedule="balanced") == CODEC.encode(
        picture, quality=50, schedule="4x4-opt-4"
    )
    assert tadan.inspect(CODEC.encode(picture, quality=50, schedule="best")).schedule == "4x4-opt-8"
    assert tadan.inspect(CODEC.encode(picture, quality=50, schedule="fast")).schedule == "0,1/1,1"
    assert tadan.inspect(CODEC.encode(picture, quality=50, schedule=INLINE)).schedule == "0,1,2/3,1,4"
    unnamed = CODEC.encode(picture, quality=50, schedule=PatternSchedule([[0, 2], [3, 1]]))
    named = CODEC.encode(picture, quality=50, schedule="2x2")
    assert CODEC.verify(unnamed).tiles == CODEC.verify(named).tiles
    renamed = PatternSchedule([[1, 0], [0, 1]], name="checkerboard")  # another pattern under a name of the catalogue
    assert tadan.inspect(CODEC.encode(picture, quality=50, schedule=renamed)).schedule == "1,0/0,1"


def test_schedules_that_cannot_be_written_are_refused():
    with pytest.raises(InvalidInput, match="choose one of"):
        CODEC.encode(photo(), quality=50, schedule="spiral")
    with pytest.raises(InvalidInput, match="cannot be written"):
        CODEC.encode(photo(), quality=50, schedule=ScanSchedule(slope=5))


# --- one codec, many callers ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_four_threads_share_one_codec():
    codec = Codec(threads=1)  # fresh: sessions, tables and kernels are built by whoever comes first
    jobs = [(name, quality, s) for name in CORNERS for quality in (20, 80) for s in ("2x2", "4x4", "2x2-rotated")]
    with ThreadPoolExecutor(4) as pool:
        coded = list(pool.map(lambda job: codec.encode(photo(job[0]), quality=job[1], schedule=job[2], effort=0), jobs))
        decoded = list(pool.map(lambda data: codec.decode(data).tobytes(), coded))
    alone = Codec(threads=1)
    for job, data, pixels in zip(jobs, coded, decoded, strict=True):
        assert data == alone.encode(photo(job[0]), quality=job[1], schedule=job[2], effort=0)
        assert pixels == alone.decode(data).tobytes()


def test_encoding_twice_and_with_other_thread_counts_gives_decodable_equal_latents():
    picture = photo()
    data = CODEC.encode(picture, quality=DEFAULT_QUALITY)
    assert data == CODEC.encode(picture, quality=DEFAULT_QUALITY) == tadan.encode(picture)
    assert data == tadan.encode(picture, quality=DEFAULT_QUALITY, schedule="balanced")
    for threads in (1, 2, None):
        assert Codec(threads=threads).verify(data) == CODEC.verify(data)
    pixels = [np.asarray(codec.decode(data)).astype(int) for codec in (CODEC, Codec(threads=2))]
    assert np.abs(pixels[0] - pixels[1]).max() <= 1


def test_models_by_name_path_and_value():
    picture, default = photo(), load_model()
    data = CODEC.encode(picture)
    folder = tadan.models.store.BUNDLED
    for model in (None, "photo", str(folder / "photo.safetensors"), folder / "photo.safetensors", default):
        codec = Codec(model, threads=1)
        assert codec.encode(picture) == data
        assert codec.decode(data).size == (96, 80)
    with pytest.raises(ModelMissing, match="bundled: photo"):
        Codec("no-such-model").encode(picture)


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_are_checked(threads):
    with pytest.raises(InvalidInput, match="threads goes from 1"):
        Codec(threads=threads)


def test_the_symbols_of_a_file_have_the_estimated_bits():
    coded = CODEC.encode_picture(photo("coffee", 96, 160), EncodeOptions(tile=64))
    tables = CODEC.model.tables
    assert sum(tables.bits(*pair).sum() for pair in file_symbols(coded.data, CODEC.model)) == pytest.approx(
        coded.estimated_bits
    )


# --- limits -----------------------------------------------------------------------------------------------------------


def test_pixel_limits_hold_before_any_work(monkeypatch, tmp_path):
    data, picture = CODEC.encode(photo()), photo()
    exactly, less = (Codec(threads=1, limits=Limits(max_pixels=96 * 80 - by)) for by in (0, 1))
    assert exactly.encode(picture) == data
    assert exactly.decode(data).size == (96, 80)
    for work in ("latents_of", "synthesise"):
        monkeypatch.setattr(f"tadan.codec.transforms.Transforms.{work}", lambda *_: pytest.fail("work was done"))
    monkeypatch.setattr("tadan.latents.coder.LatentCoder.decode", lambda *_: pytest.fail("work was done"))
    for call in (lambda: less.encode(picture), lambda: less.decode(data), lambda: less.verify(data)):
        with pytest.raises(LimitExceeded, match="max_pixels"):
            call()


def test_a_huge_array_is_refused_before_it_is_copied():
    huge = np.broadcast_to(np.zeros(3, np.uint8), (300_000, 300_000, 3))  # 3 bytes of memory, 270 GB when copied
    with pytest.raises(LimitExceeded, match="300000x300000"):
        CODEC.encode(huge)


def test_a_large_file_is_refused_by_its_header(tmp_path):
    """The pixels of this PNG are missing: whoever reads them fails in another way."""
    path = tmp_path / "large.png"
    Image.new("L", (3000, 2000)).save(path)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(LimitExceeded, match="3000x2000"):
        Codec(limits=Limits(max_pixels=5_999_999)).encode(path)


def test_metadata_above_the_limit_is_refused_before_a_file_is_made():
    image = Image.fromarray(photo("chelsea", 16, 16))
    image.info["icc_profile"] = bytes(1000)
    codec = Codec(threads=1, limits=Limits(max_metadata_bytes=999))
    with pytest.raises(LimitExceeded, match="1,000 bytes of metadata"):
        codec.encode(image)


def test_an_inline_pattern_is_as_good_as_a_name():
    picture = photo("chelsea", 32, 48)
    assert CODEC.encode(picture, quality=40, schedule="0,2/3,1") == CODEC.encode(picture, quality=40, schedule="2x2")
    assert tadan.inspect(CODEC.encode(picture, quality=40, schedule="0,1/2,2")).schedule == "0,1/2,2"
