"""From what is left of a damaged file to a picture, and which parts of it can be trusted."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tadan.bitstream import Recovered, Tile
from tadan.codec.decoder import TileDecoder
from tadan.codec.stored import stored_picture
from tadan.codec.tiling import Box, Canvas
from tadan.errors import Corrupt, LimitExceeded

State = Literal["intact", "partial", "lost"]


@dataclass(frozen=True)
class TileState:
    """What became of one tile.

    Attributes:
        number: in the grid, row by row from 0.
        box: x, y, width, height in pixels.
        state: "intact": every latent is proven to be right; "partial": the file ends inside it, the latents of
            ``stages`` stages arrived and the others are predicted; "lost": it is shown as grey.
        stages: stages of y that were decoded.
        of: stages that the tile has.
        reason: why it is not intact.
    """

    number: int
    box: Box
    state: State
    stages: int
    of: int
    reason: str | None = None


@dataclass(frozen=True)
class Salvaged:
    """A picture of which parts may be missing.

    Attributes:
        image: of the mode that was encoded.
        tiles: all tiles of the grid, in order.
        notes: what was found wrong with the file.
    """

    image: Image.Image
    tiles: tuple[TileState, ...]
    notes: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong with the file."""
        return not self.notes and all(tile.state == "intact" for tile in self.tiles)

    def count(self, state: str) -> int:
        """Tiles of a state."""
        return sum(tile.state == state for tile in self.tiles)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form, without the picture."""
        return {
            "whole": self.whole,
            "width": self.image.width,
            "height": self.image.height,
            **{state: self.count(state) for state in ("intact", "partial", "lost")},
            "notes": list(self.notes),
            "tiles": [asdict(tile) for tile in self.tiles],
        }


class Rescue:
    """Decodes the tiles that are left of one file, and notes what became of each.

    Args:
        found: what is left.
        decoder: for its tiles; None if they are stored pictures.
        canvas: of the whole picture.
    """

    def __init__(self, found: Recovered, decoder: TileDecoder | None, canvas: Canvas) -> None:
        self._found, self._decoder, self._canvas = found, decoder, canvas
        self._boxes = list(found.header.tile_boxes())
        self._states: dict[int, TileState] = {}
        self._metadata = dict(found.metadata)

        if decoder is None:
            for number in range(len(self._boxes)):
                self._show_stored(number)

    def result(self) -> Salvaged:
        """The picture as it stands on the canvas; latents must have been shown on it before."""
        image = self._canvas.image(self._metadata)
        return Salvaged(image, tuple(self._states[number] for number in sorted(self._states)), self._found.notes)

    def _show_stored(self, number: int) -> None:
        header, tile, box = self._found.header, self._found.tiles.get(number), self._boxes[number]
        if tile is None:
            self._note(number, "lost", 0, 0, _DAMAGED)
            return
        try:
            rgb, inside = stored_picture(header, tile, box[2], box[3])
            self._metadata.update(inside)
            self._canvas.put_alpha(box, tile.alpha)
        except (Corrupt, LimitExceeded) as error:
            self._note(number, "lost", 0, 0, str(error))
        else:
            self._canvas.put(box, rgb)
            self._note(number, "intact", 0, 0)

    def latents(self, number: int) -> NDArray[np.int32] | None:
        """A source for :func:`~tadan.codec.decoder.paint`; called from several threads, once for each tile."""
        decoder, box = self._decoder, self._boxes[number]
        if decoder is None:
            return None
        stages = decoder.stage_count(box)
        tile = self._found.tiles.get(number)
        if tile is not None:
            try:
                y_hat = decoder.latents(tile, box).y_hat
                self._canvas.put_alpha(box, tile.alpha)
            except Corrupt as error:
                self._note(number, "lost", 0, stages, str(error))
                return None
            self._note(number, "intact", stages, stages)
            return y_hat
        if self._found.cut is not None and self._found.cut[0] == number:
            return self._arrived(number, self._found.cut[1], decoder, stages)
        self._note(number, "lost", 0, stages, _DAMAGED)
        return None

    def _arrived(self, number: int, tile: Tile, decoder: TileDecoder, stages: int) -> NDArray[np.int32] | None:
        box = self._boxes[number]
        latents, arrived = decoder.first_stages(tile, box, None)
        if arrived < 0:
            self._note(number, "lost", 0, stages, "the file ends before anything of the tile can be decoded")
            return None
        with suppress(Corrupt):  # opaque is the best guess
            self._canvas.put_alpha(box, tile.alpha)
        self._note(number, "partial", arrived, stages, "the file ends inside the tile")
        return latents.y_hat

    def _note(self, number: int, state: State, stages: int, of: int, reason: str | None = None) -> None:
        self._states[number] = TileState(number, self._boxes[number], state, stages, of, reason)


_DAMAGED = "its section is damaged or missing"
