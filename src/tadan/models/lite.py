"""Lite decoders: a smaller g_s for the latents of a model, so that the same file is decoded in less time.

A lite decoder is a file beside the model. It states the id of the model whose latents it shows, and nothing of it goes
into streams: every file can be decoded with either. Pixels differ, latents do not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tadan.errors import Corrupt, ModelMissing, TadanError
from tadan.fork import ForkLock
from tadan.models.config import ModelConfig
from tadan.models.model import FORMAT_VERSION, Model, digest, gains_at
from tadan.models.reading import are_gains, checked_header, opened, read_parts
from tadan.models.store import BUNDLED, SUFFIX, store_folder

FORMAT = "tadan-lite"
FOLDER = "lite"  # below the folder of models
#: Sizes that a lite decoder may choose for itself; all others are those of the model.
OWN_SIZES = frozenset({"body_width", "body_blocks", "body_expansion", "kernel", "grid", "grid_hidden", "grid_blocks"})
_TENSORS = frozenset({"graph.g_s", "quality.log_inverse_gain", "quality.log_g_s"})
_SHOWING = frozenset({*_TENSORS, "weights.g_s"})
_loaded: dict[Path, LiteDecoder] = {}
_lock = ForkLock()


class Shows(Protocol):
    """What a g_s is made from: a model, or a lite decoder."""

    @property
    def config(self) -> ModelConfig:
        """Sizes."""

    def graph(self, name: str) -> bytes:
        """An ONNX graph by name."""

    def inverse_gain(self, quality: int) -> NDArray[np.float32]:
        """Factor of each latent before g_s, float32 (latent,)."""

    def block_gains(self, graph: str, quality: int) -> NDArray[np.float32]:
        """Input ``gains`` of a graph at a quality, float32 (1, n, 1, 1)."""


@dataclass(frozen=True)
class LiteDecoder:
    """A smaller g_s; immutable.

    Attributes:
        config: the model's, with sizes of its own where :data:`OWN_SIZES` allows.
        tensors: its graph and gains, read-only.
        metadata: name, ``of``: id (hex) of the model whose latents it shows, training facts.
    """

    config: ModelConfig
    tensors: Mapping[str, NDArray[Any]]
    metadata: Mapping[str, str]

    @property
    def of(self) -> str:
        """Id of its model, in hexadecimal."""
        return self.metadata["of"]

    @cached_property
    def id_hex(self) -> str:
        """Identity of what it computes, in hexadecimal."""
        return digest(self.config, self.tensors).hex()

    def graph(self, name: str) -> bytes:
        """Its ONNX graph, for ``g_s`` alone."""
        return self.tensors[f"graph.{name}"].tobytes()

    def inverse_gain(self, quality: int) -> NDArray[np.float32]:
        """Factor of each latent before g_s, float32 (latent,)."""
        return gains_at(self.tensors["quality.log_inverse_gain"], quality)

    def block_gains(self, graph: str, quality: int) -> NDArray[np.float32]:
        """Input ``gains`` of its graph at a quality, float32 (1, n, 1, 1)."""
        return gains_at(self.tensors[f"quality.log_{graph}"], quality)[None, :, None, None]

    def with_latents_of(self, model: Model) -> Model:
        """A model without an encoder that decodes the files of ``model`` and shows them by this g_s.

        It has an id of its own, and states in its metadata whose files it ``decodes``. Browsers load such files, which
        are smaller than those of the whole decoder.

        Raises:
            ModelMissing, Corrupt: as :func:`check_lite`.
        """
        check_lite(self, model)
        kept = {name: value for name, value in model.decoder_only().tensors.items() if name not in _SHOWING}
        tensors = {**kept, **self.tensors, "weights.g_s": np.zeros(0, np.uint8)}  # all of the graph is in the other
        facts = {"name": f"{model.name}-lite", "decodes": model.id_hex, "tune": model.tune}
        return Model(self.config, tensors, facts)

    def to_bytes(self) -> bytes:
        """The file (safetensors)."""
        from safetensors.numpy import save

        header = {
            "format": FORMAT,
            "format_version": str(FORMAT_VERSION),
            "config": json.dumps(self.config.to_dict()),
            "id": self.id_hex,
            **self.metadata,
        }
        return bytes(save({name: np.ascontiguousarray(value) for name, value in self.tensors.items()}, header))

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors."""
        return sum(value.nbytes for value in self.tensors.values())


