"""The search: targets are understood, halving keeps the best, and the choice is one that the model allows."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from machine_examples import machine
from photo_examples import photo
from tadan.errors import InvalidInput, TargetMissed, UnreadableInput
from tadan.models import load_model
from tadan.schedule import parse_schedule
from tadan.tune.album import LEAST_SIDE, Album, SamplePicture, open_album
from tadan.tune.halving import rounds, successive_halving
from tadan.tune.outcome import front, profile_of
from tadan.tune.rates import Coded, Memo, Rates, weighted_psnr
from tadan.tune.search import Space, Tuner
from tadan.tune.setting import EFFORTS, SCHEDULES, Setting
from tadan.tune.target import GOALS, parse_target

# --- targets ----------------------------------------------------------------------------------------------------------


def test_a_target_says_what_it_says():
    tuning = parse_target("bytes, encode<1.5s, decode < 200ms, memory<=500M, score>70")
    assert (tuning.goal, tuning.encode, tuning.decode, tuning.memory) == ("bytes", 1.5, 0.2, 500e6)
    assert tuning.floor == ("score", 70)
    fast = parse_target("Speed, bytes<+2%, psnr>35dB")
    assert (fast.goal, fast.excess, fast.floor) == ("speed", pytest.approx(0.02), ("psnr", 35))
    assert parse_target("decode-speed, memory<1GiB, speed>5/s").speed == 5
    assert parse_target("bytes").floor is None


@pytest.mark.parametrize(
    "text",
    [
        "bytes",
        "speed, bytes<+2%",
        "bytes, encode<0.25s, decode<0.1s, memory<1000000, score>70",
        "decode-speed, psnr>33.5",
    ],
)
def test_targets_read_as_they_are_shown(text):
    assert parse_target(str(parse_target(text))) == parse_target(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "begins with one goal"),
        ("encode<1s", "begins with one goal"),
        ("bytes, speed", "begins with one goal"),
        ("encode<1s, bytes", "begins with one goal"),
        ("bytes, encode<200", "lacks a unit"),
        ("bytes, encode>1s", "wrong way"),
        ("bytes, score<70", "wrong way"),
        ("bytes, encode<0s", "above 0"),
        ("bytes, decode<-1s", "above 0"),
        ("bytes, memory<5X", "unit of memory"),
        ("bytes, quickness<3s", "is no condition"),
        ("bytes, encode<1s, encode<2s", "said twice"),
        ("bytes, psnr>30, score>70", "two floors"),
        ("bytes, score>101", "ends at 100"),
        ("bytes, bytes<+2%", "the goal already"),
        ("speed, bytes<2", "a share above the least"),
        ("speed, speed>5s", "pictures a second"),
    ],
)
def test_what_is_no_target(text, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        parse_target(text)
    assert "Examples" in str(caught.value)


# --- halving ----------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 16))
def test_rounds_see_each_picture_once_and_the_last_sees_all(candidates, pictures):
    plan = rounds(candidates, pictures)
    assert plan[0].candidates == candidates
    assert [one.first for one in plan] == [0, *(one.last for one in plan[:-1])]
    assert plan[-1].last == pictures
    counts = [one.candidates for one in plan]
    assert counts == sorted(counts, reverse=True)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_halving_keeps_the_best_where_pictures_agree(candidates, pictures, seed):
    """Pictures shift all costs and scale their differences, as easy and hard ones do; the order stays."""
    rng = np.random.default_rng(seed)
    own, scale = rng.permutation(candidates) / candidates, rng.uniform(0.5, 2, pictures)
    asked = []

    def cost(candidate, picture):
        asked.append((candidate, picture))
        return float(own[candidate] * scale[picture])

    race = successive_halving(range(candidates), pictures, cost)
    assert race.best == int(np.argmin(own))
    assert race.tried[race.best] == pictures
    assert sorted(race.order) == list(range(candidates))
    assert len(asked) == len(set(asked)) == sum(race.tried.values())
    assert candidates < 8 or pictures < 4 or len(asked) <= candidates * pictures / 2


def test_what_may_not_win_does_not():
    race = successive_halving([3, 1, 2], 4, lambda one, picture: one, lambda one, cost: math.inf if one == 1 else cost)
    assert race.best == 2


# --- the sample -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photographs of three sizes, an icon, and a file that is no picture."""
    place = tmp_path_factory.mktemp("album")
    for name, height, width in (("chelsea", 160, 192), ("coffee", 128, 128), ("rocket", 96, 160)):
        Image.fromarray(photo(name, height, width)).save(place / f"{name}.png")
    Image.fromarray(photo("astronaut", 16, 16)).save(place / "icon.png")
    (place / "broken.jpg").write_bytes(b"no picture")
    return place


def test_a_sample_spreads_over_sizes(folder):
    album = open_album(folder, 2, seed=1)
    assert (album.count, album.looked_at, album.largest, album.unread) == (5, 3, (192, 160), ("broken.jpg",))
    assert {one.size for one in album.sample} == {(160, 96), (192, 160)}
    assert [one.path for one in album.sample] == [one.path for one in open_album(folder, 2, seed=1).sample]
    with pytest.raises(UnreadableInput, match=f"{LEAST_SIDE} pixels a side"):
        open_album(folder / "icon.png")


