"""Model files: integer weights, tables, ONNX graphs and metadata in one safetensors file, named by its content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tadan.entropy import N_SCALES, ScaleTables
from tadan.errors import Corrupt, ModelMissing
from tadan.exact.network import EntropyTwin, TwinSizes
from tadan.exact.packing import SPAN, between, exact_names, unpack_exact
from tadan.models.config import ModelConfig

FORMAT = "tadan-model"
FORMAT_VERSION = 1
ID_BYTES = 16
#: Tensors that only training tools read: fraction bits of activations, to get float weights back.
FORMATS = frozenset(f"format.{name}" for name in ("conv1", "conv2", "embed", "hidden", "late", "pre", "up1", "up2"))
MOST_LOG_GAIN = 64  # of a factor of a latent or of a block; beyond, products leave the range of float32
#: Tensors whose bytes, one after the other, are each ONNX graph. Protobuf messages are joined by concatenation: a graph
#: without weights, then the weights that two graphs share.
GRAPHS = {
    "g_a": ("graph.g_a",),
    "h_a": ("graph.h_a",),
    "g_s": ("graph.g_s", "weights.g_s"),
    "g_s_gradient": ("graph.g_s_gradient", "weights.g_s"),
}
#: Tensors that only encoders read, present or missing together.
ENCODER_TENSORS = frozenset(
    {"graph.g_a", "graph.h_a", "graph.g_s_gradient", "quality.log_g_a", "quality.log_gain", "search.curvature"}
)


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

    def __reduce__(self) -> tuple[Any, ...]:
        """Without what follows from the tensors: tables and networks are made anew where it arrives."""
        return _arrived, (self.config, dict(self.tensors), dict(self.metadata))

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
        """Identity of what decodes, :func:`content_id`; streams name it."""
        return content_id(self.config, self.tensors)

    @property
    def id_hex(self) -> str:
        """:attr:`id` in hexadecimal."""
        return self.id.hex()

    @cached_property
    def tables(self) -> ScaleTables:
        """Integer frequency tables of the scale indices."""
        tables = ScaleTables.from_arrays(below(self.tensors, "tables."))
        if tables.n_scales != N_SCALES:
            raise Corrupt(f"the model file holds {tables.n_scales} tables, not {N_SCALES}; fetch or export it again")
        return tables

    @cached_property
    def twin(self) -> EntropyTwin:
        """Integer networks."""
        return EntropyTwin(self.exact_arrays(), TwinSizes.of(self.config))

    def exact_arrays(self) -> Mapping[str, NDArray[Any]]:
        """Weights, biases, shifts, tables and rows of the integer networks, unpacked; names without ``exact.``."""
        return unpack_exact(below(self.tensors, "exact."), self.config)

    @property
    def has_encoder(self) -> bool:
        """Whether the file holds what encoding needs, not only what decoding needs."""
        return "graph.g_a" in self.tensors

    def check_encoder(self) -> None:
        """Make sure that the model can encode.

        Raises:
            ModelMissing: the file holds the decoder alone.
        """
        if not self.has_encoder:
            raise ModelMissing(
                f"the file of model {self.name} ({self.id_hex}) holds its decoder alone and cannot encode; "
                "name the whole model file"
            )

    def decoder_only(self) -> Model:
        """The same model, same id, without what only encoders and training tools read."""
        return Model(self.config, _decoding(self.tensors), self.metadata)

    def to_bytes(self) -> bytes:
        """The model file."""
        return save_model(self.config, self.tensors, self.metadata)

    def graph(self, name: str) -> bytes:
        """ONNX graph ``g_a``, ``h_a``, ``g_s`` or ``g_s_gradient``."""
        return b"".join(self._tensor(part).tobytes() for part in GRAPHS[name])

    def gain(self, quality: int) -> NDArray[np.float32]:
        """Factor of each latent before rounding, float32 (latent,)."""
        return self._gains("gain", quality)

    def inverse_gain(self, quality: int) -> NDArray[np.float32]:
        """Factor of each latent before g_s, float32 (latent,)."""
        return self._gains("inverse_gain", quality)

    def block_gains(self, graph: str, quality: int) -> NDArray[np.float32]:
        """Input ``gains`` of graph ``g_a`` or ``g_s`` at a quality, float32 (1, n, 1, 1)."""
        return self._gains(graph, quality)[None, :, None, None]

    def _gains(self, name: str, quality: int) -> NDArray[np.float32]:
        return gains_at(self._tensor(f"quality.log_{name}"), quality)

    @property
    def curvature(self) -> NDArray[np.float32]:
        """Squared levels that a unit of each latent before g_s is worth, float32 (latent,); encoders search with it."""
        return self._tensor("search.curvature")

    def describe(self) -> dict[str, Any]:
        """Facts for people and for ``tadan model info``."""
        size = sum(tensor.nbytes for tensor in self.tensors.values())
        encoder = sum(tensor.nbytes for name, tensor in self.tensors.items() if is_encoders(name))
        facts = {key: value for key, value in self.metadata.items() if key != "proofs"}
        proofs = self.twin.proofs()
        largest = max(proof.total for proof in proofs.values())
        exact = f"{len(proofs)} layers proven, largest sum below 2^{largest.bit_length()} of 2^53"
        return {
            "id": self.id_hex,
            "bytes": size,
            "decoder bytes": size - encoder,
            "encoder bytes": encoder,
            "config": self.config.to_dict(),
            "integer networks": exact,
            **facts,
        }

    def _tensor(self, name: str) -> NDArray[Any]:
        if is_encoders(name):
            self.check_encoder()
        return self.tensors[name]


def gains_at(knots: NDArray[Any], quality: int) -> NDArray[np.float32]:
    """Factors at a quality from the logarithms of those at the knots, (knots, n): float32 (n,)."""
    low, high, part = between(quality, len(knots))
    logs = knots[[low, high]].astype(np.float64)
    return np.exp((logs[0] * (SPAN - part) + logs[1] * part) / SPAN).astype(np.float32)


def _arrived(config: ModelConfig, tensors: dict[str, NDArray[Any]], metadata: dict[str, str]) -> Model:
    for value in tensors.values():
        value.setflags(write=False)
    return Model(config, tensors, metadata)


def below(tensors: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    """Tensors whose name begins so, under the rest of it."""
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}


def is_encoders(name: str) -> bool:
    """Whether only encoders or training tools read a tensor, so that a file for decoding can do without it."""
    return name in ENCODER_TENSORS or name in FORMATS


def known_tensors(config: ModelConfig) -> frozenset[str]:
    """Names that a tensor of a model file may have; others are refused, as nothing reads them."""
    quality = (f"quality.log_{name}" for name in ("gain", "inverse_gain", "g_a", "g_s"))
    parts = (part for parts in GRAPHS.values() for part in parts)
    exact = (f"exact.{name}" for name in exact_names(config))
    return frozenset({*quality, *parts, *exact, "search.curvature", "tables.half_widths", "tables.freqs", *FORMATS})


def content_id(config: ModelConfig, tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """Identity of a model: what its decoder computes, not what it is called, nor how latents are found.

    First 16 bytes of the SHA-256 over configuration, interface, and name, type, shape and bytes of every tensor that
    decoders read, each with its length before it, so that no two models give the same bytes (docs/SPEC.md, section 12).
    """
    return digest(config, _decoding(tensors))


def identity(config: ModelConfig, tensors: Mapping[str, NDArray[Any]]) -> dict[str, str]:
    """Entries of the metadata that name the content: ``id``, and ``encoder`` if the file holds more than a decoder."""
    decoding = _decoding(tensors)
    rest = {name: value for name, value in tensors.items() if name not in decoding}
    ids = {"id": digest(config, decoding).hex()}
    return {**ids, "encoder": digest(config, rest).hex()} if rest else ids


def _decoding(tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name: value for name, value in tensors.items() if not is_encoders(name)}


def digest(config: ModelConfig, tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """First 16 bytes of the SHA-256 over sizes and tensors, as :func:`content_id` takes it."""
    whole = hashlib.sha256()

    def take(part: bytes) -> None:
        whole.update(len(part).to_bytes(8, "little"))
        whole.update(part)

    for facts in (config.to_dict(), config.interface):
        take(json.dumps(facts, sort_keys=True).encode())
    for name in sorted(tensors):
        value = tensors[name]
        little = np.ascontiguousarray(value.astype(value.dtype.newbyteorder("<"), copy=False))
        take(name.encode())
        take(little.dtype.str.encode())
        take(",".join(map(str, little.shape)).encode())
        take(little.tobytes())
    return whole.digest()[:ID_BYTES]


def save_model(config: ModelConfig, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> bytes:
    """Serialise a model file (safetensors)."""
    from safetensors.numpy import save

    header = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "config": json.dumps(config.to_dict()),
        "interface": json.dumps(config.interface),
        **identity(config, tensors),
        **metadata,
    }
    return bytes(save({name: np.ascontiguousarray(value) for name, value in tensors.items()}, header))
