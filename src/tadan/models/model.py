"""Model files: integer weights, tables, ONNX graphs and metadata in one safetensors file, named by its content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tadan.entropy import N_SCALES, ScaleTables
from tadan.errors import Corrupt, NotOurFile, TadanError, UnreadableInput, UnsupportedVersion
from tadan.exact.network import EntropyTwin, TwinSizes
from tadan.models.config import QUALITY_MAX, TUNES, ModelConfig

FORMAT = "tadan-model"
FORMAT_VERSION = 1
DTYPES = frozenset({"|u1", "|i1", "<i2", "<i4", "<i8", "<u4", "<f2", "<f4"})  # of tensors (docs/SPEC.md, section 12)
ID_BYTES = 8
#: Tensors whose bytes, one after the other, are each ONNX graph. Protobuf messages are joined by concatenation: a graph
#: without weights, then the weights that two graphs share.
GRAPHS = {
    "g_a": ("graph.g_a",),
    "h_a": ("graph.h_a",),
    "g_s": ("graph.g_s", "weights.g_s"),
    "g_s_gradient": ("graph.g_s_gradient", "weights.g_s"),
}


@dataclass(frozen=True)
class Model:
    """Everything that encoding and decoding need; immutable.

    Attributes:
        config: sizes.
        tensors: all tensors of the file, read-only.
        metadata: name, licence, training facts and measurements (strings); not part of the identity.
    """

    config: ModelConfig
    tensors: Mapping[str, NDArray[Any]]
    metadata: Mapping[str, str]

    @property
    def name(self) -> str:
        """Human-readable name; streams use :attr:`id`."""
        return self.metadata.get("name", "unnamed")

    @property
    def tune(self) -> str:
        """What it was trained for, "eye" or "psnr"; encoders search for the same unless told otherwise."""
        return self.metadata.get("tune", "psnr")

    @cached_property
    def id(self) -> bytes:
        """First 8 bytes of the SHA-256 over configuration, and name, type, shape and bytes of every tensor."""
        return content_id(self.config, self.tensors)

    @property
    def id_hex(self) -> str:
        """:attr:`id` in hexadecimal."""
        return self.id.hex()

    @cached_property
    def tables(self) -> ScaleTables:
        """Integer frequency tables of the scale indices."""
        tables = ScaleTables.from_arrays(self._below("tables."))
        if tables.n_scales != N_SCALES:
            raise Corrupt(f"the model file holds {tables.n_scales} tables, not {N_SCALES}; fetch or export it again")
        return tables

    @cached_property
    def twin(self) -> EntropyTwin:
        """Integer networks."""
        return EntropyTwin(self._below("exact."), TwinSizes.of(self.config))

    def graph(self, name: str) -> bytes:
        """ONNX graph ``g_a``, ``h_a``, ``g_s`` or ``g_s_gradient``."""
        return b"".join(self.tensors[part].tobytes() for part in GRAPHS[name])

    def gain(self, quality: int) -> NDArray[np.float32]:
        """Factor of each latent before rounding, float32 (latent,)."""
        row: NDArray[np.float32] = self.tensors["quality.gain"][quality - 1]
        return row

    def inverse_gain(self, quality: int) -> NDArray[np.float32]:
        """Factor of each latent before g_s, float32 (latent,)."""
        row: NDArray[np.float32] = self.tensors["quality.inverse_gain"][quality - 1]
        return row

    def block_gains(self, graph: str, quality: int) -> NDArray[np.float32]:
        """Input ``gains`` of graph ``g_a`` or ``g_s`` at a quality, float32 (1, n, 1, 1)."""
        row: NDArray[np.float32] = self.tensors[f"quality.{graph}"][quality - 1].astype(np.float32)
        return row[None, :, None, None]

    @property
    def curvature(self) -> NDArray[np.float32]:
        """Squared levels that a unit of each latent before g_s is worth, float32 (latent,); encoders search with it."""
        values: NDArray[np.float32] = self.tensors["search.curvature"]
        return values

    def describe(self) -> dict[str, Any]:
        """Facts for people and for ``tadan info --model``."""
        size = sum(tensor.nbytes for tensor in self.tensors.values())
        facts = {key: value for key, value in self.metadata.items() if key != "proofs"}
        proofs = self.twin.proofs()
        largest = max(proof.total for proof in proofs.values())
        exact = f"{len(proofs)} layers proven, largest sum below 2^{largest.bit_length()} of 2^53"
        return {"id": self.id_hex, "bytes": size, "config": self.config.to_dict(), "integer networks": exact, **facts}

    def _below(self, prefix: str) -> dict[str, NDArray[Any]]:
        return {name[len(prefix) :]: value for name, value in self.tensors.items() if name.startswith(prefix)}


def content_id(config: ModelConfig, tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """Identity of a model: what it computes, not what it is called."""
    digest = hashlib.sha256(json.dumps(config.to_dict(), sort_keys=True).encode())
    for name in sorted(tensors):
        value = tensors[name]
        little = np.ascontiguousarray(value.astype(value.dtype.newbyteorder("<"), copy=False))
        digest.update(f"\0{name}\0{little.dtype.str}\0{little.shape}\0".encode())
        digest.update(little.data)
    return digest.digest()[:ID_BYTES]


def save_model(config: ModelConfig, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> bytes:
    """Serialise a model file (safetensors)."""
    from safetensors.numpy import save

    header = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "config": json.dumps(config.to_dict()),
        "id": content_id(config, tensors).hex(),
        **metadata,
    }
    return bytes(save({name: np.ascontiguousarray(value) for name, value in tensors.items()}, header))


def read_model(path: Path) -> Model:
    """Read and check a model file.

    Raises:
        UnreadableInput: the file cannot be read.
        NotOurFile: it is no safetensors file, or none of ours.
        UnsupportedVersion: it was written for a newer tadan.
        Corrupt: its content does not match its id, or parts are missing.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            header = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except OSError as error:
        raise UnreadableInput(f"cannot read model file {path}: {error.strerror or error}; check its name") from error
    except (SafetensorError, TypeError, AttributeError) as error:  # the last two: types that numpy does not have
        raise NotOurFile(
            f"{path} is not a tadan model file ({error}); name a .safetensors file made by tadan"
        ) from error
    if any(value.dtype.str not in DTYPES for value in tensors.values()):
        raise NotOurFile(
            f"{path} holds tensors of types that no tadan model has; name a .safetensors file made by tadan"
        )
    if header.pop("format", None) != FORMAT:
        raise NotOurFile(f"{path} is a safetensors file but not a tadan model; export one with: tadan export")
    if header.pop("format_version", "") != str(FORMAT_VERSION):
        raise UnsupportedVersion(f"model file {path} needs a newer tadan; run: pip install --upgrade tadan")
    try:
        config = ModelConfig.from_dict(json.loads(header.pop("config", "{}")))
    except TadanError:
        raise
    except (ValueError, TypeError, RecursionError) as error:
        raise Corrupt(f"the configuration in model file {path} cannot be read ({error}); fetch it again") from error
    stated = header.pop("id", "")
    if header.get("tune", "psnr") not in TUNES:
        raise Corrupt(f"model file {path} is made for {header['tune']!r}, which no tadan model is; fetch it again")
    for value in tensors.values():
        value.setflags(write=False)
    model = Model(config, tensors, header)
    if model.id_hex != stated:
        raise Corrupt(f"model file {path} does not match its own id {stated}; fetch or export it again")
    widths = {"gain": config.latent, "inverse_gain": config.latent, **config.gain_lengths}
    gains = {name: tensors.get(f"quality.{name}") for name in widths}
    whole = all(gain is not None and gain.shape == (QUALITY_MAX, widths[name]) for name, gain in gains.items())
    curvature = tensors.get("search.curvature")
    whole &= curvature is not None and curvature.shape == (config.latent,)
    if not whole or any(part not in tensors for parts in GRAPHS.values() for part in parts):
        raise Corrupt(f"model file {path} lacks parts; fetch or export it again")
    return model