def test_parts_are_cut_from_the_picture(folder):
    picture = next(one for one in open_album(folder).sample if one.size == (192, 160))
    whole, part = picture.part(10**6), picture.part(96 * 80)
    assert whole.shape == (160, 192, 3)
    assert part.shape == (80, 96, 3)
    assert any(np.array_equal(whole[top : top + 80, left : left + 96], part) for top in range(81) for left in range(97))
    np.testing.assert_array_equal(part, picture.part(96 * 80))


def test_pictures_are_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photo("coffee", 96, 128)).save(tmp_path / "turned.jpg", exif=exif)
    [picture] = open_album(tmp_path).sample
    assert picture.size == (96, 128)
    assert picture.part(10**6).shape == (128, 96, 3)


# --- rates ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def memo_file(tmp_path_factory):
    return tmp_path_factory.mktemp("memo") / "rates.jsonl"


def test_each_file_is_made_once_even_by_another_command(folder, memo_file):
    album, made = open_album(folder, 2), []
    rates = [Rates(album, 80 * 96, memo=Memo(memo_file), threads=1, progress=lambda: made.append(1)) for _ in range(2)]
    reference = rates[0].reference(50)
    assert rates[0].log_ratio(reference, 0) == 0
    files = len(made)
    assert files == 3, "the reference at three qualities"
    assert rates[0].log_ratio(Setting(50, effort=1), 0) < 0.02 < rates[0].log_ratio(Setting(50, "hyper", 0), 0)
    assert len(made) == files + 2
    with memo_file.open("a") as file:
        file.write('{"key": "torn')
    again = Rates(album, 80 * 96, memo=Memo(memo_file), threads=1, progress=lambda: made.append(1))
    assert again.log_ratio(Setting(50, effort=1), 0) == rates[0].log_ratio(Setting(50, effort=1), 0)
    assert len(made) == files + 2


def test_the_error_is_the_one_that_the_search_lowers():
    original = photo("coffee", 64, 80)
    shown = np.clip(original.astype(int) + np.random.default_rng(1).integers(-9, 10, original.shape), 0, 255)
    from tadan.codec.target import psnr

    plain = weighted_psnr(original, shown.astype(np.uint8), "psnr")
    assert plain == pytest.approx(psnr(original, shown.astype(np.uint8)), abs=0.05), "the axes are orthonormal"
    assert weighted_psnr(original, original, "eye") == math.inf
    assert weighted_psnr(original, shown.astype(np.uint8), "eye") != pytest.approx(plain, abs=0.01)


def test_the_quality_for_a_floor_is_the_least(folder):
    album = open_album(folder, 1)
    rates = Rates(album, 80 * 96, "psnr", threads=1)
    reference = rates.reference(60)
    quality = rates.quality_for(31.0, reference)
    assert rates.mean_value(replace(reference, quality=quality)) >= 31.0
    assert rates.mean_value(replace(reference, quality=quality - 1)) < 31.0
    assert rates.quality_for(99.0, reference) is None


# --- the search -------------------------------------------------------------------------------------------------------


class PaperRates(Rates):
    """Rates by a law: bytes fall with stages and with effort, differently on every picture."""

    def part(self, picture, pixels=None):
        return np.zeros((512, 768, 3), np.uint8)

    def coded(self, setting, picture, pixels=None):
        stages = [parse_schedule(name) for name in SCHEDULES].index(setting.order)
        gain = 0.05 * (1 - 0.5**stages) + 0.04 * (1 - 0.6**setting.effort)
        busy = 1 + picture / 10
        size = 40_000 * math.exp(0.03 * (setting.quality - 60)) * busy * (1 - gain * (0.8 + picture / 20))
        value = 30 + 0.15 * (setting.quality - 60) + 0.001 * setting.effort - picture / 5
        return Coded(round(size), value, False, 393_216, 0.1, 0.05)


def paper_tuner(text, factor=1.0, cores=4, pictures=6, **memory):
    sample = tuple(SamplePicture(f"{number}.png", (768, 512), 10**9) for number in range(pictures))
    album = Album("album", 100, 100, (768, 512), sample)
    there = machine(cores, factor, load_model().id_hex, **memory)
    tuner = Tuner(album, parse_target(text), there, there, Space())
    return tuner, PaperRates(album, 393_216, tuner.metric)


def exhaustive(tuner, rates, planner_target):
    """Least mean logarithm of bytes of all settings that the model allows."""
    from tadan.tune.plan import Planner, loads_of

    planner = Planner(tuner.machine, loads_of(rates, 60, tuner.here, tuner.machine), tuner.album.largest)
    count = len(tuner.album.sample)
    return min(
        np.mean([rates.log_ratio(setting, picture) for picture in range(count)])
        for setting in (Setting(60, schedule, effort) for schedule in SCHEDULES for effort in EFFORTS)
        if planner.ways(setting, planner_target)
    )


