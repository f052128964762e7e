"""Builds the integer core, if there is a compiler; without one numpy does its work. All else is in pyproject.toml."""

from pathlib import Path

from setuptools import Extension, setup

SOURCES = sorted(map(str, Path("native").glob("tadan_*.c")))

setup(
    ext_modules=[
        Extension(
            "tadan._core",
            ["native/module.c", *SOURCES],
            depends=["native/tadan_core.h", "native/tadan_network.inc", "native/tadan_transforms.inc"],
            extra_compile_args=["-O3"],
            py_limited_api=True,
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
