"""Parts of `tadan poc`: percentiles, arrivals, scenarios, census, money, thresholds, ladder and comparison."""

import asyncio
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from photo_examples import photo
from tadan.cli.files import Source
from tadan.errors import InvalidInput, UnreadableInput
from tadan_lab.measure.traffic import Query, arrivals, draws, multi_stream, offline, server, single_stream
from tadan_lab.poc import census
from tadan_lab.poc.compare import compare
from tadan_lab.poc.figures import spread_of
from tadan_lab.poc.kpis import KPIS
from tadan_lab.poc.ladder import NOT_READY, READY, UNKNOWN, climb
from tadan_lab.poc.money import Prices, balance, break_even, last_paying, read_prices
from tadan_lab.poc.plan import FULL, QUICK, chosen_sections, fingerprint
from tadan_lab.poc.scenarios import ARRIVALS, best_rate, capacity, load_seconds, timeline
from tadan_lab.poc.verdict import default_thresholds, judge, read_thresholds, tally


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_percentiles_are_those_of_numpy(values):
    found = spread_of(values)
    assert found["n"] == len(values)
    for one in (50, 90, 99):
        assert found[f"p{one}"] == pytest.approx(np.percentile(values, one), abs=1e-9)
    assert found["max"] == max(values)


def test_without_values_there_is_no_percentile():
    assert spread_of([]) == {"n": 0, "mean": None, "p50": None, "p90": None, "p99": None, "max": None}


def test_arrivals_follow_from_the_seed_and_come_at_the_rate():
    def run(seed):
        return list(arrivals(50, 100, random.Random(seed)))

    assert run(1) == run(1)
    assert run(1) != run(2)
    times = run(3)
    assert times == sorted(times)
    assert times[0] > 0
    assert times[-1] < 100
    assert abs(len(times) - 5000) < 5 * 5000**0.5  # five standard deviations
    gaps = np.diff(times)
    assert abs(gaps.std() / gaps.mean() - 1) < 0.1  # exponential gaps: as wide as their mean


class Counted:
    """Answers after a moment, and knows what was asked and how much at a time."""

    def __init__(self, wait=0.001, fail=()):
        self.wait, self.fail, self.asked, self.inside, self.most = wait, fail, [], 0, 0

    async def __call__(self, sample):
        self.asked.append(sample)
        self.inside += 1
        self.most = max(self.most, self.inside)
        await asyncio.sleep(self.wait)
        self.inside -= 1
        return sample not in self.fail


def test_streams_ask_in_turn_and_eight_at_once():
    one, eight = Counted(), Counted(fail={2})
    queries = asyncio.run(single_stream(one, iter(range(10**6)), 0.02))
    assert one.most == 1
    assert len(queries) == len(one.asked)
    queries = asyncio.run(multi_stream(eight, iter(range(10**6)), 0.01))
    assert eight.most == 8
    assert len(eight.asked) == 8 * len(queries)
    assert [query.good for query in queries] == [False, *[True] * (len(queries) - 1)]  # a bad sample spoils its query


def test_offline_has_all_samples_and_no_more_under_way_than_allowed():
    ask = Counted()
    queries, seconds = asyncio.run(offline(ask, draws(3, random.Random(1)), 20, 4))
    assert len(queries) == 20
    assert ask.most == 4
    assert set(ask.asked) == {0, 1, 2}
    assert seconds > 0


def test_the_server_scenario_does_not_wait_for_answers_and_counts_from_when_a_query_is_due():
    ask = Counted(wait=0.2)
    queries = asyncio.run(server(ask, draws(1, random.Random(1)), 100, 0.2, random.Random(5)))
    assert ask.most > 5
    assert [query.due for query in queries] == list(arrivals(100, 0.2, random.Random(5)))
    assert all(query.seconds >= 0.2 for query in queries)


def test_the_best_rate_is_the_last_one_before_any_that_fails():
    def rows(*within):
        return [{"offered_per_s": rate + 1.0, "within_percent": one} for rate, one in enumerate(within)]

    assert best_rate(rows(100, 99, 98, 100)) == (2.0, True)
    assert best_rate(rows(None, 99.5)) == (2.0, True)
    assert best_rate(rows(50, 40)) == (1.0, False)


def test_loads_last_until_enough_has_arrived_but_not_for_ever():
    assert load_seconds(20, 10) == 20
    assert load_seconds(20, 1) == ARRIVALS
    assert load_seconds(20, 0.01) == 60


def test_capacity_of_a_mix_is_harmonic():
    found = {"encode": {"offline": {"per_s": 1.0}}, "decode": {"offline": {"per_s": 10.0}}}
    assert capacity(0.9, found) == pytest.approx(1 / (0.09 + 0.1))
    assert capacity(1.0, found) == pytest.approx(10)


