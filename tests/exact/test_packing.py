"""Packed integers of model files (docs/SPEC.md, section 12.1): round trips, the second reader, and hostile files."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load

import reference_packing as reference
from model_examples import CONFIG, batch, exported, exported_bytes, file_of, float_model
from reference_format import Invalid
from tadan.errors import Corrupt, InvalidInput
from tadan.exact import packing
from tadan.exact.network import EntropyTwin, TwinSizes
from tadan.models import Model, read_model, save_model
from tadan.models.config import QUALITY_MAX
from tadan.nn.layers import gains_of
from tadan.train import twin as twin_tensors
from tadan.train.calibration import calibrate
from tadan.train.export import WeightBits
from tadan.train.restore import restore

SPEC = Path(__file__).parents[2] / "docs" / "SPEC.md"
TABLE = np.rint(1024 * np.log1p(np.arange(65536) / 64)).astype(np.int16)


# --- round trips ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", range(2, 17))
@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 1001])
def test_weights_of_every_width_come_back(width, count):
    """The extremes of the width among them, and the second reader agrees."""
    low, high = -(2 ** (width - 1)), 2 ** (width - 1) - 1
    weights = np.random.default_rng(count).integers(low, high, count, endpoint=True).astype(np.int16)
    weights[-1], weights[0] = high, low
    data = packing.pack_integers(weights)
    assert (data[0], data.size) == (width, 1 + (count * width + 7) // 8)
    back = packing.unpack_integers(data, count)
    assert back.dtype == np.int16
    np.testing.assert_array_equal(back, weights)
    np.testing.assert_array_equal(reference.integers(data, (count,)), weights)


def test_small_weights_take_few_bits_and_large_ones_are_refused():
    for values, width in (([0], 2), ([1, -2], 2), ([2], 3), ([-3], 3), ([2047, -2048], 12), ([-2049], 13)):
        assert packing.pack_integers(np.array(values))[0] == width
    for value in (2**15, -(2**15) - 1):
        with pytest.raises(InvalidInput, match="needs 17 bits"):
            packing.pack_integers(np.array([value]))


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=12))
def test_rows_are_the_nearest_integers_between_their_knots(values):
    knots = np.array(values, np.int32)[:, None]
    rows = packing.rows_of(knots)
    assert rows.dtype == np.int32
    expected = np.interp(np.arange(QUALITY_MAX) / 99 * (len(values) - 1), np.arange(len(values)), knots[:, 0])
    assert np.abs(rows[:, 0] - expected).max() <= 0.5 + 1e-5
    assert (rows[0], rows[-1]) == (knots[0], knots[-1])
    assert [reference.row(knots, quality) for quality in (1, 2, 50, 99, 100)] == rows[[0, 1, 49, 98, 99]].tolist()


@pytest.mark.parametrize("knots", [1, 2, 3, 9, 100, 1000])
def test_any_number_of_knots(knots):
    values = np.arange(knots, dtype=np.int32)[:, None] * 99
    np.testing.assert_array_equal(packing.rows_of(values)[:, 0], np.arange(100) * (knots - 1))


def test_tables_of_magnitudes_come_back():
    jumps = np.repeat(np.arange(0, 8191, 31), 255)[:65536]
    for table in (TABLE, np.zeros(65536, int), np.full(65536, 8191), jumps):
        gaps = packing.pack_table(table)
        assert gaps.size == table[-1]
        np.testing.assert_array_equal(packing.unpack_table(gaps), table)
        np.testing.assert_array_equal(reference.magnitude(gaps), table)
    for table, word in (([3, 2], "falls"), ([-1], "falls"), ([0] * 256 + [1], "stands still")):
        with pytest.raises(InvalidInput, match=word):
            packing.pack_table(np.array(table))


def test_the_examples_of_the_specification():
    text = SPEC.read_text(encoding="utf-8")
    weights = re.findall(r"^weights (.*) in (\d+) bits +([0-9A-F ]+)$", text, re.M)
    for values, width, dump in weights:
        data, integers = np.frombuffer(bytes.fromhex(dump), np.uint8), [int(one) for one in values.split(",")]
        np.testing.assert_array_equal(packing.pack_integers(np.array(integers)), data)
        np.testing.assert_array_equal(packing.unpack_integers(data, len(integers)), integers)
        np.testing.assert_array_equal(reference.integers(data, (len(integers),)), integers)
        assert data[0] == int(width)
    [(values, qualities, expected)] = re.findall(r"^knots (.*) at qualities (.*?) +rows (.*)$", text, re.M)
    knots = np.array([int(one) for one in values.split(",")], np.int32)[:, None]
    rows = [int(one) for one in expected.split(",")]
    wanted = [int(one) for one in qualities.split(",")]
    assert packing.rows_of(knots)[[one - 1 for one in wanted], 0].tolist() == rows
    assert [reference.row(knots, one) for one in wanted] == [[one] for one in rows]
    [(dump, entries)] = re.findall(r"^gaps ([0-9A-F ]+) +magnitude (.*), \.\.\.$", text, re.M)
    gaps, first = np.frombuffer(bytes.fromhex(dump), np.uint8), [int(one) for one in entries.split(",")]
    assert (
        packing.unpack_table(gaps)[: len(first)].tolist() == reference.magnitude(gaps)[: len(first)].tolist() == first
    )
    assert len(weights) == 2


# --- whole models -----------------------------------------------------------------------------------------------------


def plain_arrays(monkeypatch):
    """Integers as the export computes them, before they are packed: knots in place of rows."""
    monkeypatch.setattr(twin_tensors, "pack_exact", lambda arrays: arrays)
    model = float_model()
    tensors = twin_tensors.entropy_tensors(model, calibrate(model, [batch("chelsea", "coffee")]), WeightBits())
    return {name[6:]: value for name, value in tensors.items() if name.startswith("exact.")}


def test_the_networks_get_the_integers_that_the_export_chose(monkeypatch):
    plain = plain_arrays(monkeypatch)
    stored = packing.pack_exact(plain)
    unpacked = packing.unpack_exact(stored, CONFIG)
    assert unpacked.keys() == plain.keys()
    for name, value in plain.items():
        expected = packing.rows_of(value) if name in packing.INTERPOLATED else value
        np.testing.assert_array_equal(unpacked[name], expected, strict=name not in packing.INTERPOLATED)
    assert sum(value.nbytes for value in stored.values()) < 0.3 * sum(value.nbytes for value in plain.values())


def test_twins_of_plain_and_of_packed_integers_agree(monkeypatch):
    plain = plain_arrays(monkeypatch)
    rows = {name: np.array([reference.row(plain[name], q) for q in range(1, 101)]) for name in packing.INTERPOLATED}
    sizes, rng = TwinSizes.of(CONFIG), np.random.default_rng(2)
    one = EntropyTwin({**plain, **rows}, sizes)
    other = Model(CONFIG, {f"exact.{name}": value for name, value in packing.pack_exact(plain).items()}, {}).twin
    y, z = rng.integers(-9000, 9000, (24, CONFIG.latent)), rng.integers(-900, 900, (1, 1, 2, CONFIG.z_channels))
    for quality in (1, 37, 100):
        pre = one.hyper(z.astype(np.int32), quality)
        np.testing.assert_array_equal(pre, other.hyper(z.astype(np.int32), quality))
        np.testing.assert_array_equal(one.embed_rows(y), other.embed_rows(y))
        visible = rng.random((1, 5, 5)) < 0.4
        visible[:, 2:] = False
        kernels = [twin.kernel(visible) for twin in (one, other)]
        np.testing.assert_array_equal(kernels[0].bias, kernels[1].bias)
        rows, pairs = pre.reshape(-1, CONFIG.hidden)[:24], []
        for twin, kernel in zip((one, other), kernels, strict=True):
            seen = np.full((24, kernel.product.inputs), 77.0)
            pairs.append(twin.parameters_of(rows.copy(), seen, kernel, quality, y))
        for mine, theirs in zip(*pairs, strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_the_second_reader_unpacks_the_same(tmp_path):
    model = exported(tmp_path)
    other = reference.unpack(load(exported_bytes()), CONFIG.to_dict())
    for name, value in model.exact_arrays().items():
        np.testing.assert_array_equal(other[name], value)


def test_rows_of_a_restored_network_are_those_of_the_exported_one(tmp_path):
    """Knots at random: half a unit of each format, and of half precision for the factors of blocks."""
    network = restore(exported(tmp_path))
    with torch.no_grad():
        for name, value in network.named_parameters():
            if "log_" in name and "scale" not in name:
                value.normal_(0, 0.7)
            elif name.endswith(("_bias.values", "z_mean.values")):
                value.normal_(0, 3)
    (tmp_path / "other.safetensors").write_bytes(file_of(network))
    model = read_model(tmp_path / "other.safetensors")
    again = restore(model)
    for quality in (1, 13, 50, 88, 100):
        at = torch.tensor([float(quality)])
        with torch.no_grad():
            gain, back = (torch.exp(one(at))[0, 0, 0].numpy() for one in (network.log_gain, network.log_inverse_gain))
            np.testing.assert_allclose(model.gain(quality), gain, rtol=1e-6)
            np.testing.assert_allclose(model.inverse_gain(quality), back, rtol=1e-6)
            for graph in ("g_a", "g_s"):
                vectors = [torch.exp(by(at)).ravel() for by in gains_of(network.get_submodule(graph))]
                np.testing.assert_allclose(
                    model.block_gains(graph, quality).ravel(), torch.cat(vectors).numpy(), rtol=2e-3
                )
            for name, step in (("hidden_bias", 2e-3), ("outlet_bias", 1e-2), ("z_mean", 1 / 128 + 1e-6)):
                mine, theirs = (getattr(one.entropy, name)(at) for one in (again, network))
                assert float((mine - theirs).abs().max()) <= step, name


# --- hostile files ----------------------------------------------------------------------------------------------------


def packed(width, count, last=0):
    """``count`` values 0, and ``last`` as last byte."""
    data = np.zeros(1 + (count * width + 7) // 8, np.uint8)
    data[0], data[-1] = width, last
    return data


HIDDEN = CONFIG.hidden**2
WRONG = {
    "no bytes": ("hidden.weight", np.zeros(0, np.uint8)),
    "width 0": ("hidden.weight", np.zeros(1, np.uint8)),
    "width 1": ("hidden.weight", packed(1, HIDDEN)),
    "width 17": ("hidden.weight", packed(17, HIDDEN)),
    "width 255": ("hidden.weight", packed(255, HIDDEN)),
    "a byte less": ("hidden.weight", packed(12, HIDDEN)[:-1]),
    "a byte more": ("hidden.weight", np.append(packed(12, HIDDEN), np.uint8(0))),
    "another width": ("hidden.weight", packed(12, HIDDEN - 8)),
    "not packed": ("hidden.weight", np.zeros((CONFIG.hidden, CONFIG.hidden), np.int16)),
    "two dimensions": ("hidden.weight", packed(12, HIDDEN)[None]),
    "signed bytes": ("hidden.weight", packed(12, HIDDEN).astype(np.int8)),
    "bits behind the last value": ("embed0.weight", packed(3, 12, 16)),
    "a row too many": ("quality.hidden", np.zeros((4, 20), np.int32)),
    "rows of all qualities": ("quality.outlet", np.zeros((100, 32), np.int32)),
    "knots of 64 bits": ("quality.outlet", np.zeros((3, 32), np.int64)),
    "knots of another width": ("quality.z_mean", np.zeros((3, 5), np.int32)),
    "a number": ("quality.z_mean", np.zeros((), np.int32)),
    "gaps beyond the table": ("magnitude", np.full(300, 255, np.uint8)),
    "more gaps than magnitudes": ("magnitude", np.zeros(8192, np.uint8)),
    "the table itself": ("magnitude", TABLE),
    "a missing weight": ("bases.weight", None),
    "missing knots": ("quality.hidden", None),
    "a missing table": ("magnitude", None),
}


@pytest.mark.parametrize(("name", "value"), WRONG.values(), ids=WRONG)
def test_a_file_that_breaks_a_rule_is_refused(tmp_path, name, value):
    """By both readers; its id is right."""
    tensors = {**load(exported_bytes()), f"exact.{name}": value}
    tensors = {key: one for key, one in tensors.items() if one is not None}
    path = tmp_path / "wrong.safetensors"
    path.write_bytes(save_model(CONFIG, tensors, {}))
    with pytest.raises(Corrupt, match=rf"exact\.{name}.*(fetch|export) it again"):
        read_model(path)
    with pytest.raises((Invalid, KeyError, ValueError, IndexError)):
        reference.unpack(tensors, CONFIG.to_dict())


@pytest.mark.parametrize("name", ["bases", "late", "hidden", "hyper_widths", "radius", "mask_hidden", "knots"])
def test_a_configuration_of_enormous_sizes_allocates_nothing(tmp_path, name):
    """2^80 weights, announced by a file of some hundred kilobytes."""
    largest = (65536, 65536, 65536) if name == "hyper_widths" else 65536
    path = tmp_path / "wrong.safetensors"
    path.write_bytes(save_model(replace(CONFIG, **{name: largest}), load(exported_bytes()), {}))
    with pytest.raises(Corrupt, match=r"fetch|export"):
        read_model(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 65, -65])
def test_factors_that_leave_the_range_of_float32_are_refused(tmp_path, value):
    for name in ("log_g_s", "log_inverse_gain"):
        tensors = load(exported_bytes())
        tensors[f"quality.{name}"] = tensors[f"quality.{name}"].copy()
        tensors[f"quality.{name}"][-1, -1] = value
        path = tmp_path / "wrong.safetensors"
        path.write_bytes(save_model(CONFIG, tensors, {}))
        with pytest.raises(Corrupt, match="lacks parts"):
            read_model(path)
