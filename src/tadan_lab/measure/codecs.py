"""What the evaluation asks of a codec."""

from typing import Protocol

from PIL import Image


class PictureCodec(Protocol):
    """A lossy picture codec with one integer knob.

    ``encode`` turns an RGB picture into the bytes of a complete file, ``decode`` turns them back into a picture whose
    pixels are loaded; both may raise TadanError.
    """

    @property
    def name(self) -> str:
        """Short name, also used in file names: ``webp``, ``avif-444``."""
        ...

    @property
    def description(self) -> str:
        """Library versions and settings, enough to repeat the measurement."""
        ...

    @property
    def extension(self) -> str:
        """Suffix of its files, with the dot."""
        ...

    @property
    def qualities(self) -> range:
        """Every quality it accepts, ascending; a higher one gives (as a rule) a bigger file."""
        ...

    @property
    def points(self) -> tuple[int, ...]:
        """A dozen of the qualities that cover about 0.1 to 2 bits per pixel of a photograph."""
        ...

    def encode(self, image: Image.Image, quality: int) -> bytes:
        """Return the file of ``image`` (mode RGB) at ``quality``."""
        ...

    def decode(self, data: bytes) -> Image.Image:
        """Return the picture in ``data``, pixels loaded."""
        ...
