"""The Pillow plugin: ``Image.open("x.tdn")`` and ``image.save("x.tdn", quality=60)`` (docs/pictures.md).

Opening reads the header and the metadata; pixels are decoded by ``load()``, when somebody first needs them.
:mod:`tadan.registration` makes it known to Pillow.
"""

from __future__ import annotations

import threading
from dataclasses import fields
from typing import IO, Any

from PIL import Image, ImageFile, UnidentifiedImageError

from tadan.bitstream import HEADER_PREFIX_BYTES, Container, Limits, read_header, read_stream
from tadan.bitstream.fields import MAX_SIDE
from tadan.codec.options import EncodeOptions
from tadan.errors import InvalidInput, TadanError, Truncated

_INFO_KEYS = {"icc": "icc_profile", "exif": "exif", "xmp": "xmp"}
SAVE_OPTIONS = (*(field.name for field in fields(EncodeOptions)), *_INFO_KEYS.values())
_DEFAULT = Limits()


class LoadError(TadanError, OSError):
    """A .tdn file that is damaged, too new or in need of a missing model; ``__cause__`` is the exact error."""


class OpenError(LoadError, UnidentifiedImageError):
    """A .tdn file whose header cannot be read; ``__cause__`` is the exact error."""


class TadanImageFile(ImageFile.ImageFile):
    """A .tdn file, opened but not decoded until :meth:`load`."""

    format = "TADAN"
    format_description = "Tadan learned image codec"
    _pending: threading.Lock | None = None  # until the pixels are there
    _reduce = 1

    def _open(self) -> None:
        # Pillow checks the size against its own limit of pixels as soon as this returns.
        limits = Limits(max_pixels=MAX_SIDE**2, max_tile_pixels=MAX_SIDE**2)
        file = self._file()
        start = file.read(HEADER_PREFIX_BYTES)
        try:
            header = read_header(start, limits)
        except TadanError as error:
            raise OpenError(str(error)) from error
        self._size, self._mode = (header.width, header.height), header.mode
        self.info.update(_read_info(file, start, limits))
        self._whole = self._size
        self._pending = threading.Lock()

    def draft(self, mode: str | None, size: tuple[int, int] | None) -> tuple[str, tuple[int, int, float, float]] | None:
        """Have the picture decoded 4, 8 or 16 times smaller, but no smaller than ``size``; ``thumbnail()`` asks so.

        Args:
            mode: not changed.
            size: width and height at least.

        Returns:
            the mode, and the box of the whole picture in its new pixels; None if nothing changes.
        """
        if size is None or self._pending is None or self._reduce > 1 or ImageFile.LOAD_TRUNCATED_IMAGES:
            return None
        from tadan.codec.reduced import factor_for

        width, height = self._whole
        self._reduce = factor_for(width, height, size, cover=True)
        if self._reduce == 1:
            return None
        self._size = -(-width // self._reduce), -(-height // self._reduce)
        return self.mode, (0, 0, width / self._reduce, height / self._reduce)

    def _file(self) -> IO[bytes]:
        if self.fp is None:
            raise LoadError("the file of the picture is closed; open it again")
        return self.fp

    def load(self) -> Any:
        """Decode the picture unless that has been done.

        Raises:
            LoadError: the file is damaged or its model is missing.
        """
        lock = self._pending
        if lock is not None:
            with lock:
                if self._pending is not None:
                    self._decode()
        return super().load()

    def _decode(self) -> None:
        file = self._file()
        file.seek(0)
        try:
            image = _decoded(file.read(), self._whole[0] * self._whole[1], self._reduce)
        except TadanError as error:
            raise LoadError(str(error)) from error
        if (image.size, image.mode) != (self._size, self._mode):
            raise LoadError("the file was changed after it was opened; open it again")
        self.im = image.im
        self.info.update({key: value for key, value in image.info.items() if key not in self.info})
        self._pending = None
        if self._exclusive_fp:
            file.close()
        self.fp = None

    def verify(self) -> None:
        """Check every checksum of the file but those of the latents; ``tadan verify`` checks these too.

        Raises:
            LoadError: one does not match.
        """
        file = self._file()
        file.seek(0)
        try:
            read_stream(file.read(), _limits(self._whole[0] * self._whole[1]))
        except TadanError as error:
            raise LoadError(str(error)) from error
        super().verify()


def _limits(pixels: int) -> Limits:
    """Limits for a picture of so many pixels that Pillow's own limit has let pass."""
    return Limits(max_pixels=max(pixels, _DEFAULT.max_pixels))


def _codec(pixels: int) -> Any:
    from tadan.codec import codec

    return codec.default_codec() if pixels <= _DEFAULT.max_pixels else codec.Codec(limits=_limits(pixels))


def _decoded(data: bytes, pixels: int, reduce: int) -> Image.Image:
    """Decode a whole file; with ``ImageFile.LOAD_TRUNCATED_IMAGES``, as much of a damaged one as can be had."""
    codec = _codec(pixels)
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        return codec.salvage(data).image
    return codec.decode(data, reduce=reduce)


def _read_info(file: IO[bytes], start: bytes, limits: Limits) -> dict[str, bytes]:
    """Metadata under Pillow's names, if all of it has arrived whole; decoding says what is wrong otherwise."""
    try:
        try:
            metadata = Container(start, limits).metadata()
        except Truncated:  # it may go on after the longest header
            metadata = Container(start + file.read(limits.max_metadata_bytes), limits).metadata()
    except TadanError:
        return {}
    return {_INFO_KEYS[name]: value for name, value in metadata.items()}


def open_image(file: IO[bytes], filename: str | bytes) -> TadanImageFile:
    """Factory for Pillow. Raises OpenError."""
    return TadanImageFile(file, filename)


def save_image(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    """Save handler for Pillow: encode with the keyword arguments of ``Image.save``, which are ``SAVE_OPTIONS``.

    Metadata in ``image.info`` is kept; icc_profile, exif and xmp replace it (None: leave out), strip=True removes all.

    Raises:
        InvalidInput: an option that does not exist or is out of range, or a mode that cannot be coded.
    """
    from tadan.pictures.metadata import with_overrides

    options = dict(image.encoderinfo)
    unknown = sorted(set(options) - set(SAVE_OPTIONS))
    if "append_images" in unknown:
        save_all(image, file, filename)
    if unknown:
        raise InvalidInput(f"no option {', '.join(unknown)} for .tdn files; there are {', '.join(SAVE_OPTIONS)}")
    overrides = {key: options[key] for key in _INFO_KEYS.values() if key in options}
    if overrides:
        image = with_overrides(image, overrides)
    chosen = EncodeOptions(**{key: value for key, value in options.items() if key not in overrides})
    file.write(_codec(image.width * image.height).encode_picture(image, chosen).data)


def save_all(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    """Refuse: a .tdn file holds one picture. Raises InvalidInput."""
    raise InvalidInput("a .tdn file holds one picture; save each frame to a file of its own, without save_all")
