"""Import of CompressAI, with errors that say how it is installed.

CompressAI 1.2.8 names ``numpy<2`` as its requirement but works with numpy 2, which Tadan needs. So pip refuses the two
together unless CompressAI is installed with ``--no-deps``; the extra ``compressai`` brings what it imports.
"""

from __future__ import annotations

import importlib
import re
import sys
from typing import Any

import torch

from tadan.errors import MissingPackage

INSTALL = 'pip install "tadan[compressai]" && pip install --no-deps "compressai>=1.2.8"'
_MISSING_OPERATOR = re.compile(r"operator torchvision::(\w+) does not exist")
_kept: list[Any] = []  # a library of operators lives as long as its object


def load() -> Any:
    """Return the package ``compressai``.

    CompressAI takes names of transforms from torchvision, no operators. Beside torch for CPUs only, the torchvision of
    PyPI (made for CUDA) cannot load its operators and fails on import for want of their signatures; these are declared
    here, without code, and the import is tried again.

    Raises:
        MissingPackage: CompressAI or something that it imports is not installed.
    """
    for _ in range(8):
        try:
            return importlib.import_module("compressai")
        except ImportError as error:
            raise MissingPackage(f"CompressAI cannot be imported ({error}); run: {INSTALL}") from error
        except RuntimeError as error:
            missing = _MISSING_OPERATOR.search(str(error))
            if missing is None:
                raise
            _declare(missing[1])
    raise MissingPackage(
        f"torchvision does not fit torch {torch.__version__}; install the two together, then: {INSTALL}"
    )


def _declare(operator: str) -> None:
    library = torch.library.Library("torchvision", "FRAGMENT")
    library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _kept.append(library)
    for name in [name for name in sys.modules if name.split(".")[0] in ("torchvision", "compressai")]:
        del sys.modules[name]
