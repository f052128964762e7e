"""Finding models: bundled with the package, in the user's store, or by path."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tadan.errors import ModelMissing, TadanError
from tadan.files import user_folder
from tadan.fork import ForkLock
from tadan.models.model import Model
from tadan.models.reading import read_model, stated_id

BUNDLED = Path(__file__).parent / "data"
SUFFIX = ".safetensors"
DEFAULT_MODEL = "photo"
_loaded: dict[Path, Model] = {}
_lock = ForkLock()


def store_folder() -> Path:
    """Folder of models the user added: ``$TADAN_MODELS``, else where the system keeps data of users."""
    return user_folder("models")


def bundled_models() -> tuple[str, ...]:
    """Names of the models inside the package, in alphabetical order."""
    return tuple(sorted(path.stem for path in BUNDLED.glob(f"*{SUFFIX}")))


def load_model(name: str | Path | None = None) -> Model:
    """Load a model by name, by path, or :data:`DEFAULT_MODEL`; loaded models are kept and shared.

    Raises:
        ModelMissing: nothing has that name.
        NotOurFile, UnsupportedVersion, Corrupt, UnreadableInput: as :func:`tadan.models.reading.read_model`.
    """
    if name is None:
        path = BUNDLED / f"{DEFAULT_MODEL}{SUFFIX}"
        if not path.is_file():
            raise ModelMissing("this installation holds no bundled model; reinstall tadan or name a model file")
        return _load(path)
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

    Only the headers of the files are read until one states the id. Files that are no models of this version are passed
    over, and named if nothing is found.

    Raises:
        ModelMissing: neither the package nor the user's store holds it.
        Corrupt, UnsupportedVersion: the file that states the id is damaged or for a newer version.
    """
    with _lock:
        known = [model for model in _loaded.values() if model.id == model_id]
    if known:
        return known[0]
    foreign = []
    for path in [*sorted(BUNDLED.glob(f"*{SUFFIX}")), *sorted(store_folder().glob(f"*{SUFFIX}"))]:
        if not path.is_file():  # a pipe would never end
            foreign.append(path.name)
            continue
        try:
            stated = stated_id(path)
        except (TadanError, MemoryError):  # a file larger than the memory is none either
            foreign.append(path.name)
            continue
        if stated == model_id.hex():
            return _load(path)
    passed = f" (passed over, as they are no models of this version: {', '.join(foreign)})" if foreign else ""
    raise ModelMissing(
        f"the stream was made with model {model_id.hex()}, which is not installed{passed}; put its {SUFFIX} file into "
        f"{store_folder()} or name it, or encode the picture again with this version"
    )


def installed_models() -> Iterator[tuple[str, Path, Model | TadanError]]:
    """Name, file and content of every model of the package and of the user's store, or why a file is none."""
    for path in [*sorted(BUNDLED.glob(f"*{SUFFIX}")), *sorted(store_folder().glob(f"*{SUFFIX}"))]:
        if path.is_file():
            try:
                yield path.stem, path, _load(path)
            except TadanError as error:
                yield path.stem, path, error


def _load(path: Path) -> Model:
    path = path.resolve()
    with _lock:
        if path not in _loaded:
            _loaded[path] = read_model(path)
        return _loaded[path]
