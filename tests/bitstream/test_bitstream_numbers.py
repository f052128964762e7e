"""Varints, and what importing the container costs."""

import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tadan.bitstream.fields import MAX_VARINT, decode_varint, encode_varint
from tadan.errors import InvalidInput, TadanError, Truncated

# --- varints, import --------------------------------------------------------------------------------------


@given(st.integers(0, MAX_VARINT))
@example(MAX_VARINT)
@example(127)
@example(128)
def test_varint_round_trip(value):
    data = encode_varint(value)
    assert decode_varint(b"?" + data + b"?", 1) == (value, 1 + len(data))
    for length in range(len(data)):
        with pytest.raises(Truncated):
            decode_varint(data[:length], 0)


@given(st.binary(min_size=1, max_size=12))
def test_varint_has_one_spelling(data):
    try:
        value, end = decode_varint(data, 0)
    except TadanError:
        return
    assert encode_varint(value) == data[:end]


@pytest.mark.parametrize("value", [-1, 2**63])
def test_varint_range(value):
    with pytest.raises(InvalidInput):
        encode_varint(value)


def test_import_needs_the_standard_library_only():
    """What the package itself loads, Pillow's registry of formats, is there before."""
    code = (
        "import sys, tadan; before = set(sys.modules); import tadan.bitstream; new = set(sys.modules) - before; "
        "print(*sorted({n.partition('.')[0] for n in new} - {'tadan'} - sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