@pytest.mark.parametrize("text", ["bytes", "bytes, encode<600ms", "bytes, decode<150ms", "bytes, memory<260M"])
def test_the_choice_meets_the_target_and_is_near_the_best(text):
    tuner, rates = paper_tuner(text)
    tuned = tuner.run(rates)
    assert tuned.chosen.figures.meets(tuner.tuning)
    assert tuned.chosen.log_ratio <= exhaustive(tuner, rates, tuner.tuning) + 0.001
    assert tuned.chosen.pictures == len(tuner.album.sample)
    assert tuned.chosen.setting in {one.setting for one in tuned.entries}
    assert all(one.meets for one in front(tuned))


@pytest.mark.parametrize("name", ["encode", "decode"])
def test_a_tighter_target_never_gives_fewer_bytes(name):
    bounds = [30, 3, 1, 0.5, 0.3, 0.2]
    found = []
    for bound in bounds:
        tuner, rates = paper_tuner(f"bytes, {name}<{bound}s")
        found.append(tuner.run(rates).chosen.log_ratio)
    assert all(loose <= tight + 0.001 for loose, tight in itertools.pairwise(found)), found


def test_speed_within_a_share_of_the_least_bytes():
    speeds, limits = [], (0, 1, 3, 10)
    for limit in limits:
        tuner, rates = paper_tuner(f"speed, bytes<+{limit}%")
        tuned = tuner.run(rates)
        least = exhaustive(tuner, rates, parse_target("speed"))
        assert tuned.chosen.log_ratio <= least + math.log1p(limit / 100) + 0.001
        speeds.append(tuned.chosen.figures.speed)
    assert speeds == sorted(speeds)
    assert speeds[-1] > 2 * speeds[0]
    fastest, rates = paper_tuner("speed")
    assert fastest.run(rates).chosen.figures.speed >= speeds[-1]
    assert fastest.run(rates).chosen.setting.effort == 0


def test_a_floor_of_quality_is_met_at_the_least_quality():
    tuner, rates = paper_tuner("bytes, encode<2s, psnr>33")
    chosen = tuner.run(rates).chosen.setting
    assert rates.mean_value(chosen) >= 33 > rates.mean_value(replace(chosen, quality=chosen.quality - 1))
    tuner, rates = paper_tuner("bytes, psnr>60")
    with pytest.raises(TargetMissed, match="no quality reaches psnr 60"):
        tuner.run(rates)


@pytest.mark.parametrize("text", ["bytes, encode<1ms", "bytes, memory<10M", "bytes, speed>1000"])
def test_what_no_setting_meets_says_what_comes_nearest(text):
    tuner, rates = paper_tuner(text)
    with pytest.raises(TargetMissed, match=r"the nearest encodes in .* s .*pictures a second.*ask for less"):
        tuner.run(rates)


def test_a_faster_machine_affords_more():
    ratios = []
    for factor in (4.0, 1.0, 0.1):
        tuner, rates = paper_tuner("bytes, encode<800ms", factor)
        ratios.append(tuner.run(rates).chosen.log_ratio)
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[0] > ratios[-1]


def test_less_time_looks_at_smaller_parts():
    tuner, _ = paper_tuner("bytes")
    parts = [tuner.part_pixels(seconds) for seconds in (1, 100, 1000, 10_000)]
    assert parts == sorted(parts)
    assert parts[0] < parts[-1]
    assert tuner.estimate(parts[0]) < tuner.estimate(parts[-1])


@pytest.mark.parametrize("goal", GOALS)
def test_the_profile_says_where_it_came_from(goal, tmp_path):
    from tadan.codec.profile import load_profile

    tuner, rates = paper_tuner(f"{goal}, encode<2s, memory<1.5G")
    tuned = tuner.run(rates)
    profile = profile_of(tuned, tuner.album, tuner.machine, tuner.metric, 7)
    profile.save(tmp_path / "p.toml")
    loaded = load_profile(tmp_path / "p.toml")
    chosen = tuned.chosen
    assert loaded.options() == chosen.setting.options
    assert (loaded.machine.jobs, loaded.machine.threads) == (chosen.way.jobs, chosen.way.threads)
    assert (loaded.machine.memory or 2**30) * loaded.machine.jobs <= 1.5e9
    assert loaded.model_id == load_model().id_hex
    assert loaded.origin["tuned"]["seed"] == 7
    assert parse_target(loaded.origin["tuned"]["target"]) == tuner.tuning
    assert loaded.origin["predicted"]["encode_seconds_nine_in_ten"] <= 2
    assert loaded.origin["planned_for"]["processor"] == "of paper"


def test_of_equal_files_the_fastest_setting_is_taken():
    """As with pictures that are stored in another format, whatever the schedule and the effort."""
    tuner, rates = paper_tuner("bytes")
    law = rates.coded
    rates.coded = lambda setting, picture, pixels=None: replace(law(rates.reference(60), picture), stored=True)
    chosen = tuner.run(rates).chosen
    assert (chosen.setting.schedule, chosen.setting.effort) == ("hyper", 0)
