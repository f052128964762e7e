"""The study of orders on a small random model: frozen latents, fair training, measured costs, tables."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from model_examples import exported_bytes
from photo_examples import photo
from tadan.cli.main import app
from tadan.errors import InvalidInput, UnreadableInput
from tadan.models import read_model
from tadan.nn.entropy_model import gaussian_bits
from tadan.schedule import PatternSchedule, get_schedule
from tadan.schedule.optimize import relative_subset
from tadan.train.objective import draw_schedule
from tadan.train.restore import restore
from tadan_lab.study import plan
from tadan_lab.study.costs import NetworkCosts
from tadan_lab.study.groups import SCHEDULES, fresh, merged
from tadan_lab.study.latents import TrainingLatents, cache_training, load_pictures
from tadan_lab.study.report import tables, write_groups
from tadan_lab.study.results import Results, collect, groups_bd
from tadan_lab.study.run import Study, StudyRecipe, measured_rate
from tadan_lab.study.training import Fit, as_steps, evaluate, train

RECIPE = StudyRecipe(
    qualities=(20, 70),
    crop=128,
    held_out=2,
    general=Fit(steps=2, lr=1e-3, batch=1),
    special=Fit(steps=2, lr=1e-3, batch=2, save_every=1),
    grouped=Fit(steps=2, lr=1e-3, batch=1),
    repeat=2,
    budget=1200,
    positions=8,
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    for name in ("data", "pictures"):
        (root / name).mkdir()
    for index, (name, flipped) in enumerate((n, f) for n in ("astronaut", "chelsea", "coffee") for f in (0, 1)):
        pixels = photo(name, 140, 132)
        Image.fromarray(pixels[:, ::-1] if flipped else pixels).save(root / "data" / f"{index}.png")
    Image.fromarray(photo("rocket", 70, 100)).save(root / "pictures" / "rocket.png")
    (root / "small.safetensors").write_bytes(exported_bytes())
    return root


@pytest.fixture(scope="module")
def study(folders):
    """A study up to the specialised networks, of which two are trained."""
    said = []
    model = str(folders / "small.safetensors")
    chosen = ("checkerboard", "raster")
    one = Study(
        folders / "run", folders / "data", folders / "pictures", (), RECIPE, 1, 1, chosen, model=model, say=said.append
    )
    one.run()
    assert any("raster-s1" in line for line in said)
    return one


@pytest.fixture
def latents(study):
    return TrainingLatents(study.folder / "training")


@pytest.fixture
def network(folders):
    return restore(read_model(folders / "small.safetensors")).entropy


@pytest.mark.slow
def test_frozen_latents_are_those_of_the_codec_rounded(study, folders):
    from tadan.codec.transforms import Transforms

    model = read_model(folders / "small.safetensors")
    (picture,) = load_pictures(study.folder / "pictures", 70)
    y, z = Transforms(model).analyse(photo("rocket", 70, 100), 70)
    assert (picture.y_hat == np.rint(y)).all()
    assert np.abs(picture.z_hat / 64 - z).max() <= 0.5 + 1e-4
    assert picture.z_bits > 0
    assert picture.pixels == 7000


def test_a_folder_belongs_to_one_model_and_recipe(study, folders):
    other = replace(RECIPE, positions=9)
    with pytest.raises(InvalidInput, match="another model or recipe"):
        Study(study.folder, folders / "data", folders / "pictures", (), other, model=study.model).run()


def test_too_few_pictures_are_refused(folders, tmp_path):
    model = read_model(folders / "small.safetensors")
    with pytest.raises(InvalidInput, match="more than 6 are needed"):
        cache_training(model, sorted((folders / "data").iterdir()), (20,), 128, 6, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_training_goes_on_where_it_stopped_and_leaves_h_a_alone(latents, network, tmp_path):
    class Stop(Exception):
        pass

    def fit(steps, state, stop=None):
        one = copy.deepcopy(network)

        def log(row):
            if row["step"] == stop:
                raise Stop

        try:
            train(
                one,
                latents,
                lambda _: get_schedule("2x2"),
                replace(RECIPE.special, steps=steps, log_every=1),
                1,
                state,
                log,
            )
        except Stop:
            return None
        return one.state_dict()

    whole = fit(4, tmp_path / "a")
    assert fit(4, tmp_path / "b", stop=3) is None
    assert (tmp_path / "b").exists()
    resumed = fit(4, tmp_path / "b")
    assert not (tmp_path / "b").exists()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    before = copy.deepcopy(network).state_dict()
    assert all(torch.equal(whole[n], before[n]) for n in whole if n.startswith(("h_a.", "z_")))
    assert not torch.equal(whole["context.bases.bias"], before["context.bases.bias"])


def test_stages_add_up_to_the_rate(study, network):
    (picture,) = load_pictures(study.folder / "pictures", 70)
    for name in ("hyper", "2x2", "2x2-rotated", "4x4-8"):
        schedule = get_schedule(name)
        row = evaluate(network, schedule, [picture])[0]
        stage = schedule.stage_map(*picture.y_hat.shape[:2])
        latents = np.bincount(stage.ravel()) * picture.y_hat.shape[2] / schedule.groups
        total = float(np.dot(latents, row["stages"])) + picture.z_bits
        assert total / picture.pixels == pytest.approx(row["bpp"], rel=1e-6)


@pytest.mark.slow
def test_measured_costs_are_what_the_network_spends(latents, network):
    """The rate of a schedule put together from subsets is the mean over the same latents under that schedule."""
    every = 10**6  # positions: all whose window lies inside
    number, r = latents.trained, network.config.radius
    for name, size in (("hyper", 1), ("checkerboard", 2), ("2x2", 2), ("4x4", 4)):
        schedule = get_schedule(name)
        costs = NetworkCosts(network, latents, (size, size), every)
        for index, quality in enumerate(latents.qualities):
            y, z = as_steps(latents.y[quality][number][None], 0), as_steps(latents.z[quality][number][None], 6)
            inside = torch.zeros(y.shape[1:3], dtype=torch.bool)
            inside[r:-r, r:-r] = True
            for row, col in np.ndindex(*schedule.period):
                expected = _bits_as_if(network, y, z, quality, schedule, (row, col))[inside].mean()
                assert costs.by_quality(_of(schedule, row, col))[index] == pytest.approx(float(expected), rel=1e-4)


def _of(schedule, row, col):
    stages = schedule.pattern[0]
    decoded = sum(1 << index for index, stage in enumerate(stages.ravel()) if stage < stages[row, col])
    return int(relative_subset(stages.shape, row * stages.shape[1] + col, decoded))


def _bits_as_if(network, y, z, quality, schedule, place):
    """Bits of every latent with the neighbourhood of ``place``: the schedule shifted under the plane."""
    stages, (h, w) = schedule.pattern[0], y.shape[1:3]
    out = torch.zeros(h, w)
    for i, j in np.ndindex(*stages.shape):
        moved = PatternSchedule(np.roll(stages, (i - place[0], j - place[1]), axis=(0, 1)))
        with torch.no_grad():
            predicted = network.parameters_for(y, z, moved, torch.tensor([float(quality)]))
        bits = gaussian_bits(y - predicted.mean, predicted.log_scale)[0].mean(-1)
        out[i :: stages.shape[0], j :: stages.shape[1]] = bits[i :: stages.shape[0], j :: stages.shape[1]]
    return out


def test_the_search_of_the_study_is_never_above_a_listed_order(study):
    orders = json.loads((study.folder / "orders.json").read_text())
    for shape, one in orders.items():
        best = min(row["bits"] for name, row in one["schedules"].items() if name.startswith("best-"))
        assert best <= min(row["bits"] for row in one["schedules"].values()) + 1e-9, shape


def test_measured_rate_is_that_of_the_costs(latents, network):
    costs = NetworkCosts(network, latents, (2, 2), 4)
    schedule = PatternSchedule([[0, 1], [1, 0]])
    assert measured_rate(costs, (2, 2), schedule) == pytest.approx(float(np.mean(costs([0, 0b0110]))))


def test_results_tell_what_the_files_hold(study):
    results = Results(collect(study.folder))
    results.psnr = [25.0, 30.0]  # more quality is no better with random weights
    assert results.names == ["checkerboard", "raster"]
    assert results.special_bd("raster") == (0.0, 0.0)
    ours, reference = results.special("checkerboard", 1), results.special("raster", 1)
    ratios = [a / b - 1 for a, b in zip(ours, reference, strict=True)]
    assert min(ratios) * 100 - 1e-6 <= results.bd_rate(ours, reference) <= max(ratios) * 100 + 1e-6
    assert results.anchors("checkerboard") == 0.5
    assert results.stage_count("raster") is None


def test_channel_groups_are_compared_under_the_same_schedules(study):
    """Same stages, more steps; the window and the parameter network cost the same, the groups' own network more."""
    results = Results(collect(study.folder))
    results.psnr = [25.0, 30.0]
    assert results.groupings == [4, 1]
    for name in SCHEDULES:
        four, one = (results.grouped(count, name) for count in (4, 1))
        assert four["steps"] == 4 * four["stages"] == 4 * one["steps"]
        assert four["kmac"] > one["kmac"] > 0
        assert min(four["ms"], one["ms"]) > 0
        assert min(four["bpp"].values()) > 0
        assert results.grouped_bd(1, name) == pytest.approx(0, abs=1e-9)
    title = "Channel groups inside every stage"
    table = tables(results)[title]
    assert "BD-rate against one group" in table
    assert len(table.splitlines()) == 2 + 2 * len(SCHEDULES)


