"""The coder without constriction: the same bytes, the same symbols, and the golden streams."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entropy_examples import GAUSSIAN, TINY, decode, mixture, reference_encode
from tadan.entropy import ans, coder
from tadan.entropy.constants import INITIAL_STATE
from tadan.errors import Corrupt


def use_plain(patch):
    """Have encoder and decoder use the plain coder, whatever is installed."""
    patch.setattr(coder, "library", lambda: None)
    patch.setattr(ans, "AnsCoder", ans.PlainCoder)
    patch.setattr(ans, "table_of", ans.Table)
    patch.setattr(ans, "RAW", None)
    patch.setattr(coder, "_ESCAPE_LENGTHS", ans.Table(np.array(coder.ESCAPE_LENGTH_FREQS, np.uint32)))
    patch.setattr(coder, "_models", coder.weakref.WeakKeyDictionary())


@pytest.fixture
def plain(monkeypatch):
    use_plain(monkeypatch)


def coded(tables, stages):
    encoder = coder.StageEncoder(tables)
    for symbols, index in stages:
        encoder.push(symbols, index)
    return encoder.finish()


STAGES = [mixture(np.random.default_rng(seed), n, 3.0) for seed, n in ((1, 2000), (2, 0), (3, 1), (4, 700))]


def test_both_coders_write_the_same_bytes(plain):
    data = coded(GAUSSIAN, STAGES)
    assert data == reference_encode(GAUSSIAN, STAGES)
    decoder = coder.StageDecoder(GAUSSIAN, data)
    for symbols, index in STAGES:
        np.testing.assert_array_equal(decoder.pull(index), symbols)
    decoder.finish()


@given(st.lists(st.tuples(st.integers(-400, 400), st.integers(0, 1)), max_size=60))
def test_any_symbols_come_back(pairs):
    symbols, index = np.array([s for s, _ in pairs], np.int32), np.array([i for _, i in pairs], np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        use_plain(patch)
        data = coded(TINY, [(symbols, index)])
        assert data == reference_encode(TINY, [(symbols, index)])
        decoder = coder.StageDecoder(TINY, data)
        np.testing.assert_array_equal(decoder.pull(index), symbols)
        decoder.finish()


def test_streams_cut_short_are_noticed(plain):
    symbols, index = STAGES[0]
    data = coded(GAUSSIAN, [(symbols, index)])
    for length in range(8, len(data), 4 * 37):
        with pytest.raises(Corrupt):
            decode(GAUSSIAN, data[:length], [index])


def test_the_state_is_that_of_the_format():
    one = ans.PlainCoder(np.array([0, 1], np.uint32))
    assert one.pos() == (0, INITIAL_STATE)
    assert one.get_compressed().tolist() == [0, 1]


@pytest.mark.slow
def test_golden_streams_pass_without_constriction_and_onnx_runtime():
    script = """
        import sys
        import os
        os.environ["TADAN_CORE"] = "off"
        sys.modules["constriction"] = sys.modules["onnxruntime"] = None
        sys.argv = ["tadan", "selftest", "--latents", "--threads", "1"]
        from tadan.cli.main import run
        run()
    """
    line = [sys.executable, "-c", textwrap.dedent(script)]
    result = subprocess.run(line, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "conforms" in result.stdout
    assert "plain Python" in result.stdout
