"""Step sizes of the encoder's search, which training repeats on its own latents (:mod:`tadan.codec.effort`)."""

from __future__ import annotations

CURVATURE_FLOOR = 5.0  # bits per squared step; below, g_s is about to ignore the channel and its curvature says little
FIRST_SIZE = 0.11  # of a Newton step of the diagonal model; at 0.2 the first trial of every other picture overshoots
RATE_FORCE = 1.2  # above 1, as a latent that costs less also makes its neighbours cheaper
FORCE_LIMIT = 12.0  # bits per step; a stray gradient must not throw a latent across several symbols
