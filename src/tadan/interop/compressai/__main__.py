"""``python -m tadan.interop.compressai SCRIPT ..``: run a script with the multistage models in CompressAI's zoo.

CompressAI's own ``examples/train.py`` and ``examples/codec.py`` run unchanged::

    python -m tadan.interop.compressai examples/train.py -m cheng2020-attn-multistage -d pictures/
"""

from __future__ import annotations

import runpy
import sys

import tadan.interop.compressai  # noqa: F401


def main() -> None:
    """Run the script that the first argument names, or module after ``-m``, with the arguments after it."""
    module = sys.argv[1:2] == ["-m"]
    del sys.argv[: 2 if module else 1]
    if not sys.argv:
        sys.exit("usage: python -m tadan.interop.compressai SCRIPT|-m MODULE [ARGUMENTS]")
    if module:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
