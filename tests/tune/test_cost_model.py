"""What is predicted of a setting: more work never takes less, tiles are those of the codec, profiles travel."""

import math
import tomllib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from machine_examples import machine
from tadan.errors import InvalidInput, UnreadableInput
from tadan.models import ModelConfig, macs
from tadan.toml import dumps
from tadan.tune.benchmark import Sample, fit, measure_machine, photo_like, thread_counts
from tadan.tune.machine import load_machine
from tadan.tune.plan import Load, Planner, pareto
from tadan.tune.predict import CostModel
from tadan.tune.setting import SCHEDULES, Deployment, Setting, deployments, grid
from tadan.tune.target import parse_target
from tadan.tune.work import PARTS

COSTS = CostModel(machine(4), ModelConfig())
SIDES = st.integers(16, 2600)


@settings(max_examples=60, deadline=None)
@given(SIDES, SIDES, SIDES, SIDES, st.sampled_from([0, 512]), st.sampled_from([1, 2, 4]), st.sampled_from(SCHEDULES))
def test_more_pixels_never_take_less(width, height, more, taller, tile, threads, schedule):
    setting, small = Setting(schedule=schedule, tile=tile), (width, height)
    large, per_pixel = (max(width, more), max(height, taller)), 0.6
    for predict in (COSTS.encode, COSTS.decode):
        assert predict(setting, small, per_pixel * width * height, threads) <= (1 + 1e-9) * predict(
            setting, large, per_pixel * large[0] * large[1], threads
        )
    assert COSTS.memory(setting, small, threads) <= COSTS.memory(setting, large, threads)


@pytest.mark.parametrize("size", [(768, 512), (2000, 1500)])
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_higher_effort_takes_longer_to_encode_and_none_to_decode(size, threads):
    encodes = [COSTS.encode(Setting(effort=effort), size, 1e5, threads) for effort in range(10)]
    decodes = {COSTS.decode(Setting(effort=effort), size, 1e5, threads) for effort in range(10)}
    assert encodes == sorted(encodes)
    assert len(set(encodes)) == 10
    assert len(decodes) == 1


def test_more_stages_and_more_bits_take_longer():
    order = ["hyper", "0,1/1,1", "4x4-opt-4", "4x4-opt-8", "4x4-opt-16", "wavefront"]
    for predict in (COSTS.encode, COSTS.decode):
        seconds = [predict(Setting(schedule=name), (768, 512), 2e5) for name in order]
        assert seconds == sorted(seconds)
        assert predict(Setting(), (768, 512), 4e5) > predict(Setting(), (768, 512), 2e5)


def test_tiles_are_shared_among_threads_as_the_codec_does_it():
    setting, size = Setting(tile=512, effort=0), (1024, 1024)
    one, four = COSTS.decode(setting, size, 1e6, 1), COSTS.decode(setting, size, 1e6, 4)
    assert one / 4 < four < one
    # What does not fit into the memory is not worked on side by side.
    tight = 150 * 2**20 + 5 * 1024 * 1024 + 300 * 512 * 512
    assert COSTS.encode(setting, size, 1e6, 4, memory=tight) > COSTS.encode(setting, size, 1e6, 4)


def test_only_what_is_seen_around_a_piece_is_added_to_it():
    config, one = ModelConfig(), macs.g_s_macs_per_pixel(ModelConfig()) * 256 / 1e9
    assert COSTS._show_gmacs((0, 0, 40, 30), 40, 30) == pytest.approx(40 * 30 * one), "nothing is around the whole"
    inside = COSTS._show_gmacs((40, 40, 60, 60), 200, 200)
    assert 3600 * one < inside < (60 + 2 * config.reach) ** 2 * one
    graphs = CostModel(machine(4, facts={"core": "numpy"}), config)
    assert graphs._show_gmacs((40, 40, 60, 60), 200, 200) == pytest.approx((60 + 2 * config.reach) ** 2 * one)


def test_between_measured_threads_seconds_lie_between():
    profile = machine(8)
    costs = CostModel(profile, ModelConfig())
    seconds = [costs.decode(Setting(), (768, 512), 1e5, threads) for threads in (1, 2, 3, 8, 16)]
    assert seconds[0] > seconds[1] > seconds[2] > seconds[3] == seconds[4]
    assert profile.slowdown("processes", 1) == 1
    assert 1 < profile.slowdown("processes", 4) < profile.slowdown("processes", 8) < profile.slowdown("processes", 16)


def test_another_model_costs_by_its_arithmetic():
    light = CostModel(machine(4), replace(ModelConfig(), body_blocks=1, analysis_blocks=2))
    assert light.decode(Setting(), (768, 512), 1e5) < COSTS.decode(Setting(), (768, 512), 1e5)
    assert light.encode(Setting(), (768, 512), 1e5) < COSTS.encode(Setting(), (768, 512), 1e5)


# --- profiles of machines ---------------------------------------------------------------------------------------------


