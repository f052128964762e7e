"""Measuring codecs: pictures in; real file bytes, what the eye sees, seconds and BD-rate out.

Every codec, ours included, is a :class:`PictureCodec`; nothing here knows more about Tadan than about JPEG.

>>> from tadan_lab.measure import available_rivals, run_curve
>>> run_curve(available_rivals()["jpeg"], "kodak/", [25, 50, 75, 90]).results["psnr-rgb"]

Importing this package loads numpy and Pillow only; plots, BD-rate, SSIMULACRA2 and the demo's photograph need the
extra ``tadan[lab]`` and say so when it is missing.
"""

from tadan_lab.measure.bdrate import BDRate, bd_rate
from tadan_lab.measure.crops import Match, match_size
from tadan_lab.measure.curve import Curve, load_curve, run_curve, save_curve
from tadan_lab.measure.metrics import butteraugli, color_video_vdp, ms_ssim, ms_ssim_scales, psnr, ssim, ssimulacra2
from tadan_lab.measure.ours import TadanCodec
from tadan_lab.measure.rivals import PictureCodec, available_rivals, missing_rivals

__all__ = [
    "BDRate",
    "Curve",
    "Match",
    "PictureCodec",
    "TadanCodec",
    "available_rivals",
    "bd_rate",
    "butteraugli",
    "color_video_vdp",
    "load_curve",
    "match_size",
    "missing_rivals",
    "ms_ssim",
    "ms_ssim_scales",
    "psnr",
    "run_curve",
    "save_curve",
    "ssim",
    "ssimulacra2",
]
