"""Model files and where they are found."""

from tadan.models.config import RendererConfig
from tadan.models.model import Model, read_model, save_model
from tadan.models.store import bundled_models, find_model, load_model, store_folder

__all__ = [
    "Model",
    "RendererConfig",
    "bundled_models",
    "find_model",
    "load_model",
    "read_model",
    "save_model",
    "store_folder",
]
