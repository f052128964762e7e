"""Multistage contexts for CompressAI: a latent codec under any schedule, conversion of its models, models of its zoo.

Importing this package registers :class:`MultistageLatentCodec` and the models with CompressAI. Needs the extra
``compressai``; see docs/compressai.md.
"""

from tadan.interop.compressai.codec import MultistageLatentCodec
from tadan.interop.compressai.context import MultistageContext
from tadan.interop.compressai.convert import convert, from_checkerboard, from_raster
from tadan.interop.compressai.mixture import GaussianMixtureLatentCodec
from tadan.interop.compressai.models import (
    Cheng2020AnchorMultistage,
    Cheng2020AttentionGMMMultistage,
    Cheng2020AttentionMultistage,
    Elic2022Multistage,
    JointMultistageHierarchicalPriors,
    MultistagePriors,
)
from tadan.interop.compressai.zoo import MODELS

__all__ = [
    "Cheng2020AnchorMultistage",
    "Cheng2020AttentionGMMMultistage",
    "Cheng2020AttentionMultistage",
    "Elic2022Multistage",
    "GaussianMixtureLatentCodec",
    "JointMultistageHierarchicalPriors",
    "MODELS",
    "MultistageContext",
    "MultistageLatentCodec",
    "MultistagePriors",
    "convert",
    "from_checkerboard",
    "from_raster",
]
