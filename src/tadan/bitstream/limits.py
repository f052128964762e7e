"""How large a file may claim to be before a reader refuses it, whatever the machine could bear."""

from dataclasses import dataclass, fields

from tadan.errors import InvalidInput


@dataclass(frozen=True)
class Limits:
    """Upper bounds that readers check before anything of the announced size is allocated or copied.

    ``max_pixels``: width x height; the default is the size from which Pillow raises DecompressionBombError.
    ``max_metadata_bytes``: ICC, EXIF and XMP together. ``max_tiles``: tiles of the grid.
    ``max_tile_bytes``: payload of one tile section. ``max_tile_pixels``: of one tile with latents, whose decoding takes
    about 100 bytes a pixel; encoders choose tiles of at most 1.5 megapixels. Stored pictures have no such limit.
    ``max_pattern_cells``: groups x rows x columns of an inline pattern. Each may need a context kernel of its own,
    about 10 ms of work and 1.6 MB that are kept for the whole file.
    """

    max_pixels: int = 178_956_970
    max_metadata_bytes: int = 16 * 2**20
    max_tiles: int = 65_536
    max_tile_bytes: int = 2**30
    max_tile_pixels: int = 2**24
    max_pattern_cells: int = 128

    def __post_init__(self) -> None:
        """Raise InvalidInput unless every limit is an int >= 0."""
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int) or value < 0:
                raise InvalidInput(f"Limits.{field.name} must be an int of at least 0, not {value!r}.")
