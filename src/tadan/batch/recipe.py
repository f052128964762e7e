"""How pictures of a batch are encoded, and the name that follows from it: hash(source bytes, model id, settings)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tadan.codec.options import EncodeOptions

if TYPE_CHECKING:
    from tadan.codec.target import Target

SUFFIX = ".tdn"
_VERSION = 1  # of the rule that makes names; another rule makes other names
_KEY_DIGITS = 40


@dataclass(frozen=True)
class Recipe:
    """Everything that the bytes of an output depend on, except the picture.

    Attributes:
        options: of the encoder.
        target: quality is searched for it; None: that of the options is used.
        model: name or file, None for the bundled one.
        model_id: of that model, in hexadecimal; None if no model takes part.
        tune: of that model, which counts where the options name none.
        lossless_jpeg: keep JPEG files byte for byte; the options then say nothing.
    """

    options: EncodeOptions
    target: Target | None = None
    model: str | None = None
    model_id: str | None = None
    tune: str | None = None
    lossless_jpeg: bool = False

    @classmethod
    def of(
        cls,
        options: EncodeOptions,
        target: Target | None = None,
        model: str | None = None,
        lossless_jpeg: bool = False,
    ) -> Recipe:
        """A recipe with the model at hand.

        Raises:
            ModelMissing: there is no such model, or it cannot encode.
        """
        if options.lossless or lossless_jpeg:
            return cls(options, target, model, lossless_jpeg=lossless_jpeg)
        from tadan.models import load_model

        loaded = load_model(model)
        loaded.check_encoder()
        return cls(options, target, model, loaded.id_hex, loaded.tune)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What changes the output, JSON-able: options that have no effect beside the others are left out."""
        from tadan.latents.schedule_field import schedule_field

        options = self.options
        if self.lossless_jpeg:
            return {"lossless_jpeg": True}
        if options.lossless:  # no model takes part, but the header tells the quality
            return {"lossless": True, "strip": options.strip, "quality": options.quality}
        order = schedule_field(options.order)
        chosen: dict[str, Any] = {
            "schedule": order.name if order.pattern is None else order.pattern,
            "effort": options.effort,
            "tile": options.tile,
            "strip": options.strip,
            "fallback": options.fallback,
            "keep_hidden": options.keep_hidden,
        }
        if options.trials:  # without a search nothing is tuned
            chosen["tune"] = options.tune or self.tune
        if self.target is None:
            chosen["quality"] = options.quality
        else:
            chosen[f"target_{self.target.kind}"] = self.target.value
        return chosen

    @cached_property
    def id(self) -> str:
        """Hash of model and settings."""
        return _hash({"version": _VERSION, "model": self.model_id, "settings": self.settings})[:_KEY_DIGITS]

    def key(self, source_hash: str) -> str:
        """Hash that names the output of a source.

        Args:
            source_hash: SHA-256 of its bytes, in hexadecimal.
        """
        return _hash({"source": source_hash, "recipe": self.id})[:_KEY_DIGITS]


def source_hash(data: bytes) -> str:
    """SHA-256 of the bytes of a picture, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def hashed_name(key: str) -> str:
    """Name below the destination: 256 folders, as file systems are slow with millions of names in one."""
    return f"{key[:2]}/{key}{SUFFIX}"


def mirrored_name(relative: str) -> str:
    """Name below the destination: that below the source, with the suffix of outputs."""
    folder, slash, name = relative.rpartition("/")
    return f"{folder}{slash}{name.rpartition('.')[0] or name}{SUFFIX}"


def _hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
