"""CompressAI's zoo with the multistage models in it, so that its examples offer them by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tadan.errors import InvalidInput
from tadan.interop.compressai.loading import load
from tadan.interop.compressai.models import (
    Cheng2020AnchorMultistage,
    Cheng2020AttentionGMMMultistage,
    Cheng2020AttentionMultistage,
    Elic2022Multistage,
    JointMultistageHierarchicalPriors,
)

load()
from compressai import zoo as _zoo  # noqa: E402
from compressai.zoo.image import model_architectures as _architectures  # noqa: E402

_cheng: dict[int, tuple[int, ...]] = {quality: (128,) if quality < 4 else (192,) for quality in range(1, 7)}
_mbt: dict[int, tuple[int, ...]] = {quality: (192, 192) if quality < 5 else (192, 320) for quality in range(1, 9)}
_elic: dict[int, tuple[int, ...]] = {quality: (192, 320) for quality in range(1, 7)}
#: Class, and sizes by quality as CompressAI has them for the model without stages.
_ENTRIES: dict[str, tuple[Any, dict[int, tuple[int, ...]]]] = {
    "mbt2018-multistage": (JointMultistageHierarchicalPriors, _mbt),
    "cheng2020-anchor-multistage": (Cheng2020AnchorMultistage, _cheng),
    "cheng2020-attn-multistage": (Cheng2020AttentionMultistage, _cheng),
    "cheng2020-attn-gmm-multistage": (Cheng2020AttentionGMMMultistage, _cheng),
    "elic2022-multistage": (Elic2022Multistage, _elic),
}


#: Endings of names, and the schedules that they stand for: the paper's two, published order.
_SCHEDULES = {"": "4x4", "-2x2": "2x2"}


def _entry(name: str, ending: str) -> Callable[..., Any]:
    model, sizes = _ENTRIES[name]

    def build(quality: int, metric: str = "mse", pretrained: bool = False, progress: bool = True, **kwargs: Any) -> Any:
        if quality not in sizes:
            raise InvalidInput(f"{name} has the qualities {min(sizes)} to {max(sizes)}, not {quality}; choose one")
        if metric not in ("mse", "ms-ssim"):
            raise InvalidInput(f"there is no metric {metric!r}; choose mse or ms-ssim")
        if pretrained:
            raise InvalidInput(
                f"nobody has published weights of {name}; convert() a trained model of CompressAI and train its context"
            )
        return model(*sizes[quality], **{"schedule": _SCHEDULES[ending], **kwargs})

    build.__name__ = (name + ending).replace("-", "_")
    build.__doc__ = f"""{model.__doc__}

    Args:
        quality: 1 to {max(sizes)}, of which only the sizes depend.
        metric: that it is to be trained for.
        pretrained: must be False.
        progress: not read.
        kwargs: ``schedule`` ({_SCHEDULES[ending]}) and what the class takes.
    """
    return build


#: By the names they have in ``compressai.zoo.image_models``.
MODELS: dict[str, Callable[..., Any]] = {
    name + ending: _entry(name, ending) for name in _ENTRIES for ending in _SCHEDULES
}
_zoo.image_models.update(MODELS)
_zoo.models.update(MODELS)
for _name, _build in MODELS.items():
    setattr(_zoo, _build.__name__, _build)
    _architectures[_name] = _ENTRIES[_name.removesuffix("-2x2")][0]
