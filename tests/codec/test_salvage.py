"""What is left of damaged files: every intact tile, nothing that is not proven, and previews of what arrived."""

import json
from contextlib import suppress
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import tadan
from codec_examples import CODEC
from photo_examples import photo, psnr
from tadan.bitstream import Limits, read_header, read_stream, recover
from tadan.bitstream.fields import encode_varint
from tadan.codec.tiling import LOST
from tadan.errors import Corrupt, InvalidInput, LimitExceeded, NotOurFile, TadanError, Truncated
from tadan.latents.coder import LatentCoder
from tadan.models import load_model
from tadan.schedule import get_schedule

PICTURE = photo("astronaut", 130, 200)
SOURCE = Image.fromarray(PICTURE)
SOURCE.info["xmp"] = b"<x:xmpmeta/>"
ONE = CODEC.encode(PICTURE, quality=60, effort=0)
TILED = CODEC.encode(SOURCE, quality=60, tile=64, effort=0)  # 3 rows of 4 tiles
WHOLE = np.asarray(CODEC.decode(TILED)).astype(int)
STREAM = read_stream(TILED)
ENDS = []  # offset after each tile section, the last first
_end = len(TILED)
for _tile in reversed(STREAM.tiles):
    ENDS.append(_end)
    _size = 1 + 4 + len(_tile.payload)  # number, content CRC, words
    _end -= 1 + len(encode_varint(_size)) + _size + 4
FIRST = _end  # offset of the first tile section


def with_bytes(data, at, new):
    return data[:at] + new + data[at + len(new) :]


def flipped(data, at):
    return with_bytes(data, at, bytes((data[at] ^ 0x10,)))


def check_honest(result):
    """Whatever is called intact has its pixels, up to the reach of lost neighbours; what is lost is grey."""
    shown = np.asarray(result.image).astype(int)
    lost = [tile.box for tile in result.tiles if tile.state != "intact"]
    near = np.zeros(shown.shape[:2], bool)
    for x, y, w, h in lost:
        near[max(0, y - 64) : y + h + 64, max(0, x - 64) : x + w + 64] = True
    for tile in result.tiles:
        x, y, w, h = tile.box
        if tile.state == "intact":
            away = ~near[y : y + h, x : x + w]
            difference = np.abs(shown - WHOLE)[y : y + h, x : x + w]
            assert difference[away].max(initial=0) <= 1
            assert min(w, h) < 64 or np.median(difference) <= 1, "the border of a neighbour spoilt the tile"
        elif tile.state == "lost":
            assert (shown[y : y + h, x : x + w] == LOST).all()
            assert tile.reason


# --- damage -----------------------------------------------------------------------------------------------------------


def test_offsets_of_the_examples():
    assert all(
        TILED[end - 4 : end] == crc32(TILED[start : end - 4]).to_bytes(4, "little")
        for start, end in zip([*ENDS[1:], FIRST], ENDS, strict=True)
    )


def test_a_whole_file_is_whole():
    result = CODEC.salvage(TILED)
    assert result.whole
    assert result.count("intact") == 12
    assert result.image.info["xmp"] == b"<x:xmpmeta/>"
    np.testing.assert_array_equal(np.asarray(result.image), WHOLE)
    assert tadan.salvage(ONE).whole


@pytest.mark.parametrize("number", [0, 5, 11])
def test_a_flipped_bit_costs_one_tile(number):
    middle = ENDS[::-1][number] - 6
    result = CODEC.salvage(flipped(TILED, middle))
    assert [tile.number for tile in result.tiles if tile.state == "lost"] == [number]
    assert result.count("intact") == 11
    assert result.notes
    check_honest(result)


@pytest.mark.parametrize("at", [0, 1, 2], ids=["tag", "length", "length"])
def test_a_damaged_frame_costs_one_tile(at):
    """The sections after it are found again by their checksums and know their numbers."""
    result = CODEC.salvage(flipped(TILED, ENDS[::-1][4] + at))
    assert [tile.number for tile in result.tiles if tile.state == "lost"] == [5]
    check_honest(result)


