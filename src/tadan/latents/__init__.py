"""Latents of one picture or tile: predicted, priced, coded and decoded stage by stage."""