def test_channel_groups_are_compared_in_real_streams(study, tmp_path):
    """Both entropy models code the same pictures; what they decode to differs by rounding alone."""
    written = write_groups(study.folder, tmp_path / "out")
    groups = json.loads(written[0].read_text())
    assert {*groups} == {"4", "1"}
    for quality in ("20", "70"):
        four, one = (groups[count]["coded"] for count in ("4", "1"))
        assert four["bpp"][quality] > 0
        assert four["psnr"][quality] == pytest.approx(one["psnr"][quality], abs=1)
    assert groups_bd(groups, 1) == pytest.approx(0, abs=1e-9)
    assert len(written[1].read_text().splitlines()) == 4


def test_joined_groups_keep_channels_and_embedded_values(folders, study):
    config = read_model(folders / "small.safetensors").config
    for count in (1, 2, 4):
        joined = merged(config, count)
        assert (joined.groups, joined.latent) == (count, config.latent)
        assert sum(joined.embed_sizes) == sum(config.embed_sizes)
    with pytest.raises(InvalidInput, match="choose from: 1, 2, 4"):
        Study(study.folder, folders / "data", folders / "pictures", model=study.model, groups=(3,))


def test_new_entropy_models_start_alike_at_the_spread_of_the_latents(folders, latents, network):
    config = read_model(folders / "small.safetensors").config
    y = as_steps(latents.y[70][:2], 0)
    z, quality = as_steps(latents.z[70][:2], 6), torch.tensor([70.0, 70.0])
    bits = []
    for count in (4, 1):
        one = fresh(merged(config, count), network, latents)
        assert torch.equal(one.z_mean.values, network.z_mean.values)
        with torch.no_grad():
            predicted = one.parameters_for(y, z, get_schedule("2x2"), quality)
        bits.append(float(gaussian_bits(y - predicted.mean, predicted.log_scale).mean()))
    assert bits[0] == pytest.approx(bits[1], rel=0.1)
    assert max(bits) < 1.3 * float(torch.log2(y.std((0, 1, 2)) * 4.13).clamp_min(0.5).mean())


