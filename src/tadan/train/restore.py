"""From a model file back to a trainable float network, so that anyone can fine-tune or study a shipped model.

Transforms come from the weights of the ONNX graphs (half precision, in part 8 bits), the entropy networks from the
integer weights (12 bits a weight, unless the export chose others).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tadan.errors import Corrupt
from tadan.models import Model, load_model
from tadan.models.lite import LiteDecoder
from tadan.models.weights import stored_tensors, weight_of
from tadan.nn.layers import ByQuality, gains_of
from tadan.nn.model import TadanModel
from tadan.train.checkpoint import load_weights
from tadan.train.recipe import SHOWING
from tadan.train.twin import fill_entropy


@torch.no_grad()
def restore(model: Model) -> TadanModel:
    """Float network of a model file; computes the same up to the rounding of the stored weights.

    Raises:
        ModelMissing: the file holds the decoder alone.
        InvalidInput: the file was exported without the formats of its activations.
        Corrupt: a graph lacks a weight.
    """
    model.check_encoder()
    network = TadanModel(model.config)
    for part, graph in ((network.g_a, "g_a"), (network.entropy.h_a, "h_a"), (network.g_s, "g_s")):
        _fill_by_name(part, graph, model.graph(graph))
    fill_entropy(model, network)
    for vectors, name in (
        ([network.log_gain], "gain"),
        ([network.log_inverse_gain], "inverse_gain"),
        (gains_of(network.g_a), "g_a"),
        (gains_of(network.g_s), "g_s"),
    ):
        _set_gains(vectors, model.tensors[f"quality.log_{name}"])
    return network


@torch.no_grad()
def restore_lite(lite: LiteDecoder, teacher: TadanModel) -> TadanModel:
    """Float network with the g_s of a lite decoder and all else of ``teacher``, which may be newer than it.

    Raises:
        Corrupt: the graph lacks a weight.
    """
    network = TadanModel(lite.config)
    shared = {name: value for name, value in teacher.state_dict().items() if not name.startswith(SHOWING)}
    network.load_state_dict({**network.state_dict(), **shared})
    _fill_by_name(network.g_s, "g_s", lite.graph("g_s"))
    _set_gains([network.log_inverse_gain], lite.tensors["quality.log_inverse_gain"])
    _set_gains(gains_of(network.g_s), lite.tensors["quality.log_g_s"])
    return network


def _fill_by_name(part: nn.Module, graph: str, data: bytes) -> None:
    stored = stored_tensors(data)
    elsewhere = {id(by.values) for by in gains_of(part)}
    for name, value in part.named_parameters():
        if id(value) in elsewhere:
            continue
        weights = weight_of(stored, name)
        if value.dim() == 2 and weights.ndim == 4:  # a linear layer that runs as a convolution: (out, in, rows, cols)
            weights = weights.transpose(0, 2, 3, 1)
        if weights.size != value.numel():
            raise Corrupt(f"the graph {graph} of the model file has a {name} of another size; fetch or export it again")
        value.copy_(torch.from_numpy(np.ascontiguousarray(weights)).reshape(value.shape))


def initial_weights(name: str) -> dict[str, Tensor]:
    """Weights to start a training from: a run's ``ema.safetensors``, or a model by name or path."""
    path = Path(name)
    if path.name == "ema.safetensors":
        return load_weights(path)
    return restore(load_model(name)).state_dict()


def _set_gains(vectors: list[ByQuality], knots: NDArray[np.floating[Any]]) -> None:
    """``knots`` (knots, gains): logarithms, one vector after the other."""
    whole = torch.from_numpy(knots.astype(np.float32))
    for by, part in zip(vectors, whole.split([by.values.shape[1] for by in vectors], 1), strict=True):
        by.values.copy_(part)
