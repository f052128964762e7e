"""Golden streams and the checks that prove a decoder conforms: docs/conformance.md. Above ``codec``, below ``cli``."""

from tadan.conformance.golden import GoldenSet, load_sets
from tadan.conformance.run import Outcome, check_dumps, check_sets

__all__ = ["GoldenSet", "Outcome", "check_dumps", "check_sets", "load_sets"]