def test_a_profile_of_a_machine_travels(tmp_path):
    profile = machine(4)
    profile.save(tmp_path / "there.toml")
    back = load_machine(tmp_path / "there.toml")
    assert back.to_dict() == profile.to_dict()
    assert CostModel(back, ModelConfig()).encode(Setting(), (640, 480), 1e5) == pytest.approx(
        COSTS.encode(Setting(), (640, 480), 1e5), rel=1e-3
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("format"), "no machine profile of this version"),
        (lambda d: d.update(format="tadan machine 9"), "tadan machine 9"),
        (lambda d: d.pop("cores"), "lacks 'cores'"),
        (lambda d: d["threads"]["1"].pop("g_s"), "lacks 'g_s'"),
        (lambda d: d["threads"]["1"]["g_s"].update(gmac=-1.0), "gmac is a number from 0, not -1.0"),
        (lambda d: d["threads"]["1"]["g_s"].update(gmac="much"), "not 'much'"),
        (lambda d: d["threads"].clear(), "no measurement of any number of threads"),
        (lambda d: d["side_by_side"]["threads"].pop("1"), "nothing of one alone"),
        (lambda d: d["memory"].update(base=math.inf), "not inf"),
    ],
)
def test_incomplete_profiles_of_machines_are_refused(change, message, tmp_path):
    document = tomllib.loads(dumps(machine().to_dict()))
    change(document)
    (tmp_path / "m.toml").write_text(dumps(document))
    with pytest.raises(InvalidInput, match=message) as caught:
        load_machine(tmp_path / "m.toml")
    assert "tadan tune --measure" in str(caught.value)


def test_no_profile_of_a_machine(tmp_path):
    with pytest.raises(UnreadableInput, match="nowhere"):
        load_machine(tmp_path / "nowhere.toml")
    (tmp_path / "m.toml").write_text("cores = ")
    with pytest.raises(InvalidInput, match="is not a machine profile"):
        load_machine(tmp_path / "m.toml")


@pytest.mark.slow
def test_this_machine_can_be_measured(tmp_path, monkeypatch):
    """Once over, quickly: everything that a profile needs comes out of it, and predicts something."""
    from tadan.models import load_model
    from tadan.tune import benchmark

    monkeypatch.setattr(benchmark, "SIZES", ((8, 8), (12, 16)))
    monkeypatch.setattr(benchmark, "SCHEDULES", ("balanced", "4x4-opt-16"))
    monkeypatch.setattr(benchmark, "_PROCESS_SIZES", ((8, 8), (16, 16)))
    said = []
    profile = measure_machine(load_model(), repeat=1, say=said.append, cores=1)
    profile.save(tmp_path / "this.toml")
    loaded = load_machine(tmp_path / "this.toml")
    assert set(loaded.parts[1]) == set(PARTS)
    assert loaded.model["id"] == load_model().id_hex
    assert CostModel(loaded, load_model().config).encode(Setting(effort=1), (256, 256), 1e5) > 0
    assert 50e6 < loaded.memory["base"] < 2e9
    assert said


def test_fits_are_exact_where_the_law_holds_and_never_negative():
    works = [{"each": 1.0, "gmac": amount} for amount in (0.1, 0.5, 2.0)]
    found = fit([Sample("g_s", work, 0.002 + 0.03 * work["gmac"]) for work in works], ("each", "gmac"))
    assert found == pytest.approx({"each": 0.002, "gmac": 0.03})
    bent = fit([Sample("g_s", work, 0.03 * work["gmac"] ** 1.2) for work in works], ("each", "gmac"))
    assert min(bent.values()) >= 0
    assert bent["gmac"] > 0


def test_measured_pictures_are_like_photographs():
    picture = photo_like(16, 16)
    assert picture.shape == (256, 256, 3)
    from tadan.codec.codec import Codec
    from tadan.codec.options import EncodeOptions

    assert Codec(threads=1).encode_picture(picture, EncodeOptions(effort=0)).content == "latents"
    np.testing.assert_array_equal(picture, photo_like(16, 16))
    assert thread_counts(1) == [1]
    assert thread_counts(6) == [1, 2, 4, 6]


# --- figures of an album ----------------------------------------------------------------------------------------------

LOADS = [Load((768, 512), 2e5), Load((640, 640), 3e5), Load((320, 240), 4e4, stored_encode=0.2, stored_decode=0.01)]


def test_processes_bring_more_pictures_and_threads_less_waiting():
    planner = Planner(machine(4), LOADS, (768, 512))
    ways = deployments(4)
    assert ways[0] == Deployment(1, 1)
    assert {Deployment(4, 1), Deployment(2, 2), Deployment(1, 4)} <= set(ways)
    four, one = planner.figures(Setting(), Deployment(4, 1)), planner.figures(Setting(), Deployment(1, 4))
    assert four.speed > one.speed
    assert four.encode > one.encode
    assert four.memory > one.memory
    alone = planner.figures(Setting(), Deployment(1, 1))
    assert alone.encode < four.encode, "beside others it takes longer"


def test_pictures_that_are_stored_cost_what_they_cost():
    stored, latents = (
        Planner(machine(), [load], (768, 512)) for load in (LOADS[2], replace(LOADS[2], stored_encode=0))
    )
    way = Deployment(1, 1)
    assert stored.figures(Setting(), way).encode == pytest.approx(latents.figures(Setting(), way).encode + 0.2)
    assert stored.figures(Setting(), way).decode == 0.01


def test_ways_meet_every_bound():
    planner = Planner(machine(4), LOADS, (768, 512))
    for text in ("bytes, encode<300ms", "speed, memory<400M", "decode-speed, decode<150ms", "bytes, speed>4"):
        tuning = parse_target(text)
        for setting in grid(60, efforts=(0, 1, 5)):
            for _, figures in planner.ways(setting, tuning):
                assert figures.meets(tuning)


def test_the_front_holds_what_nothing_beats():
    points = {Setting(quality=q): values for q, values in enumerate([(1, 5), (2, 2), (3, 3), (5, 1), (2, 2)], 1)}
    front = pareto(points)
    assert [points[one] for one in front] == [(1, 5), (2, 2), (2, 2), (5, 1)]
