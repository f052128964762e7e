"""Finding models: bundled with the package, in the user's store, or by path."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from tadan.errors import ModelMissing
from tadan.models.model import Model, read_model

BUNDLED = Path(__file__).parent / "data"
SUFFIX = ".safetensors"
_loaded: dict[Path, Model] = {}
_lock = threading.Lock()


def store_folder() -> Path:
    """Folder of models the user added: ``$TADAN_MODELS``, else ``~/.local/share/tadan/models``."""
    return Path(os.environ.get("TADAN_MODELS") or Path.home() / ".local" / "share" / "tadan" / "models")


def bundled_models() -> tuple[str, ...]:
    """Names of the models inside the package; the first is the default."""
    return tuple(sorted(path.stem for path in BUNDLED.glob(f"*{SUFFIX}")))


def load_model(name: str | Path | None = None) -> Model:
    """Load a model by name, by path, or the default one; loaded models are kept and shared.

    Raises:
        ModelMissing: nothing has that name.
        NotOurFile, UnsupportedVersion, Corrupt, UnreadableInput: as :func:`tadan.models.model.read_model`.
    """
    if name is None:
        names = bundled_models()
        if not names:
            raise ModelMissing("this installation holds no bundled model; reinstall tadan or name a model file")
        return _load(BUNDLED / f"{names[0]}{SUFFIX}")
    path = Path(name)
    candidates = [BUNDLED / f"{name}{SUFFIX}", store_folder() / f"{name}{SUFFIX}"]
    if path.suffix == SUFFIX:
        candidates.insert(0, path)
    for candidate in candidates:
        if candidate.is_file():
            return _load(candidate)
    raise ModelMissing(
        f"there is no model {str(name)!r}; bundled: {', '.join(bundled_models()) or 'none'}. Name a {SUFFIX} file, "
        f"or put one into {store_folder()}"
    )


def find_model(model_id: bytes) -> Model:
    """Load the model that a stream names by its content id.

    Raises:
        ModelMissing: neither the package nor the user's store holds it.
    """
    with _lock:
        known = [model for model in _loaded.values() if model.id == model_id]
    if known:
        return known[0]
    for path in [*sorted(BUNDLED.glob(f"*{SUFFIX}")), *sorted(store_folder().glob(f"*{SUFFIX}"))]:
        model = _load(path)
        if model.id == model_id:
            return model
    raise ModelMissing(
        f"the stream was made with model {model_id.hex()}, which is not installed; put its {SUFFIX} file into "
        f"{store_folder()} or name it with --model, or encode the picture again with this version"
    )


def _load(path: Path) -> Model:
    path = path.resolve()
    with _lock:
        if path not in _loaded:
            _loaded[path] = read_model(path)
        return _loaded[path]
