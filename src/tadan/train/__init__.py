"""Training: data, loop, export to a model file. Needs the extra ``train``."""