def test_removed_and_inserted_bytes():
    starts = [FIRST, *ENDS[::-1]]
    without = TILED[: starts[3]] + TILED[starts[5] + 7 :]
    result = CODEC.salvage(without)
    assert [tile.number for tile in result.tiles if tile.state == "lost"] == [3, 4, 5]
    more = TILED[: starts[6]] + b"T\x05Tjunk" * 50 + TILED[starts[6] :]
    assert CODEC.salvage(more).count("intact") == 12
    check_honest(result)


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_bursts(data):
    """Only the tiles that the burst touches are lost."""
    length = data.draw(st.integers(1, 2000))
    start = data.draw(st.integers(FIRST, len(TILED) - 1))
    noise = np.random.default_rng(length).integers(0, 256, length).astype(np.uint8).tobytes()
    damaged = with_bytes(TILED, start, noise)[: len(TILED)]
    touched = {
        number
        for number, (a, b) in enumerate(zip([FIRST, *ENDS[::-1]], ENDS[::-1], strict=False))
        if damaged[a:b] != TILED[a:b]
    }
    result = CODEC.salvage(damaged)
    assert {tile.number for tile in result.tiles if tile.state != "intact"} == touched
    check_honest(result)


@pytest.mark.parametrize("at", range(0, 40, 3))
def test_one_wrong_byte_of_the_header_is_put_right(at):
    assert len(TILED) > FIRST > 40
    result = CODEC.salvage(flipped(TILED, min(at, FIRST - 25)))
    assert result.count("intact") == 12
    assert not result.whole
    assert "put right" in result.notes[0]
    np.testing.assert_array_equal(np.asarray(result.image), WHOLE)


def test_a_header_that_is_gone():
    for broken in (with_bytes(TILED, 12, b"\0\1\2\3\4"), TILED[10:], b"", TILED[:12], b"no picture at all" * 9):
        with pytest.raises((Corrupt, Truncated, NotOurFile)):
            CODEC.salvage(broken)


def test_damaged_metadata_is_left_out():
    at = TILED.index(b"<x:xmp")
    result = CODEC.salvage(flipped(TILED, at))
    assert "xmp" not in result.image.info
    assert result.count("intact") == 12
    assert not result.whole


def test_forged_checksums_are_not_believed():
    """A tile whose bytes were changed under a correct CRC-32 still has to give the latents that were encoded."""
    starts = [FIRST, *ENDS[::-1]]
    body = bytearray(TILED[starts[2] : starts[3] - 4])
    body[40] ^= 4
    forged = TILED[: starts[2]] + bytes(body) + crc32(bytes(body)).to_bytes(4, "little") + TILED[starts[3] :]
    result = CODEC.salvage(forged)
    assert [tile.number for tile in result.tiles if tile.state == "lost"] == [2]
    check_honest(result)


def test_limits_hold():
    with pytest.raises(LimitExceeded):
        tadan.Codec(limits=Limits(max_pixels=10_000)).salvage(TILED)


def test_hostile_files_end_soon():
    """Every byte could begin a section, and none does: the search has a budget."""
    header_end = FIRST - (1 + 1 + len(b"<x:xmpmeta/>") + 4)
    hostile = TILED[:header_end] + b"T\xff\xff\x01" * 60_000
    found = recover(hostile, Limits())
    assert found.tiles == {}
    assert found.notes


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 60))
def test_recover_raises_nothing_else(tail, keep):
    for start in (TILED[:keep], TILED[:FIRST]):
        with suppress(TadanError):
            recover(start + tail, Limits())


def test_a_stored_picture():
    flat = Image.fromarray(np.full((40, 60, 3), (10, 200, 30), np.uint8))
    data = CODEC.encode(flat, quality=50)
    assert tadan.inspect(data).content != "latents"
    assert CODEC.salvage(data).whole
    result = CODEC.salvage(flipped(data, len(data) - 10))
    assert result.count("lost") == 1
    assert (np.asarray(result.image) == LOST).all()


