"""The designs of a model that this version knows: their configurations, and the integer networks of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from tadan.errors import Corrupt
from tadan.exact.network import EntropyTwin, TwinSizes
from tadan.models.config import ModelConfig
from tadan.models.renderer_config import RendererConfig

if TYPE_CHECKING:
    from tadan.exact.group_network import GroupTwin

Arrays = Mapping[str, NDArray[Any]]
AnyConfig = ModelConfig | RendererConfig

CONFIGS: dict[str, type[ModelConfig] | type[RendererConfig]] = {
    one.design: one for one in (ModelConfig, RendererConfig)
}


# Protobuf messages are joined by concatenation: a graph without weights, then the weights that two graphs share.
_SHARED_WEIGHTS = {RendererConfig.design: {"g_s": "weights.g_s", "g_s_gradient": "weights.g_s"}}


def config_from_dict(values: Mapping[str, Any]) -> AnyConfig:
    """Configuration of the design that ``values["design"]`` names; without that key of the first design.

    Raises:
        Corrupt: this version does not know the design, or the values do not fit it.
    """
    if not isinstance(values, Mapping):
        raise Corrupt(f"a model configuration is a JSON object, not {type(values).__name__}; fetch the model again")
    design = values.get("design", ModelConfig.design)
    if not isinstance(design, str) or design not in CONFIGS:
        raise Corrupt(f"model of the design {design!r}, but this version knows {', '.join(CONFIGS)}; upgrade tadan")
    return CONFIGS[design].from_dict({name: value for name, value in values.items() if name != "design"})


def graph_parts(config: AnyConfig, name: str) -> tuple[str, ...]:
    """Names of the tensors whose bytes, one after the other, are the ONNX graph ``name``."""
    weights = _SHARED_WEIGHTS.get(config.design, {}).get(name)
    return (f"graph.{name}",) if weights is None else (f"graph.{name}", weights)


def twin_of(config: AnyConfig, arrays: Arrays) -> EntropyTwin | GroupTwin:
    """Integer networks of a model.

    Args:
        config: its sizes.
        arrays: tensors of the model file whose names begin with ``exact.``, that prefix removed.

    Raises:
        Corrupt: a tensor is missing or does not fit, or a layer could overflow.
    """
    return _TWINS[config.design](config, arrays)


def _first_twin(config: ModelConfig, arrays: Arrays) -> EntropyTwin:
    sizes = TwinSizes(
        config.latent, config.z_channels, config.groups, config.embed, config.radius, config.hidden, config.bases
    )
    return EntropyTwin(arrays, sizes)


def _group_twin(config: RendererConfig, arrays: Arrays) -> GroupTwin:
    from tadan.exact.group_network import GroupSizes, GroupTwin

    return GroupTwin(arrays, GroupSizes.of(config))


_TWINS: dict[str, Callable[[Any, Arrays], EntropyTwin | GroupTwin]] = {
    ModelConfig.design: _first_twin,
    RendererConfig.design: _group_twin,
}