def test_the_timeline_has_every_query_once():
    queries = [Query(due, 0.5 + due, due < 8) for due in np.arange(0, 10, 0.1)]
    rows = timeline(queries, 10, 3.0)
    assert sum(row["arrived"] for row in rows) == len(queries)
    assert sum(row["late"] for row in rows) == sum(not one.good or one.seconds > 3 for one in queries)


@pytest.mark.parametrize("quality", [1, 30, 75, 83, 95, 100])
def test_the_quality_of_a_jpeg_is_read_off_its_tables(tmp_path, quality):
    Image.fromarray(photo()).save(tmp_path / "a.jpg", quality=quality)
    facts = census.read_facts(Source(tmp_path / "a.jpg", tmp_path / "a.jpg"))
    assert (facts.jpeg_quality, facts.jpeg_exact) == (quality, True)


def test_tables_of_other_encoders_get_the_nearest_quality(tmp_path):
    found = []
    for name in ("web_low", "web_high", "web_maximum"):
        Image.fromarray(photo()).save(tmp_path / "a.jpg", qtables=name)
        facts = census.read_facts(Source(tmp_path / "a.jpg", tmp_path / "a.jpg"))
        assert not facts.jpeg_exact
        found.append(facts.jpeg_quality)
    assert found == sorted(found)
    assert found[0] < found[-1]


def facts(name, side):
    return census.Facts(name, "PNG", "RGB", side, side, 1, 1, None, False)


def test_samples_follow_from_the_seed_keep_the_order_and_leave_tiny_pictures_out():
    many = [facts(f"{number:03}", 100) for number in range(50)] + [facts("tiny", 4)]
    first = census.choose(many, 10, 1)
    assert first == census.choose(many, 10, 1) != census.choose(many, 10, 2)
    assert [one.name for one in first] == sorted(one.name for one in first)
    assert len(census.choose(many, 1000, 1)) == 50


def test_a_cut_has_about_the_megapixels_and_the_scale_of_the_picture(tmp_path):
    Image.fromarray(photo("astronaut", 200, 300)).save(tmp_path / "a.png")
    whole = np.asarray(Image.open(tmp_path / "a.png"))
    part = np.asarray(census.cut(tmp_path / "a.png", 0.015))
    assert part.shape == (100, 150, 3)
    assert (part == whole[50:150, 75:225]).all()
    assert census.cut(tmp_path / "a.png", 1).size == (300, 200)


def test_money_by_hand():
    prices = Prices(
        storage_per_gb_month=0.02,
        egress_per_gb=0.1,
        cpu_per_core_hour=0.036,
        months=10,
        pictures=1000,
        reads_per_month=3,
    )
    one = balance(prices, "jpeg", 3e9, 2e9, 100, 10)  # a gigabyte saved, so that the figures are prices
    assert one.storage == pytest.approx(0.2)
    assert one.egress_per_read == pytest.approx(0.1)
    assert one.encode == pytest.approx(100 / 3600 * 0.036)
    assert one.decode_per_read == pytest.approx(0.0001)
    assert one.pays_from_reads == 0
    assert one.pays_up_to_reads == pytest.approx((0.2 - 0.001) / 0.0001)
    assert one.clients == pytest.approx(1000 * (0.2 - 0.001 + 30 * 0.1))
    assert one.service == pytest.approx(1000 * (0.2 - 0.001 - 30 * 0.0001))
    half = balance(Prices(reads_per_month=1, months=1, cache_hit_percent=50, pictures=1), "jpeg", 2, 1, 0, 3600)
    assert half.service == pytest.approx(half.storage - 0.5 * 0.04)


def test_break_even_is_where_the_balance_turns():
    assert break_even(-6, 2) == 3
    assert break_even(5, 2) == 0
    assert break_even(-1, 0) is None
    assert break_even(-1, -1) is None
    assert break_even(1, 0) == 0
    assert last_paying(6, 2) == 3
    assert last_paying(-1, 2) == 0
    assert last_paying(1, 0) is None


@given(st.floats(-100, 100), st.floats(0.01, 100))
def test_from_the_break_even_on_it_pays(once, per_read):
    reads = break_even(once, per_read)
    assert once + (reads + 1e-6) * per_read >= -1e-6
    if reads > 1:
        assert once + (reads - 1) * per_read < 0


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("months = 3", "as_of"),
        ('as_of = "x"\nstorage = 1', "storage"),
        ('as_of = "x"\nmonths = -1', "months"),
        ('as_of = "x"\nmonths = true', "months"),
        ('as_of = "x"\nmonths = nan', "months"),
        ('as_of = "x"\ncache_hit_percent = 101', "cache_hit"),
        ("as_of = ", "TOML"),
        ("as_of = 3", "as_of"),
    ],
)
def test_price_files_with_mistakes_are_refused(tmp_path, text, word):
    path = tmp_path / "prices.toml"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=word):
        read_prices(path)