def test_alpha_comes_with_its_tile():
    picture = SOURCE.copy()
    picture.putalpha(Image.fromarray(PICTURE[:, :, 1]))
    data = CODEC.encode(picture, quality=50, tile=64, effort=0)
    result = CODEC.salvage(flipped(data, len(data) - 9))
    shown = np.asarray(result.image)
    np.testing.assert_array_equal(shown[:128, :, 3], PICTURE[:128, :, 1])
    assert (shown[128:, 192:, 3] == 255).all()


# --- truncated files and previews -------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["4x4-opt-4", "2x2-rotated", "4x4", "hyper"])
def test_stages_that_arrived_are_those_that_were_written(schedule):
    """Latents of a stage that arrived are exact; which these are grows with every byte."""
    model, plan = load_model(), get_schedule(schedule)
    data = CODEC.encode(PICTURE[:80, :96], quality=70, schedule=schedule, effort=0)
    [tile], [whole] = read_stream(data).tiles, CODEC.decode_latents(data)
    steps, counts = list(model.twin.steps(plan, (5, 6))), []
    for length in (0, 3, 9, *np.linspace(12, len(tile.payload), 9).astype(int)):
        latents, count = LatentCoder(model, 70, plan).decode_prefix(tile.payload[:length], (5, 6))
        counts.append(count)
        for step in (step for step in steps if step.stage < count):
            np.testing.assert_array_equal(*(step.take(one.y_hat.reshape(30, -1)) for one in (latents, whole)))
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (-1, plan.stage_count(5, 6))


def test_previews_get_better_stage_by_stage():
    values = [psnr(CODEC.decode(ONE, stages=stages), PICTURE) for stages in range(5)]
    assert values == sorted(set(values))
    np.testing.assert_array_equal(np.asarray(CODEC.decode(ONE, stages=99)), np.asarray(CODEC.decode(ONE)))


def test_a_truncated_file_shows_what_arrived():
    """At least what a preview of as many stages shows: of the next stage some channel groups may have arrived."""
    seen, whole = set(), CODEC.decode(ONE)
    for length in np.linspace(60, len(ONE) - 1, 8).astype(int):
        result = CODEC.salvage(ONE[:length])
        [tile] = result.tiles
        if tile.state == "lost":
            continue
        assert tile.state == "partial"
        seen.add(tile.stages)
        assert psnr(result.image, whole) > psnr(CODEC.decode(ONE, stages=tile.stages), whole) - 0.05
    assert len(seen) > 2
    with pytest.raises(Truncated):
        CODEC.decode(ONE[:-1])


def test_a_truncated_file_of_tiles():
    result = CODEC.salvage(TILED[: ENDS[6] - 60])
    assert [tile.state for tile in result.tiles] == ["intact"] * 5 + ["partial"] + ["lost"] * 6
    assert result.tiles[5].stages < result.tiles[5].of == 4
    check_honest(result)


def test_previews_of_tiles_and_of_stored_pictures():
    assert psnr(CODEC.decode(TILED, stages=2), PICTURE) > psnr(CODEC.decode(TILED, stages=0), PICTURE)
    stored = CODEC.encode(np.full((40, 60, 3), (10, 200, 30), np.uint8), quality=50)
    assert (np.asarray(CODEC.decode(stored, stages=1)) == (10, 200, 30)).all()
    for wrong in (-1, 1.5, True):
        with pytest.raises(InvalidInput, match="stages"):
            CODEC.decode(ONE, stages=wrong)


def test_reports_are_json():
    report = json.loads(json.dumps(CODEC.salvage(TILED[:-300]).to_dict()))
    assert (report["whole"], report["intact"] + report["partial"] + report["lost"]) == (False, 12)
    assert report["tiles"][2] == {
        "number": 2,
        "box": [128, 0, 64, 64],
        "state": "intact",
        "stages": 4,
        "of": 4,
        "reason": None,
    }
    assert read_header(TILED).tile_count == 12
