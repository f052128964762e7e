"""Tadan as one more codec under test."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from tadan.codec.options import EFFORT_MAX, EFFORT_MIN
from tadan.errors import InvalidInput
from tadan.models.search_rule import check_tune

if TYPE_CHECKING:
    from tadan.codec.codec import Codec
    from tadan.models import ModelConfig

EFFORTS = range(EFFORT_MIN, EFFORT_MAX + 1)


class TadanCodec:
    """Tadan behind the protocol :class:`tadan_lab.measure.PictureCodec`; the model is loaded with the first picture.

    Args:
        schedule: as in :func:`tadan.encode`; one other than "balanced" becomes part of the name.
        model: as in :class:`tadan.Codec`; one that is named becomes part of the name.
        threads: as in :class:`tadan.Codec`.
        effort: 0..9, how long the encoder may search, part of the name; None leaves it to the encoder.
        tune: what the encoder's search lowers, "eye" or "psnr", part of the name; None leaves it to the model.

    Raises:
        InvalidInput: ``effort`` is out of range, or there is no such ``tune``.
    """

    extension = ".tdn"
    qualities = range(1, 101)
    points = (1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100)

    def __init__(
        self,
        schedule: str = "balanced",
        model: str | None = None,
        threads: int | None = None,
        effort: int | None = None,
        tune: str | None = None,
    ) -> None:
        """Remember the choices; nothing is loaded yet."""
        if effort is not None and effort not in EFFORTS:
            raise InvalidInput(f"Effort goes from {EFFORTS[0]} to {EFFORTS[-1]}, not {effort}.")
        self.schedule = schedule
        self.name = "tadan" if model is None else f"tadan-{Path(model).stem}"
        if schedule != "balanced":
            self.name += f"-{schedule}"
        self._options: dict[str, Any] = {}
        if effort is not None:
            self.name += f"-effort-{effort}"
            self._options["effort"] = effort
        if tune is not None:
            self.name += f"-{check_tune(tune)}"
            self._options["tune"] = tune
        self._model = model
        self._threads = threads
        self._codec: Codec | None = None

    @property
    def description(self) -> str:
        """Version, model and settings; loads the model."""
        from tadan import __version__

        choices = {"schedule": self.schedule, **self._options}
        words = ", ".join(f"{name}={value!r}" for name, value in choices.items())
        return f"Tadan {__version__}, model {self._model or 'bundled'} ({self.model_id}): encode(quality=q, {words})"

    @property
    def model_id(self) -> str:
        """Content id of the model, hexadecimal; loads the model."""
        return self._loaded().model.id.hex()

    @property
    def config(self) -> "ModelConfig":
        """Sizes and lambdas of the model; loads it."""
        return self._loaded().model.config

    def encode(self, image: Image.Image, quality: int) -> bytes:
        """Return the `.tdn` file of ``image``; errors of :func:`tadan.encode`."""
        return self._loaded().encode(image, quality=quality, schedule=self.schedule, **self._options)

    def decode(self, data: bytes) -> Image.Image:
        """Return the decoded picture; errors of :func:`tadan.decode`."""
        return self._loaded().decode(data)

    def _loaded(self) -> "Codec":
        if self._codec is None:
            from tadan.codec.codec import Codec

            self._codec = Codec(model=self._model, threads=self._threads)
        return self._codec
