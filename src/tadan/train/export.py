"""From trained float weights to a model file: calibration, integer twin, tables, ONNX graphs."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor

from tadan.entropy import N_SCALES, ScaleTables
from tadan.errors import InvalidInput
from tadan.models import Model, ModelConfig
from tadan.models.model import MOST_LOG_GAIN
from tadan.nn.layers import gains_of
from tadan.nn.model import TadanModel
from tadan.nn.onnx_graph import share_weights
from tadan.train.calibration import calibrate
from tadan.train.checkpoint import load_weights
from tadan.train.data import crops, load_pictures
from tadan.train.recipe import read_settings
from tadan.train.search import curvature
from tadan.train.twin import entropy_tensors

Arrays = dict[str, NDArray[Any]]
TABLE_QUALITIES = (1, 10, 25, 40, 55, 70, 85, 100)
TABLE_SCHEDULES = ("2x2", "4x4", "checkerboard")


@dataclass(frozen=True)
class WeightBits:
    """Width of the integer weights, sign included, by layer.

    With 12 bits files hold a quarter less of them than with 16, and pictures take no more bytes (docs/experiments.md).
    """

    hyper: int = 12
    embed: int = 12
    bases: int = 12
    hidden: int = 12
    outlet: int = 12
    mask: int = 12


def export_tensors(
    model: TadanModel,
    maxima: Mapping[str, NDArray[np.float64]],
    bits: WeightBits,
    tables: ScaleTables,
    pictures: Tensor,
) -> Arrays:
    """All tensors of a model file.

    Args:
        model: float model.
        maxima: what :func:`~tadan.train.calibration.calibrate` gave.
        bits: widths of the integer weights.
        tables: frequency tables.
        pictures: as for :func:`~tadan.train.search.curvature`.

    Raises:
        InvalidInput: a weight is not finite or does not fit its format.
    """
    out = entropy_tensors(model, maxima, bits)
    out |= {f"tables.{name}": value for name, value in tables.to_arrays().items()}
    out |= {name: np.frombuffer(data, np.uint8) for name, data in _graphs(model).items()}
    for name, parts, kind in (
        ("gain", [model.log_gain], np.float32),
        ("inverse_gain", [model.log_inverse_gain], np.float32),
        ("g_a", gains_of(model.g_a), np.float16),
        ("g_s", gains_of(model.g_s), np.float16),
    ):
        knots = np.concatenate([by.values.detach().numpy() for by in parts], axis=1).astype(kind)
        if not np.isfinite(knots).all() or np.abs(knots).max() > MOST_LOG_GAIN:
            raise InvalidInput(f"the {name} of the network to export is not finite or far too large; train it again")
        out[f"quality.log_{name}"] = knots
    out["search.curvature"] = curvature(model, pictures)
    return out


def _graphs(model: TadanModel) -> dict[str, bytes]:
    """Parts of the ONNX graphs by the names of their tensors, see :data:`tadan.models.model.GRAPHS`."""
    both = {
        "graph.g_s": model.g_s.graph(),
        "graph.g_s_gradient": model.g_s.gradient_graph(),
    }
    skeletons, weights = share_weights(both)
    return {
        "graph.g_a": model.g_a.graph(),
        "graph.h_a": model.entropy.h_a.graph(),
        **skeletons,
        "weights.g_s": weights,
    }


def export_run(
    run: Path, data: Path, name: str, pictures: int, licence: str | None = None, decoder_only: bool = False
) -> tuple[bytes, list[str]]:
    """Model file of a run's averaged weights, and a report of the overflow proof of every layer.

    Tables are fitted to the residuals that the exported networks leave on training pictures: under the one schedule
    that the run was trained under if its recipe names one (``specialise``), else under several.

    Args:
        run: folder of the run.
        data: training pictures for calibration, of 256 pixels a side or more; never evaluation pictures.
        name: of the model.
        pictures: crops of 256x256 to calibrate on.
        licence: of the weights, as their owner grants it; None: the file states none.
        decoder_only: leave out what only encoding and training tools need.

    Raises:
        InvalidInput: the run holds no weights, or the networks do not fit the integer formats.
    """
    weights = run / "ema.safetensors"
    if not weights.exists():
        raise InvalidInput(f"{run} holds no ema.safetensors; train first: tadan model train PICTURES --run {run}")
    with safe_open(weights, "np") as file:
        facts = file.metadata() or {}
        config, tune = ModelConfig.from_dict(json.loads(facts["config"])), facts.get("tune", "psnr")
    model = TadanModel(config)
    model.load_state_dict(load_weights(weights))
    rng = np.random.default_rng(0)
    photographs = load_pictures(data, 256)
    batches = [crops(photographs, 4, 256, rng) for _ in range(max(1, pictures // 4))]
    maxima = calibrate(model, batches)
    tensors = export_tensors(model, maxima, WeightBits(), ScaleTables.gaussian(), batches[0])
    draft = Model(config, tensors, {"tune": tune})
    only = _specialised(run)
    tables = fit_tables(draft, photographs, pictures, rng, [only] if only else TABLE_SCHEDULES)
    tensors |= {f"tables.{key}": value for key, value in tables.to_arrays().items()}
    proofs = draft.twin.proofs()
    report = [
        f"{layer}: |sum| <= {proof.total:,} < 2**{53 if proof.wide else 24}" + f" in {proof.splits} piece(s)"
        for layer, proof in proofs.items()
    ]
    metadata = {
        "name": name,
        "tune": tune,
        "proofs": json.dumps({layer: asdict(proof) for layer, proof in proofs.items()}),
    }
    if only:
        metadata["schedule"] = only
    if licence is not None:
        metadata["licence"] = licence
    model_file = Model(config, tensors, metadata)
    return (model_file.decoder_only() if decoder_only else model_file).to_bytes(), report


def _specialised(run: Path) -> str:
    """The schedule that a run is trained under alone; empty for all."""
    return read_settings(run)[0].specialise if (run / "recipe.json").exists() else ""


def fit_tables(
    model: Model,
    photographs: Sequence[NDArray[np.uint8]],
    pictures: int,
    rng: np.random.Generator,
    schedules: Sequence[str] = TABLE_SCHEDULES,
) -> ScaleTables:
    """Frequency tables fitted to the symbols that a model leaves on crops of training pictures, schedules in turn."""
    from tadan.codec.codec import Codec, file_symbols

    reach = 1100
    counts = np.zeros((N_SCALES, 2 * reach + 1), np.int64)
    beyond = np.zeros(N_SCALES, np.int64)
    codec = Codec(model)
    for number in range(pictures):
        crop = (crops(list(photographs), 1, 256, rng)[0] * 255).round().byte().numpy()
        for quality in TABLE_QUALITIES:
            with warnings.catch_warnings(action="ignore"):  # of what a stored file would have saved
                data = codec.encode(crop, quality=quality, schedule=schedules[number % len(schedules)], fallback=False)
            for symbols, index in file_symbols(data, model):
                inside = np.abs(symbols) <= reach
                np.add.at(counts, (index[inside], symbols[inside] + reach), 1)
                np.add.at(beyond, index[~inside], 1)
    return ScaleTables.from_counts(counts, beyond)
