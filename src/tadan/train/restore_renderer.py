"""From a model file of the design ``renderer`` back to its float networks, by the names of the stored tensors."""

from __future__ import annotations

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from tadan.errors import Corrupt
from tadan.models import Model
from tadan.nn.by_quality import gains_of
from tadan.nn.eight_bits import from_eight_bits
from tadan.nn.model import TadanModel
from tadan.train.restore_groups import fill_groups


@torch.no_grad()
def fill_renderer(model: Model, network: TadanModel) -> None:
    """Set the transforms and the entropy model of ``network``, its gains aside.

    Raises:
        InvalidInput: the file was exported without the formats of its activations.
        Corrupt: a graph lacks a weight.
    """
    for part, graph in ((network.g_a, "g_a"), (network.entropy.h_a, "h_a"), (network.g_s, "g_s")):
        _fill_by_name(part, graph, model.graph(graph))
    fill_groups(model, network)


def _fill_by_name(part: nn.Module, graph: str, data: bytes) -> None:
    stored = {one.name: one for one in onnx.load_from_string(data).graph.initializer}
    elsewhere = {id(by.values) for by in gains_of(part)}
    for name, value in part.named_parameters():
        if id(value) in elsewhere:
            continue
        if f"{name}_half" in stored:
            weights = numpy_helper.to_array(stored[f"{name}_half"]).astype(np.float32)
        elif {f"{name}_int8", f"{name}_scale_half"} <= set(stored):
            integers, scales = (numpy_helper.to_array(stored[f"{name}_{kind}"]) for kind in ("int8", "scale_half"))
            weights = from_eight_bits(integers, scales)
        else:
            raise Corrupt(f"the graph {graph} of the model file lacks {name}; fetch or export it again")
        if value.dim() == 2 and weights.ndim == 4:  # a linear layer that runs as a convolution: (out, in, rows, cols)
            weights = weights.transpose(0, 2, 3, 1)
        if weights.size != value.numel():
            raise Corrupt(f"the graph {graph} of the model file has a {name} of another size; fetch or export it again")
        value.copy_(torch.from_numpy(np.ascontiguousarray(weights)).reshape(value.shape))