def test_an_unfinished_study_has_no_report(tmp_path):
    with pytest.raises(UnreadableInput, match="any"):
        collect(tmp_path)


def test_committed_tables_follow_from_the_committed_numbers():
    """docs/study.md quotes the tables of docs/results/study/study.json word for word."""
    docs = Path(__file__).parents[2] / "docs"
    written = (docs / "study.md").read_text()
    for title, table in tables(Results(json.loads((docs / "results/study/study.json").read_text()))).items():
        assert table in written, f"docs/study.md does not hold the table {title!r} as tadan lab study writes it"


def test_names_of_schedules_are_checked_before_anything_is_trained(study):
    with pytest.raises(InvalidInput, match="no schedule 'spiral'"):
        plan.entries(study.schedules(), only=["spiral"])
    keys = [entry.key for entry in plan.entries(study.schedules())]
    assert len(keys) == len(set(keys))
    assert {"raster-s1", "raster-s2", "raster-s3", "4x4-published-s1"} <= set(keys)
    assert "4x4-published-s2" not in keys


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--qualities", "30"], "at least two qualities"),
        ([], "folder"),
        (["--qualities", "0,200"], "Qualities"),
        (["--groups", "8;1"], "no list of whole numbers"),
        (["--groups", "3"], "cannot be joined"),
        (["--crop", "200"], "multiple of 64"),
    ],
)
def test_bad_input_of_the_command(tmp_path, arguments, message):
    result = CliRunner().invoke(
        app, ["lab", "study", str(tmp_path / "none"), str(tmp_path / "no"), *arguments, "--run", str(tmp_path / "run")]
    )
    assert result.exit_code == 2
    assert message in result.output


def test_draws_keep_to_the_groups_of_a_model():
    rng = np.random.default_rng(1)
    assert {plan.draw(rng, (1,)).groups for _ in range(100)} == {1}
    assert {draw_schedule(rng, (1, 2)).groups for _ in range(100)} == {1, 2}


def test_neutral_draws_prefer_no_order():
    rng = np.random.default_rng(0)
    drawn = [plan.draw(rng) for _ in range(500)]
    orders = [s for s in drawn if isinstance(s, PatternSchedule) and s.pattern.max() + 1 == 16]
    assert len(orders) > 100
    assert len(set(orders)) == len(orders)
