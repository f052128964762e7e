"""What the designs of a model do differently on the way to a model file and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tadan.models import AnyConfig, Model, ModelConfig, RendererConfig
from tadan.nn import gradient_graph, graphs, renderer_gradient, renderer_graphs
from tadan.nn.model import TadanModel
from tadan.nn.renderer import RendererSynthesis, WideAnalysis
from tadan.nn.shared_weights import share_weights
from tadan.nn.transforms import Analysis, Synthesis
from tadan.train.export_first import calibrate_first, first_tensors
from tadan.train.export_groups import calibrate_groups, group_tensors
from tadan.train.restore_first import fill_first
from tadan.train.restore_renderer import fill_renderer

if TYPE_CHECKING:
    from tadan.train.export import WeightBits

Maxima = Mapping[str, NDArray[np.float64]]
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Conversion:
    """Between the float model of one design and its model file.

    Attributes:
        calibrate: largest activation of every channel that the integer twin stores, on pictures (B, H, W, 3) in 0..1.
        integers: from these the tensors ``exact.*`` and ``format.*``.
        graphs: parts of the ONNX graphs by the names of their tensors, see :func:`tadan.models.designs.graph_parts`.
        fill: sets the transforms and the entropy model of a float model from a file, the gains aside.
    """

    calibrate: Callable[[TadanModel, Sequence[Tensor]], dict[str, NDArray[np.float64]]]
    integers: Callable[[TadanModel, Maxima, WeightBits], Arrays]
    graphs: Callable[[TadanModel], dict[str, bytes]]
    fill: Callable[[Model, TadanModel], None]


def _first_graphs(model: TadanModel) -> dict[str, bytes]:
    g_a, g_s = cast(Analysis, model.g_a), cast(Synthesis, model.g_s)
    return {
        "graph.g_a": graphs.analysis_graph(g_a),
        "graph.h_a": graphs.hyper_analysis_graph(model.entropy.h_a),
        "graph.g_s": graphs.synthesis_graph(g_s),
        "graph.g_s_gradient": gradient_graph.gradient_graph(g_s),
    }


def _renderer_graphs(model: TadanModel) -> dict[str, bytes]:
    g_a, g_s = cast(WideAnalysis, model.g_a), cast(RendererSynthesis, model.g_s)
    both = {
        "graph.g_s": renderer_graphs.synthesis_graph(g_s),
        "graph.g_s_gradient": renderer_gradient.gradient_graph(g_s),
    }
    skeletons, weights = share_weights(both)
    return {
        "graph.g_a": renderer_graphs.analysis_graph(g_a),
        "graph.h_a": graphs.hyper_analysis_graph(model.entropy.h_a),
        **skeletons,
        "weights.g_s": weights,
    }


_BY_DESIGN = {
    ModelConfig.design: Conversion(calibrate_first, first_tensors, _first_graphs, fill_first),
    RendererConfig.design: Conversion(calibrate_groups, group_tensors, _renderer_graphs, fill_renderer),
}


def conversion_of(config: AnyConfig) -> Conversion:
    """Of the design that a configuration belongs to."""
    return _BY_DESIGN[config.design]
