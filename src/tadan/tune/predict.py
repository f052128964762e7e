"""The cost model: seconds and bytes of memory of any setting, from what a machine takes for the parts of the codec.

Tiles are laid out and shared among threads as the codec does it: by the same functions for their sizes, borders and
numbers at a time. Left out are alpha, metadata and pictures that are stored in another format.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from tadan.bitstream import Header
from tadan.bitstream.fields import PixelMode
from tadan.codec.decoder import PIECE
from tadan.codec.engine import DECODE_BYTES, ENCODE_BYTES, PICTURE_BYTES, SEARCH_BYTES
from tadan.codec.parallel import MEMORY, Workers
from tadan.codec.tiling import Box, lines, on_latents, pieces, tile_size, window
from tadan.codec.writer import TOGETHER_PIXELS, analysis_margin
from tadan.models import ModelConfig, macs
from tadan.tune.machine import MachineProfile
from tadan.tune.setting import Setting
from tadan.tune.work import Plane, encode_parts, part_work

Size = tuple[int, int]  # width and height in pixels


@dataclass(frozen=True)
class CostModel:
    """Predicts what a setting costs on a machine.

    Attributes:
        machine: that it would run on.
        config: sizes of the model's networks. Of another model than was measured, costs follow the arithmetic.
    """

    machine: MachineProfile
    config: ModelConfig

    @property
    def in_core(self) -> bool:
        """Whether networks run in the core, whose threads share a tile."""
        return self.machine.in_core

    def encode(self, setting: Setting, size: Size, bits: float, threads: int = 1, memory: int = MEMORY) -> float:
        """Seconds from pixels in memory to the bytes of a file, in a process that has done it before.

        Args:
            setting: how.
            size: width and height.
            bits: of the file.
            threads: of the codec.
            memory: that the codec stays below.
        """
        header = self._header(setting, size)
        boxes = list(header.tile_boxes())
        workers = self._workers(boxes, SEARCH_BYTES if setting.trials else ENCODE_BYTES, threads, memory)
        seconds = self._part("encode_rest", _plane((0, 0, *size)), setting, 1)
        together = self.in_core and len(boxes) > 1 and size[0] * size[1] <= TOGETHER_PIXELS
        if together:
            seconds += self._part("g_a", _plane((0, 0, *size)), setting, threads)
        each = [self._tile(setting, box, size, bits, workers.inner, together) for box in boxes]
        return seconds + self._share(each, workers.count)

    def _tile(self, setting: Setting, box: Box, size: Size, bits: float, threads: int, analysed: bool) -> float:
        """Of one tile, with what the transforms see around it."""
        own, seconds = _plane(box), 0.0
        if not analysed:
            seen = window(box, analysis_margin(self.config), *size).outer
            seconds += self._part("g_a", _plane(seen), setting, threads)
        _, _, width, height = on_latents((0, 0, *size))
        _, _, cols, rows = window(on_latents(box), self.config.reach, width, height).outer
        around, share = Plane(rows, cols), box[2] * box[3] / (size[0] * size[1])
        for part, times in encode_parts(setting.trials):
            where = around if part in ("weights", "gradient", "error") else own
            seconds += times * self._part(part, where, setting, threads, bits * share)
        return seconds

    def decode(self, setting: Setting, size: Size, bits: float, threads: int = 1, memory: int = MEMORY) -> float:
        """Seconds from the bytes of a file to pixels in memory; arguments as of :meth:`encode`."""
        header = self._header(setting, size)
        boxes = list(header.tile_boxes())
        workers = self._workers(boxes, DECODE_BYTES, threads, memory)
        seconds, area = self._part("decode_rest", _plane((0, 0, *size)), setting, 1), size[0] * size[1]
        _, _, width, height = on_latents((0, 0, *size))
        for line in lines(header, set(range(len(boxes)))):
            reads = []
            shown = []
            for number in line:
                box = boxes[number]
                share = box[2] * box[3] / area
                reads.append(self._part("read", _plane(box), setting, workers.inner, bits * share))
                for piece in pieces(box, PIECE):
                    inner = threads if self.in_core else workers.inner
                    work = {"each": 1.0, "gmac": self._show_gmacs(on_latents(piece), width, height)}
                    shown.append(self.machine.seconds("g_s", work, inner))
            seconds += self._share(reads, workers.count)
            seconds += sum(shown) if self.in_core else self._share(shown, workers.count)
        return seconds

    def _show_gmacs(self, part: Box, width: int, height: int) -> float:
        """10^9 multiply-accumulates of g_s for a part of the positions, with as much around it as each layer needs."""
        config = self.config
        inlet = macs.conv_macs_per_position(config.latent, config.body_width)
        block = macs.block_macs_per_position(config.body_width, config.body_expansion, config.kernel)
        outer = window(part, config.reach, width, height).outer
        whole = macs.PIXELS_AT_16 * macs.g_s_macs_per_pixel(config)
        if not self.in_core:  # a graph computes everything everywhere
            return whole * outer[2] * outer[3] / 1e9
        total = inlet * outer[2] * outer[3]
        for behind in range(config.body_blocks):  # blocks that come after this one
            seen = window(part, behind * (config.kernel // 2), width, height).outer
            total += block * seen[2] * seen[3]
        return (total + (whole - inlet - config.body_blocks * block) * part[2] * part[3]) / 1e9

    def memory(self, setting: Setting, size: Size, threads: int = 1, memory: int = MEMORY) -> float:
        """Peak bytes of a process that encodes and decodes such a picture."""
        boxes = list(self._header(setting, size).tile_boxes())
        peaks = []
        search = setting.trials > 0
        encoding = ("search", SEARCH_BYTES) if search else ("encode", ENCODE_BYTES)
        for verb, planned in (encoding, ("decode", DECODE_BYTES)):
            workers = self._workers(boxes, planned, threads, memory)
            largest = max(box[2] * box[3] for box in boxes)
            peaks.append(self.machine.memory[verb] * largest * workers.count)
        return self.machine.memory["base"] + PICTURE_BYTES * size[0] * size[1] + max(peaks)

    def _header(self, setting: Setting, size: Size) -> Header:
        """Where the tiles are; nothing else of it counts."""
        side = tile_size(setting.tile, *size)
        return Header(*size, PixelMode.RGB, setting.quality, None, None, side, "png")

    def _workers(self, boxes: Sequence[Box], pixel_bytes: int, threads: int, memory: int) -> Workers:
        areas = [box[2] * box[3] for box in boxes]
        return Workers(threads, len(boxes), pixel_bytes * max(areas), PICTURE_BYTES * sum(areas), memory)

    def _part(self, part: str, plane: Plane, setting: Setting, threads: int, bits: float = 0.0) -> float:
        work = part_work(part, plane, self.config, setting.order, bits)
        return self.machine.seconds(part, work, threads)

    def _share(self, seconds: Sequence[float], count: int) -> float:
        """Until ``count`` threads are done with all; each takes the next one as soon as it is free."""
        if count == 1 or len(seconds) == 1:
            return sum(seconds)
        slower = self.machine.slowdown("threads", min(count, len(seconds)))
        busy = [0.0] * count
        for one in seconds:
            heapq.heappush(busy, heapq.heappop(busy) + slower * one)
        return max(busy)


def _plane(box: Box) -> Plane:
    _, _, cols, rows = on_latents(box)
    return Plane(rows, cols)