def read_lite(path: Path) -> LiteDecoder:
    """Read and check a lite decoder.

    Raises:
        UnreadableInput: the file cannot be read.
        NotOurFile: it is no safetensors file, or no lite decoder.
        UnsupportedVersion: it was written for a newer tadan.
        Corrupt: its content does not match its id, or parts are missing.
    """
    header, config, tensors = read_parts(path, FORMAT)
    stated = header.pop("id", "")
    lite = LiteDecoder(config, tensors, header)
    if tensors.keys() != _TENSORS or not _fits(lite) or "of" not in header or stated != lite.id_hex:
        raise Corrupt(f"the lite decoder {path} lacks parts or does not match its own id; fetch or train it again")
    return lite


def _fits(lite: LiteDecoder) -> bool:
    config, tensors = lite.config, lite.tensors
    lengths = {"inverse_gain": config.latent, "g_s": config.gain_lengths["g_s"]}
    gains = (are_gains(tensors[f"quality.log_{name}"], (config.knots, length)) for name, length in lengths.items())
    return all(gains) and tensors["graph.g_s"].dtype == np.uint8


def lite_folders() -> tuple[Path, Path]:
    """Where lite decoders are: in the package, and in the user's store."""
    return BUNDLED / FOLDER, store_folder() / FOLDER


def find_lite(model: Model, named: str = "lite") -> LiteDecoder:
    """The lite decoder of a model, from the package or the user's store.

    Args:
        model: whose latents are shown.
        named: "lite", or a file.

    Raises:
        ModelMissing: there is none, or the file is of another model.
        Corrupt, UnsupportedVersion: the file that states the model's id is damaged or for a newer version.
        UnreadableInput, NotOurFile: the file named is no lite decoder.
    """
    if named.endswith(SUFFIX):
        lite = read_lite(Path(named))
        check_lite(lite, model)
        return lite
    for path in (path for folder in lite_folders() for path in sorted(folder.glob(f"*{SUFFIX}"))):
        if path.is_file():
            found = _load(path.resolve(), model)
            if found is not None:
                return found
    raise ModelMissing(
        f"there is no lite decoder for model {model.name} ({model.id_hex}); make one with: tadan model lite PICTURES "
        f"--model {model.name}, and put it into {store_folder() / FOLDER}; or decode without --decoder lite"
    )


def check_lite(lite: LiteDecoder, model: Model) -> None:
    """Make sure that a lite decoder shows the latents of a model.

    Raises:
        Corrupt: it states that it does, but sizes differ that must not.
        ModelMissing: it is of another model.
    """
    if lite.of != model.id_hex:
        raise ModelMissing(
            f"the lite decoder is of model {lite.of}, not of {model.name} ({model.id_hex}); take its own"
        )
    own, given = lite.config.to_dict(), model.config.to_dict()
    if any(own[name] != given[name] for name in own.keys() - OWN_SIZES) or lite.config.reach > model.config.reach:
        raise Corrupt("the lite decoder has sizes that its model does not have; fetch or train it again")


def _load(path: Path, model: Model) -> LiteDecoder | None:
    """The decoder of a file if it is of this model; files that are no lite decoders are passed over."""
    with _lock:
        if path not in _loaded:
            try:
                stated = opened(path, lambda file: checked_header(path, dict(file.metadata() or {}), FORMAT)).get(
                    "of", ""
                )
            except (TadanError, MemoryError):
                return None
            if stated != model.id_hex:
                return None
            _loaded[path] = read_lite(path)
        lite = _loaded[path]
    if lite.of != model.id_hex:
        return None
    check_lite(lite, model)
    return lite
