"""Tadan as one more codec under test."""

from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from tadan.codec.codec import Codec


class TadanCodec:
    """Tadan behind the protocol :class:`tadan.evaluate.PictureCodec`; the model is loaded with the first picture.

    ``schedule`` as in :func:`tadan.encode`, ``model`` and ``threads`` as in :class:`tadan.Codec`; a schedule other than
    "balanced" becomes part of the name.
    """

    extension = ".tdn"
    qualities = range(1, 101)
    points = (1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100)

    def __init__(self, schedule: str = "balanced", model: str | None = None, threads: int | None = None) -> None:
        """Remember the choices; nothing is loaded yet."""
        self.schedule = schedule
        self.name = "tadan" if schedule == "balanced" else f"tadan-{schedule}"
        self._model = model
        self._threads = threads
        self._codec: Codec | None = None

    @property
    def description(self) -> str:
        """Version and settings."""
        from tadan import __version__

        model = self._model or "bundled"
        return f"Tadan {__version__}, model {model}: encode(quality=q, schedule={self.schedule!r})"

    def encode(self, image: Image.Image, quality: int) -> bytes:
        """Return the `.tdn` file of ``image``; errors of :func:`tadan.encode`."""
        return self._loaded().encode(image, quality=quality, schedule=self.schedule)

    def decode(self, data: bytes) -> Image.Image:
        """Return the decoded picture; errors of :func:`tadan.decode`."""
        return self._loaded().decode(data)

    def _loaded(self) -> "Codec":
        if self._codec is None:
            from tadan.codec.codec import Codec

            self._codec = Codec(model=self._model, threads=self._threads)
        return self._codec
