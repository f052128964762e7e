"""The work on an inline pattern is bounded by its file: a hostile one must not cost a kernel per latent and tile."""

import numpy as np
import pytest

from codec_examples import CODEC, with_header
from photo_examples import photo
from tadan.bitstream import Limits, ScheduleField, read_stream
from tadan.codec.codec import Codec
from tadan.errors import LimitExceeded
from tadan.exact.linear import ContextKernels
from tadan.models import load_model
from tadan.schedule import PatternSchedule

PICTURE = np.tile(photo("coffee", 64, 128), (1, 2, 1))
TILED = CODEC.encode(PICTURE, quality=1, schedule="4x4", effort=0, tile=64)


@pytest.fixture
def mixes(monkeypatch):
    """Patterns whose kernels were mixed from now on; none is kept from before."""
    made = []
    mixed = ContextKernels._mixed
    monkeypatch.setattr(ContextKernels, "_mixed", lambda self, visible: made.append(visible) or mixed(self, visible))
    load_model().twin.kernel._kept.clear()
    return made


def shuffled(groups, rows, cols):
    stages = np.random.default_rng(1).permutation(groups * rows * cols).reshape(groups, rows, cols)
    return tuple(tuple(map(tuple, group)) for group in stages.tolist())


@pytest.mark.parametrize("shape", [(4, 16, 16), (1, 16, 16), (8, 5, 4)])
def test_large_patterns_are_refused_before_any_work(shape, mixes):
    data = with_header(TILED, schedule=ScheduleField(pattern=shuffled(*shape)))
    for call in (CODEC.decode, CODEC.verify, CODEC.salvage):
        with pytest.raises(LimitExceeded, match=r"pattern.*raise Limits\.max_pattern_cells"):
            call(data)
    with pytest.raises(LimitExceeded, match="too large for readers"):
        CODEC.encode(PICTURE, quality=1, schedule=PatternSchedule(shuffled(*shape)), effort=0)
    assert mixes == []


def test_kernels_of_a_file_are_mixed_once_whatever_the_number_of_tiles(mixes):
    """The largest pattern that is allowed, all of whose cells differ, in four tiles."""
    schedule = PatternSchedule(shuffled(8, 4, 4))
    data = CODEC.encode(PICTURE, quality=1, schedule=schedule, effort=0, tile=64)
    assert len(read_stream(data).tiles) == 4
    assert len(mixes) <= 128
    load_model().twin.kernel._kept.clear()
    mixes.clear()
    CODEC.verify(data)
    CODEC.decode(data)
    assert 16 < len(mixes) <= 128


def test_who_trusts_a_file_can_raise_the_limit():
    codec = Codec(threads=1, limits=Limits(max_pattern_cells=256))
    schedule = PatternSchedule(shuffled(1, 16, 16))
    picture = photo("chelsea", 32, 48)
    assert codec.decode(codec.encode(picture, quality=1, schedule=schedule, effort=0)).size == (48, 32)
