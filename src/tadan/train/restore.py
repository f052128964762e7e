"""From a model file back to a trainable float network, so that anyone can fine-tune or study a shipped model.

Transforms come from the weights of the ONNX graphs (half precision, in part 8 bits), the entropy networks from the
integer weights (16 bits a weight: closer to the trained value than half precision).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tadan.models import Model, load_model
from tadan.nn.by_quality import ByQuality, gains_of
from tadan.nn.model import TadanModel
from tadan.train.checkpoint import load_weights
from tadan.train.restore_groups import set_knots
from tadan.train.restore_renderer import fill_renderer


@torch.no_grad()
def restore(model: Model) -> TadanModel:
    """Float network of a model file; computes the same up to the rounding of the stored weights.

    Raises:
        InvalidInput: the file was exported without the formats of its activations.
    """
    network = TadanModel(model.config)
    fill_renderer(model, network)
    for vectors, name in (
        ([network.log_gain], "gain"),
        ([network.log_inverse_gain], "inverse_gain"),
        (gains_of(network.g_a), "g_a"),
        (gains_of(network.g_s), "g_s"),
    ):
        _fill_gains(vectors, np.log(model.tensors[f"quality.{name}"].astype(np.float64)))
    return network


def initial_weights(name: str) -> dict[str, Tensor]:
    """Weights to start a training from: a run's ``ema.safetensors``, or a model by name or path."""
    path = Path(name)
    if path.name == "ema.safetensors":
        return load_weights(path)
    return restore(load_model(name)).state_dict()


def _fill_gains(vectors: list[ByQuality], rows: NDArray[np.float64]) -> None:
    """``rows`` (qualities, gains): logarithms, one vector after the other."""
    ends = np.cumsum([by.values.shape[1] for by in vectors])
    for by, part in zip(vectors, np.split(rows, ends[:-1], axis=1), strict=True):
        set_knots(by, part)
