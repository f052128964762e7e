"""Model files and where they are found."""

from tadan.models.config import ModelConfig
from tadan.models.model import Model, save_model
from tadan.models.reading import read_model
from tadan.models.store import bundled_models, find_model, load_model, store_folder

__all__ = [
    "Model",
    "ModelConfig",
    "bundled_models",
    "find_model",
    "load_model",
    "read_model",
    "save_model",
    "store_folder",
]
