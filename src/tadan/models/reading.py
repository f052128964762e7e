"""Reading model files and checking them, before anything of them is used."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tadan.errors import Corrupt, NotOurFile, TadanError, UnreadableInput, UnsupportedVersion
from tadan.exact.packing import check_exact
from tadan.models.config import TUNES, ModelConfig
from tadan.models.model import (
    ENCODER_TENSORS,
    FORMAT,
    FORMAT_VERSION,
    GRAPHS,
    MOST_LOG_GAIN,
    Model,
    below,
    identity,
    is_encoders,
    known_tensors,
)

Read = TypeVar("Read")
DTYPES = frozenset({"|u1", "|i1", "<i2", "<i4", "<i8", "<u4", "<f2", "<f4"})  # of tensors (docs/SPEC.md, section 12)


def stated_id(path: Path) -> str:
    """The id that a model file states, in hexadecimal; only its header is read, and nothing is checked.

    Raises:
        UnreadableInput, NotOurFile, UnsupportedVersion: as :func:`read_model`.
    """
    return opened(path, lambda file: checked_header(path, dict(file.metadata() or {}))).get("id", "")


def read_model(path: Path) -> Model:
    """Read and check a model file.

    Raises:
        UnreadableInput: the file cannot be read.
        NotOurFile: it is no safetensors file, or none of ours.
        UnsupportedVersion: it was written for a newer tadan.
        Corrupt: its content does not match its id, or parts are missing.
    """
    header, config, tensors = read_parts(path, FORMAT)
    unknown = sorted(tensors.keys() - known_tensors(config))
    if unknown:
        raise Corrupt(f"model file {path} holds tensors that no tadan model has: {', '.join(map(repr, unknown))}")
    if header.get("tune", "psnr") not in TUNES:
        raise Corrupt(f"model file {path} is made for {header['tune']!r}, which no tadan model is; fetch it again")
    stated = {key: header.pop(key) for key in ("id", "encoder") if key in header}
    if stated != identity(config, tensors):
        raise Corrupt(f"model file {path} does not match its own id {stated.get('id', '')}; fetch or export it again")
    interface = header.pop("interface", "")
    if interface != json.dumps(config.interface):
        raise UnsupportedVersion(f"model file {path} has the interface {interface[:99]!r}, not this version's; upgrade")
    if not _is_whole(config, tensors):
        raise Corrupt(f"model file {path} lacks parts; fetch or export it again")
    check_exact(below(tensors, "exact."), config)
    return Model(config, tensors, header)


def read_parts(path: Path, kind: str) -> tuple[dict[str, str], ModelConfig, dict[str, NDArray[Any]]]:
    """What is left of the metadata, the configuration and the tensors (read-only) of a file of ours.

    Args:
        path: of it.
        kind: the ``format`` that it must state.

    Raises:
        UnreadableInput, NotOurFile, UnsupportedVersion, Corrupt: as :func:`read_model`.
    """

    def whole(file: Any) -> tuple[dict[str, str], dict[str, NDArray[Any]]]:
        names = file.keys()
        return dict(file.metadata() or {}), {name: file.get_tensor(name) for name in names}

    header, tensors = opened(path, whole)
    if any(value.dtype.str not in DTYPES for value in tensors.values()):
        raise NotOurFile(
            f"{path} holds tensors of types that no tadan model has; name a .safetensors file made by tadan"
        )
    header = checked_header(path, header, kind)
    for value in tensors.values():
        value.setflags(write=False)
    try:
        return header, ModelConfig.from_dict(json.loads(header.pop("config", "{}"))), tensors
    except TadanError:
        raise
    except (ValueError, TypeError, RecursionError) as error:
        raise Corrupt(f"the configuration in model file {path} cannot be read ({error}); fetch it again") from error


def opened(path: Path, read: Callable[[Any], Read]) -> Read:
    """What ``read`` takes from a safetensors file; typed errors if it is none."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            return read(file)
    except OSError as error:
        raise UnreadableInput(f"cannot read model file {path}: {error.strerror or error}; check its name") from error
    except (SafetensorError, TypeError, AttributeError) as error:  # the last two: types that numpy does not have
        raise NotOurFile(
            f"{path} is not a tadan model file ({error}); name a .safetensors file made by tadan"
        ) from error


def checked_header(path: Path, header: dict[str, str], kind: str = FORMAT) -> dict[str, str]:
    """Metadata of a file of this version and kind, without what says so; Raises as :func:`stated_id`."""
    if header.pop("format", None) != kind:
        wanted = (
            "model; export one with: tadan model export" if kind == FORMAT else "lite decoder; see: tadan model lite"
        )
        raise NotOurFile(f"{path} is a safetensors file but not a tadan {wanted}")
    if header.pop("format_version", "") != str(FORMAT_VERSION):
        raise UnsupportedVersion(f"model file {path} needs a newer tadan; run: pip install --upgrade tadan")
    return header


def _is_whole(config: ModelConfig, tensors: Mapping[str, NDArray[Any]]) -> bool:
    """Whether all that decoding needs is there, and all or nothing of what encoding needs."""
    encodes = not ENCODER_TENSORS.isdisjoint(tensors)
    needed = {part for parts in GRAPHS.values() for part in parts if encodes or not is_encoders(part)}
    if not needed <= tensors.keys():
        return False
    lengths = {"gain": config.latent, "inverse_gain": config.latent, **config.gain_lengths}
    for name, length in lengths.items():
        stored = f"quality.log_{name}"
        if is_encoders(stored) and not encodes:
            continue
        if not are_gains(tensors.get(stored), (config.knots, length)):
            return False
    curvature = tensors.get("search.curvature")
    return not encodes or (curvature is not None and curvature.shape == (config.latent,))


def are_gains(knots: NDArray[Any] | None, shape: tuple[int, int]) -> bool:
    """Whether a tensor can hold logarithms of gains at the knots."""
    if knots is None or knots.shape != shape or knots.dtype.kind != "f":
        return False
    return bool((np.abs(knots) <= MOST_LOG_GAIN).all())
