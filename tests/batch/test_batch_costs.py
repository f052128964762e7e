"""Estimates from samples, prices, and the simulation of fleets against arithmetic that needs none."""

import json
import math
import random

import pytest

from batch_examples import here, pictures, recipe
from cli_examples import fails, run
from tadan.batch.entries import Entry, open_source
from tadan.batch.estimate import estimate
from tadan.batch.outcome import Outcome, failure
from tadan.batch.prices import Prices, Rates, dollars_per_million, read_prices
from tadan.batch.unit import Job
from tadan.errors import InvalidInput
from tadan_lab.measure.fleet import Fleet, Work, simulate

PRICES = Prices(dollars_per_hour=3.6, cores=2, get_per_1000=0.5, put_per_1000=4, month_per_gigabyte=0.02)


def test_dollars_are_what_the_arithmetic_says():
    found = dollars_per_million(Rates(seconds=1.0, bytes_in=1e6, bytes_out=1e5), PRICES)
    assert found["machines"] == pytest.approx(1e6 / 2 / 3600 * 3.6)
    assert found["requests"] == pytest.approx(1000 * (2 * 0.5 + 4))
    assert found["sum"] == pytest.approx(found["machines"] + found["requests"])
    assert found["storage_of_sources_a_month"] == pytest.approx(1000 * 0.02)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.toml", "cores = 4", "needs dollars_per_hour and cores"),
        ("a.toml", "dollars_per_hour = 1\ncores = 0", "cores is a number above 0"),
        ("a.toml", "dollars_per_hour = -1\ncores = 1", "dollars_per_hour is a number from 0"),
        ("a.json", '{"dollars_per_hour": 1, "cores": 1, "typo": 2}', "may have"),
        ("a.json", "{", "write TOML or JSON"),
        ("a.json", "[]", "needs dollars_per_hour"),
    ],
)
def test_a_price_table_that_is_none(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InvalidInput, match=message):
        read_prices(tmp_path / name)


def made_up(seconds):
    """An engine whose pictures take what the names say; some are damaged."""

    def engine(entries, stop):
        for entry in entries:
            if entry.source.endswith("bad"):
                yield failure(entry.source, "UnreadableInput", "no")
                continue
            took = seconds[int(entry.source)]
            yield Outcome(entry.source, "done", bytes_in=1000, bytes_out=100, pixels=10**6, seconds=took)

    return engine


def test_an_estimate_covers_the_truth_as_often_as_it_says():
    dice = random.Random(3)
    seconds = [dice.lognormvariate(0, 0.5) for _ in range(2000)]
    entries = [Entry(str(at), str(at), 1000) for at in range(2000)]
    truth, hits = sum(seconds) / 2, 0
    for seed in range(60):
        found = estimate(iter(entries), made_up(seconds), 2, 60, seed)
        facts = found.to_dict()
        assert facts["pictures"] == 2000
        assert facts["saved"] == pytest.approx(0.9)
        hits += abs(facts["seconds"] - truth) <= facts["uncertainty"] * facts["seconds"]
    assert hits >= 52  # 57 of 60 are expected; a normal interval of skewed data is a little short


def test_damaged_pictures_of_a_sample_cost_nothing():
    entries = [Entry("0", "0", 1000), Entry("bad", "bad", 1000)]
    facts = estimate(iter(entries), made_up([1.0]), 1, 2).to_dict(PRICES)
    assert facts["failed_in_sample"] == {"UnreadableInput": 1}
    assert facts["seconds"] == pytest.approx(1.0)
    assert "machines" in facts["dollars_per_million"]
    with pytest.raises(InvalidInput, match="no picture of the sample"):
        estimate(iter(entries[1:]), made_up([]), 1, 2)


def test_a_dry_run_writes_nothing(tmp_path):
    source = pictures(tmp_path / "source", 5)
    job = Job(str(tmp_path / "out"), recipe(), dry=True)
    facts = estimate(iter(open_source(str(source))), here(job), 1, 3).to_dict()
    assert (facts["pictures"], facts["sample"]) == (5, 3)
    assert facts["pixels_per_second_and_core"] > 0
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_command_tells_dollars(tmp_path):
    source = pictures(tmp_path / "source", 3)
    (tmp_path / "prices.toml").write_text("dollars_per_hour = 1\ncores = 4\n")
    line = ["batch", source, tmp_path / "out", "-e", "0", "--workers", "1", "--prices", tmp_path / "prices.toml"]
    said = run(*line, "--dry-run", "--report", tmp_path / "estimate").stdout
    assert "3 pictures" in said
    assert "dollars for a million pictures, machines" in said
    assert json.loads((tmp_path / "estimate.json").read_text())["pictures"] == 3
    assert not (tmp_path / "out").exists()
    run(*line)
    facts = json.loads((tmp_path / "out" / "tadan-batch-report.json").read_text())
    assert facts["dollars_per_million"]["sum"] > 0
    fails(*line[:-1], tmp_path / "gone.toml", message="Cannot read")


WORK = Work([2.0], [1000], begin=3.0)


def test_a_fleet_without_trouble_is_arithmetic():
    one = simulate(WORK, Fleet(4, cores=5, block=1), 400)
    assert one.seconds == pytest.approx(3 + 400 * 2 / 20)
    assert one.efficiency == pytest.approx(400 * 2 / (20 * one.seconds))
    assert (one.waiting, one.repeated, one.deaths) == (0, 0, 0)


def test_the_source_is_a_bound():
    one = simulate(WORK, Fleet(10, cores=10, source_bandwidth=10_000, block=1), 2000)
    assert one.seconds >= 2000 * 1000 / 10_000
    assert one.seconds == pytest.approx(2000 * 1000 / 10_000, rel=0.1)
    assert one.waiting > 0.5
    alone = simulate(WORK, Fleet(1, cores=4, machine_bandwidth=1000, block=1), 40)
    assert alone.seconds == pytest.approx(3 + 40 * 1000 / 1000)


def test_stragglers_take_less_and_hold_up_the_end():
    even = simulate(WORK, Fleet(10, cores=1, block=4), 1000)
    uneven = simulate(WORK, Fleet(10, cores=1, block=4, stragglers=0.2, slowdown=4), 1000)
    assert even.seconds < uneven.seconds < even.seconds * 10 / (8 + 2 / 4) * 1.1
    assert uneven.tail > even.tail


@pytest.mark.parametrize("seed", range(3))
def test_work_that_died_with_its_machine_is_done_elsewhere(seed):
    calm = simulate(WORK, Fleet(5, cores=2, block=4), 2000, seed)
    wild = simulate(WORK, Fleet(5, cores=2, block=4, hours_between_deaths=0.02, replaced_after=10), 2000, seed)
    assert wild.deaths > 5
    assert wild.seconds > calm.seconds
    assert 0 < wild.repeated < 0.2
    assert wild.efficiency * wild.seconds == pytest.approx(calm.efficiency * calm.seconds), "all of it once"


def test_many_machines_end_sooner_and_waste_more():
    work = Work([random.Random(1).uniform(0.2, 2) for _ in range(50)], [2 * 10**6] * 50)
    found = [simulate(work, Fleet(n, 4, 10**9, 10**8, 0.05, hours_between_deaths=1), 20_000) for n in (1, 10, 100)]
    assert [one.seconds for one in found] == sorted((one.seconds for one in found), reverse=True)
    assert found[0].efficiency > found[2].efficiency
    assert all(math.isfinite(one.machine_hours) for one in found)
    with pytest.raises(InvalidInput):
        simulate(Work([], []), Fleet(1), 5)
