"""Training pictures: loading within limits, the held-out part, and crops cut on the device."""

import numpy as np
import pytest
import torch
from PIL import Image

from photo_examples import photo
from tadan.errors import InvalidInput
from tadan.train import data
from tadan.train.data import HELD_OUT, crops, draw_crops, held_out_count, load, load_pictures
from tadan.train.objective import MIXTURE, draw_schedule
from training_examples import write_pictures

CPU = torch.device("cpu")
SIZES = (80, 80), (70, 96), (121, 64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("mixed")
    for number, (height, width) in enumerate(SIZES):
        Image.fromarray(photo("coffee", height, width)).save(path / f"{number}.png")
    return path


def test_pictures_are_decoded_in_the_order_of_their_paths(folder):
    for array, (height, width) in zip(load_pictures(folder, 64), SIZES, strict=True):
        assert np.array_equal(array, photo("coffee", height, width))


def test_crops_cut_on_the_device_are_the_plain_crops(folder):
    """Odd sizes, corners, flips and transposes: indexing one flat tensor gives what slicing gives."""
    pictures = load(folder, 64)
    for seed in range(5):
        draw = draw_crops(pictures.shapes, 16, 64, np.random.default_rng(seed))
        plain = crops(pictures.arrays(), 16, 64, np.random.default_rng(seed))
        assert torch.equal(pictures.cut(draw, CPU), plain)
        parts = [pictures.cut(draw.part(rank, 8), CPU) for rank in range(2)]
        assert torch.equal(torch.cat(parts), plain)


def test_the_held_out_part_shares_the_pixels(folder):
    pictures = load(folder, 64)
    first, last = pictures.split(1)
    assert (len(first), len(last)) == (2, 1)
    draw = draw_crops(last.shapes, 4, 64, np.random.default_rng(0))
    assert torch.equal(last.cut(draw, CPU), crops(pictures.arrays()[2:], 4, 64, np.random.default_rng(0)))


def test_pictures_that_do_not_fit_stay_on_the_host_and_that_is_said(folder, monkeypatch):
    monkeypatch.setattr(data, "free_memory", lambda _: 1000.0)
    said = []
    pictures = load(folder, 64)
    assert pictures.to(torch.device("cuda", 0), said.append) is pictures
    assert "stay in host memory" in said[0]


def test_small_pictures_and_those_beyond_the_memory_limit_are_counted(folder):
    said = []
    assert len(load(folder, 70, note=said.append)) == 2
    assert said == [f"1 pictures below {folder} are smaller than the crops of 70 pixels and are left out"]
    said.clear()
    assert len(load(folder, 64, memory=3 * 80 * 80, note=said.append)) == 1
    assert "2 more" in said[0]
    assert "memory_gb" in said[0]


def test_broken_pictures_are_named(tmp_path):
    with pytest.raises(InvalidInput, match="no pictures of at least 64"):
        load_pictures(tmp_path, 64)
    write_pictures(tmp_path, 1)
    whole = (tmp_path / "00.png").read_bytes()
    for name, content in (("no.jpg", b"no picture"), ("cut.png", whole[: len(whole) // 2])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InvalidInput, match=rf"{name}.*remove it"):
            load_pictures(tmp_path, 64)
        (tmp_path / name).unlink()


def test_a_tenth_is_held_out_of_few_pictures():
    assert [held_out_count(count) for count in (2, 9, 10, 50, 239)] == [1, 1, 1, 5, 23]
    assert [held_out_count(count) for count in (240, 1393)] == [HELD_OUT, HELD_OUT]


def test_batches_see_listed_and_random_schedules():
    rng = np.random.default_rng(0)
    drawn = [draw_schedule(rng) for _ in range(400)]
    assert {schedule.name for schedule in drawn if schedule.name} == set(MIXTURE)
    assert len({schedule for schedule in drawn if schedule.name is None}) > 20
