"""Training: recipe, data, loop, fine-tuning, export to a model file (docs/training.md). Needs the extra ``train``."""
