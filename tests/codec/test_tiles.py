"""Tiles: no seams, no dependence on threads, regions, and bounds of memory."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import tadan
from codec_examples import CODEC
from photo_examples import photo, psnr
from tadan.bitstream import Header, ScheduleField, read_stream, write_stream
from tadan.bitstream.fields import MAX_SIDE
from tadan.codec.codec import Codec
from tadan.codec.parallel import BASE_BYTES, Workers
from tadan.codec.tiling import (
    HUGE_PIXELS,
    HUGE_TILE_SIDE,
    TILE_SIDE,
    WHOLE_PIXELS,
    check_region,
    lines,
    on_latents,
    overlap,
    tile_size,
    window,
)
from tadan.errors import Corrupt, InvalidInput, LimitExceeded, Truncated
from tadan.models import load_model

PICTURE = photo("astronaut", 200, 230)
TILED = CODEC.encode(PICTURE, quality=60, tile=64, effort=0)
WHOLE = np.asarray(CODEC.decode(TILED)).astype(int)
BOXES = st.tuples(st.integers(0, 300), st.integers(0, 300), st.integers(1, 200), st.integers(1, 200))


# --- pixels -----------------------------------------------------------------------------------------------------------


def joined(data):
    """All latents of a file in one plane, as section 11 of the specification has it."""
    header = read_stream(data).header
    _, _, cols, rows = on_latents((0, 0, header.width, header.height))
    plane = np.zeros((rows, cols, load_model().config.latent), np.int32)
    for box, latents in zip(header.tile_boxes(), CODEC.decode_latents(data), strict=True):
        x, y, w, h = on_latents(box)
        plane[y : y + h, x : x + w] = latents.y_hat
    return plane


def test_tiles_are_shown_as_one_plane_of_latents():
    """So a picture of many tiles cannot have seams that the synthesis does not have inside a tile."""
    together = CODEC._engine.transforms(load_model(), 1).synthesise(joined(TILED), 60)[:200, :230].astype(int)
    assert np.abs(WHOLE - together).max() <= 1
    assert np.mean(together != WHOLE) < 1e-3


def test_borders_of_tiles_are_no_worse_than_their_inside():
    one = np.asarray(CODEC.decode(CODEC.encode(PICTURE, quality=60, tile=0, effort=0)))
    at = np.zeros(PICTURE.shape[:2], bool)
    for border in (64, 128, 192):
        at[border - 4 : border + 4] = at[:, border - 4 : border + 4] = True
    loss = {
        where: psnr(one[mask], PICTURE[mask]) - psnr(WHOLE[mask], PICTURE[mask])
        for where, mask in (("border", at), ("inside", ~at))
    }
    assert abs(loss["border"]) < 0.25, loss
    assert abs(loss["inside"]) < 0.25, loss


@pytest.mark.parametrize("effort", [0, 2])
def test_a_search_sees_beyond_its_tile(effort):
    """Tiles of a searched picture fit together as well as those of an unsearched one."""
    data = CODEC.encode(PICTURE, quality=60, tile=128, effort=effort)
    one = CODEC.encode(PICTURE, quality=60, tile=0, effort=effort)
    step = np.abs(np.diff(np.asarray(CODEC.decode(data)).astype(int), axis=1)).mean((0, 2))
    same = np.abs(np.diff(np.asarray(CODEC.decode(one)).astype(int), axis=1)).mean((0, 2))
    assert abs(step[127] - same[127]) < 0.1 * same[127] + 0.2


@pytest.mark.slow
def test_nothing_depends_on_threads_or_memory():
    for threads, memory in ((1, 2**30), (3, 2**34), (2, 2**20)):
        codec = Codec(threads=threads, memory=memory)
        np.testing.assert_array_equal(np.asarray(codec.decode(TILED)).astype(int), WHOLE)
        again = read_stream(codec.encode(PICTURE, quality=60, tile=64, effort=0))
        assert len(again.tiles) == 16
        assert codec.verify(write_stream(again)).tiles  # g_a is float: another machine may choose other latents


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA"])
def test_modes(mode):
    picture = Image.fromarray(PICTURE).convert(mode)
    if mode.endswith("A"):
        picture.putalpha(Image.fromarray(PICTURE[:, :, 0]))
    decoded = CODEC.decode(CODEC.encode(picture, quality=70, tile=128, effort=0))
    assert (decoded.mode, decoded.size) == (mode, picture.size)
    assert (
        psnr(
            np.asarray(decoded)[..., 0] if mode.endswith("A") else decoded,
            np.asarray(picture)[..., 0] if mode.endswith("A") else picture,
        )
        > 28
    )
    if mode.endswith("A"):
        np.testing.assert_array_equal(np.asarray(decoded)[..., -1], PICTURE[:, :, 0])


def test_tiles_cost_little_where_they_are_large():
    """A quarter of the latents of 128-pixel tiles lie at a border; at the default size it is a thirtieth."""
    one = len(CODEC.encode(PICTURE, quality=60, tile=0, effort=0))
    assert one < len(CODEC.encode(PICTURE, quality=60, tile=128, effort=0)) < 1.15 * one


# --- regions ----------------------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(BOXES)
def test_a_region_is_the_crop_of_the_whole(box):
    x, y, w, h = box
    if x >= 230 or y >= 200:
        with pytest.raises(InvalidInput, match="no pixel"):
            CODEC.decode(TILED, region=box)
        return
    part = np.asarray(CODEC.decode(TILED, region=box)).astype(int)
    crop = WHOLE[y : y + h, x : x + w]
    assert part.shape == crop.shape
    assert np.abs(part - crop).max() <= 1
    assert np.mean(part != crop) < 0.01


@pytest.mark.parametrize("region", [(1, 2, 3), (-1, 0, 5, 5), (0, 0, 0, 5), (0.0, 0, 5, 5), (230, 0, 5, 5), "0,0,5,5"])
def test_regions_that_are_none(region):
    with pytest.raises(InvalidInput, match="region"):
        CODEC.decode(TILED, region=region)


def test_a_region_reads_no_other_tiles(monkeypatch):
    import tadan.codec.decoder as decoder

    seen = []
    real = decoder.TileDecoder.latents
    monkeypatch.setattr(
        decoder.TileDecoder, "latents", lambda self, tile, box: seen.append(box) or real(self, tile, box)
    )
    CODEC.decode(TILED, region=(10, 10, 20, 20))
    assert sorted(seen) == [(0, 0, 64, 64), (0, 64, 64, 64), (64, 0, 64, 64), (64, 64, 64, 64)]


def test_damage_elsewhere_does_not_touch_a_region():
    damaged = bytearray(TILED)
    damaged[-20] ^= 1
    with pytest.raises(Corrupt):
        CODEC.decode(bytes(damaged))
    np.testing.assert_array_equal(np.asarray(CODEC.decode(bytes(damaged), region=(0, 0, 60, 60))), WHOLE[:60, :60])
    with pytest.raises(Corrupt):
        CODEC.decode(bytes(damaged), region=(190, 190, 5, 5))
    start = TILED[: 3 * len(TILED) // 4]  # as much as has arrived
    np.testing.assert_array_equal(np.asarray(CODEC.decode(start, region=(0, 0, 60, 60))), WHOLE[:60, :60])
    with pytest.raises(Truncated):
        CODEC.decode(start, region=(190, 190, 5, 5))


def test_a_region_of_a_stored_picture():
    flat = np.full((90, 120, 3), (10, 200, 30), np.uint8)
    data = CODEC.encode(flat, quality=50)
    assert tadan.inspect(data).content != "latents"
    np.testing.assert_array_equal(np.asarray(CODEC.decode(data, region=(100, 80, 50, 50))), flat[80:, 100:])


# --- sizes ------------------------------------------------------------------------------------------------------------


@given(st.integers(1, 200_000), st.integers(1, 200_000))
def test_the_tile_size_that_is_chosen(width, height):
    side = tile_size(None, width, height)
    if width * height <= WHOLE_PIXELS:
        assert side == 0
        return
    assert 0 < side <= TILE_SIDE
    assert side % 64 == 0
    header = Header(width, height, "RGB", 50, bytes(16), ScheduleField("2x2"), side)
    rows, cols = header.tile_grid
    most = TILE_SIDE if width * height < HUGE_PIXELS else HUGE_TILE_SIDE
    assert rows <= -(-height // most)
    assert cols <= -(-width // most)


@pytest.mark.parametrize("tile", [-64, 1, 63, 100, 64.0, True, "64"])
def test_tile_sizes_that_are_none(tile):
    with pytest.raises(InvalidInput, match="multiple of 64"):
        CODEC.encode(PICTURE, tile=tile)


def test_a_tile_as_large_as_the_picture_is_the_picture():
    assert CODEC.encode(PICTURE, quality=60, tile=256, effort=0) == CODEC.encode(PICTURE, quality=60, tile=0, effort=0)


def test_too_many_tiles_are_refused_before_any_work():
    from tadan.bitstream import Limits

    with pytest.raises(LimitExceeded, match="choose larger"):
        Codec(limits=Limits(max_tiles=3)).encode(PICTURE, tile=64)


# --- geometry ---------------------------------------------------------------------------------------------------------


@given(BOXES, BOXES)
def test_overlap_is_the_pixels_in_both(a, b):
    def mask(box):
        x, y, w, h = box
        plane = np.zeros((500, 500), bool)
        plane[y : y + h, x : x + w] = True
        return plane

    common = overlap(a, b)
    both = mask(a) & mask(b)
    np.testing.assert_array_equal(both, np.zeros_like(both) if common is None else mask(common))


@given(BOXES, st.integers(0, 40))
def test_a_window_is_cut_off_at_the_borders(box, margin):
    x, y, w, h = box
    view = window(box, margin, x + w + 7, y + h + 3)
    plane = np.arange((y + h + 3) * (x + w + 7)).reshape(y + h + 3, x + w + 7)
    np.testing.assert_array_equal(plane[view.rows_cols][view.inside], plane[y : y + h, x : x + w])
    assert view.outer[0] == max(0, x - margin)
    assert view.outer[3] <= h + 2 * margin


@given(st.integers(1, 40), st.integers(1, 40))
def test_lines_visit_every_tile_once_along_the_shorter_side(cols, rows):
    header = Header(64 * cols, 64 * rows, "RGB", 50, bytes(16), ScheduleField("2x2"), 64)
    visited = list(lines(header, set(range(cols * rows))))
    assert sorted(number for line in visited for number in line) == list(range(cols * rows))
    assert max(map(len, visited)) == min(cols, rows)


@pytest.mark.parametrize("region", [(0, 0, 1, 1), (5, 6, MAX_SIDE, MAX_SIDE)])
def test_a_region_is_cut_off_at_the_picture(region):
    x, y, w, h = check_region(region, 30, 20)
    assert (x, y) == region[:2]
    assert (x + w <= 30, y + h <= 20) == (True, True)


def test_the_reach_of_a_latent_is_what_the_networks_have():
    """One latent changed: nothing changes beyond its reach, something does right before it."""
    transforms, reach = CODEC._engine.transforms(load_model(), 1), load_model().config.reach
    size, middle = 2 * reach + 5, reach + 2
    y_hat = joined(TILED)[:1, :1].repeat(size, 0).repeat(size, 1)
    changed = y_hat.copy()
    changed[middle, middle] += 500
    before, after = (transforms.synthesise(one, 60).astype(int) for one in (y_hat, changed))
    rows = np.flatnonzero(np.abs(after - before).max((1, 2))) // 16
    assert rows.min() >= middle - reach
    assert rows.max() <= middle + reach
    assert rows.min() <= middle - 2


# --- workers ----------------------------------------------------------------------------------------------------------


def test_workers_stay_within_their_memory():
    room = 2**30 - BASE_BYTES
    assert Workers(8, 100, room // 4).count == 4
    assert Workers(8, 100, room // 4).inner == 2
    assert Workers(8, 100, room // 4, room // 2).count == 2
    assert Workers(8, 100, 10 * room).count == 1
    assert Workers(8, 3, 1).count == 3
    assert Workers(1, 3, 1).count == 1


@pytest.mark.parametrize("threads", [1, 4])
def test_an_error_in_a_tile_is_raised_and_ends_the_work(threads):
    begun = []

    def work(number):
        begun.append(number)
        if number == 2:
            raise Corrupt("no")
        return number

    with Workers(threads, 50, 1).open() as workers:
        assert workers.map(lambda number: -number, range(50)) == [-number for number in range(50)]
        with pytest.raises(Corrupt):
            workers.map(work, range(50))


def test_threads_of_matrix_products_come_back():
    """Also when several threads share a codec and leave in another order than they came."""
    from threadpoolctl import threadpool_info

    def blas():
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    before = blas()
    first, second = (Workers(1, 1, 1).open() for _ in range(2))
    first.__enter__()
    second.__enter__()
    assert set(blas()) <= {1}
    first.__exit__(None, None, None)
    assert set(blas()) <= {1}
    second.__exit__(None, None, None)
    assert blas() == before
