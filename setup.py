"""Builds the integer core, if there is a compiler; without one numpy does its work. All else is in pyproject.toml."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "tadan._core",
            ["native/tadan_core.c", "native/tadan_team.c", "native/module.c"],
            depends=["native/tadan_core.h", "native/tadan_network.inc", "native/tadan_transforms.inc"],
            extra_compile_args=["-O3"],
            py_limited_api=True,
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