def test_a_price_file_replaces_what_it_names(tmp_path):
    path = tmp_path / "prices.toml"
    path.write_text('as_of = "2027-01"\negress_per_gb = 0.5\npictures = 7')
    found = read_prices(path)
    assert (found.as_of, found.egress_per_gb, found.pictures, found.source) == ("2027-01", 0.5, 7, "prices.toml")
    assert found.months == Prices().months


def results(failed=0, within=100.0):
    return {
        "exactness": {"failed": failed},
        "scenarios": {"service": {"held": {"within_percent": within}}, "library": None},
    }


def test_every_threshold_is_met_missed_or_not_measured():
    limits = {"selftest_failures": 0, "server_within_percent": 99, "saving_jpeg_percent": 20}
    rows = {row["key"]: row for row in judge(results(within=98.9), limits)}
    assert set(rows) == set(KPIS)
    assert rows["selftest_failures"]["verdict"] == "pass"
    assert rows["server_within_percent"]["verdict"] == "fail"
    assert rows["saving_jpeg_percent"]["verdict"] == "not measured"
    assert rows["encode_p90_s"]["verdict"] is None
    assert tally(list(rows.values())) == {"pass": 1, "fail": 1, "not measured": 1}
    assert judge(results(within=99), limits)[list(KPIS).index("server_within_percent")]["verdict"] == "pass"


def test_thresholds_of_a_file_replace_the_examples(tmp_path):
    path = tmp_path / "limits.toml"
    path.write_text("saving_jpeg_percent = 30\ndecode_p90_s = 0.5")
    assert read_thresholds(path) == {"saving_jpeg_percent": 30, "decode_p90_s": 0.5}
    assert set(default_thresholds()) < set(KPIS)


@pytest.mark.parametrize(
    "text", ["", "savings = 3", 'decode_p90_s = "1"', "decode_p90_s = true", "decode_p90_s = inf", "="]
)
def test_threshold_files_with_mistakes_are_refused(tmp_path, text):
    path = tmp_path / "limits.toml"
    path.write_text(text)
    with pytest.raises(InvalidInput):
        read_thresholds(path)
    with pytest.raises(UnreadableInput):
        read_thresholds(tmp_path / "none.toml")


def test_a_step_of_the_ladder_waits_for_those_below():
    def row(step, verdict):
        return {"step": step, "verdict": verdict, "title": f"figure {step}"}

    met = [row(1, "pass"), row(2, "pass"), row(3, "pass")]
    assert [one["state"] for one in climb(met)] == [READY] * 4
    missed = [row(1, "pass"), row(2, "fail"), row(3, "pass")]
    assert [one["state"] for one in climb(missed)] == [READY, NOT_READY, NOT_READY, NOT_READY]
    assert climb(missed)[1]["failed"] == ["figure 2"]
    assert climb(missed)[2]["below"] == [2]
    unknown = [row(1, "pass"), row(2, "not measured")]
    assert [one["state"] for one in climb(unknown)] == [READY, UNKNOWN, UNKNOWN, UNKNOWN]
    assert [one["state"] for one in climb([])] == [UNKNOWN] * 4


def report(values, **more):
    rows = [{"key": key, "title": key, "unit": "", "value": values.get(key)} for key in KPIS]
    return {"kpis": rows, "machine": {"cores": "2"}, "plan": {"seed": 1}, "pictures_hash": "a", **more}


def test_comparisons_know_which_way_is_better():
    old = report({"encode_p90_s": 2.0, "saving_jpeg_percent": 20.0, "wrong_tiles": 0.0, "decode_p90_s": 1.0})
    new = report({"encode_p90_s": 1.0, "saving_jpeg_percent": 10.0, "wrong_tiles": 0.0}, machine={"cores": "4"})
    found = compare(new, old, "old")
    rows = {row["key"]: row for row in found["rows"]}
    assert (rows["encode_p90_s"]["verdict"], rows["encode_p90_s"]["percent"]) == ("better", -50)
    assert rows["saving_jpeg_percent"]["verdict"] == "worse"
    assert rows["wrong_tiles"]["verdict"] == "same"
    assert rows["decode_p90_s"]["verdict"] is None
    assert found["machine"] == [{"name": "cores", "new": "4", "old": "2"}]
    assert found["plan"] == []
    assert found["same_pictures"]


def test_sections_are_chosen_and_named():
    assert chosen_sections(None, "scenarios, memory")[:3] == ["pictures", "bytes", "latency"]
    assert chosen_sections("money,bytes", None) == ["bytes", "money"]
    for only, skip in (("byte", None), (None, "x"), ("bytes", "bytes")):
        with pytest.raises(InvalidInput):
            chosen_sections(only, skip)


def test_a_plan_is_known_by_its_settings_and_pictures():
    files = [("a", 1), ("b", 2)]
    assert fingerprint(FULL, files) == fingerprint(FULL, files[::-1])
    assert len({fingerprint(FULL, files), fingerprint(QUICK, files), fingerprint(FULL, files[:1])}) == 3
