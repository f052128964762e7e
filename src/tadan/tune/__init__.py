"""Fitting the codec to the user's pictures without training: which decoding order costs least. Needs no torch."""

from tadan.tune.costs import Samples, TwinCosts
from tadan.tune.report import Candidate, found_orders, listed_orders, tiling

__all__ = ["Candidate", "Samples", "TwinCosts", "found_orders", "listed_orders", "tiling"]
