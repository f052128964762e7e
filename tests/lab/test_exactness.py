"""`tadan lab exactness`: every way of decoding is tried, and a wrong one is noticed."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from evaluate_examples import save_crops
from tadan.cli.main import app
from tadan.machine import blas_facts
from tadan_lab.measure import exactness


@pytest.fixture
def crops(tmp_path):
    return save_crops(tmp_path / "crops")


def run(*line):
    shown = CliRunner().invoke(app, ["lab", "exactness", *map(str, line)])
    return shown.exit_code, shown.output


@pytest.mark.torch
def test_all_ways_agree(crops, tmp_path):
    code, shown = run(crops, "--out", tmp_path / "e.json")
    assert code == 0, shown
    written = json.loads((tmp_path / "e.json").read_text())
    assert written["blas"] == blas_facts()
    ways = [row["way"] for row in written["rows"]]
    assert {"numpy, 1 thread(s)", "numpy, 2 thread(s)", "numpy without BLAS, int64"} <= set(ways)
    assert {f"numpy, batches of {size}" for size in (1, 3, 4)} <= set(ways)
    assert any(way.startswith("torch ") for way in ways)
    assert {(row["pictures"], row["mismatches"]) for row in written["rows"]} == {(2, 0)}
    assert {row["way"].split(", ", 1)[1] for row in written["pixels"]} >= {
        "no optimisation",
        "all optimisations, 2 threads",
    }
    assert all(row["levels"] <= 1 and 0 <= row["differing"] < 0.01 for row in written["pixels"])


def test_a_wrong_product_is_a_failure(crops, monkeypatch):
    monkeypatch.setattr(exactness, "_ways", lambda: iter([("wrong", None, wrong)]))
    code, shown = run(crops)
    assert code == 1
    assert "wrong: 2 pictures, 2 mismatches" in shown


def wrong(x, weight):
    return x @ weight + 2.0**16


@pytest.mark.parametrize("product", [exactness.einsum_matmul, exactness.integer_matmul])
def test_products_without_blas_are_products(product):
    rng = np.random.default_rng(3)
    x, weight = (rng.integers(-2000, 2000, shape).astype(np.float64) for shape in ((5, 7), (7, 3)))
    result = product(x, weight)
    assert result.dtype == np.float64
    np.testing.assert_array_equal(result, x @ weight)
