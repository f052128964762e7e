"""Varints, CRC-32C, and what importing the container costs."""

import importlib.util
import os
import subprocess
import sys
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tadan.bitstream import crc32c
from tadan.bitstream.crc32c import advance
from tadan.bitstream.varint import MAX_VARINT, decode_varint, encode_varint
from tadan.errors import InvalidInput, TadanError, Truncated

# --- varints, checksum, import --------------------------------------------------------------------------------------


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


def test_crc32c_published_values():
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(b"") == 0
    # RFC 3720, B.4
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(bytes(range(31, -1, -1))) == 0x113FDB5C


@pytest.mark.parametrize("size", [2047, 2048, 2049, 2303, 2304, 100_001, 2**21 - 1, 2**21, 2**21 + 257])
def test_crc32c_lanes_equal_the_textbook_loop(size):
    data = os.urandom(size)
    expected = advance(data, 0xFFFFFFFF) ^ 0xFFFFFFFF
    assert crc32c(data) == expected
    cut = size // 3
    assert crc32c(memoryview(data)[cut:], crc32c(data[:cut])) == expected


@pytest.mark.skipif(importlib.util.find_spec("google_crc32c") is None, reason="google-crc32c is not installed")
def test_crc32c_equals_google_crc32c():
    import google_crc32c

    data = os.urandom(100_003)
    assert crc32c(data) == google_crc32c.value(data)


def test_crc32c_of_five_megabytes_takes_less_than_a_second():
    data = os.urandom(5_000_000)
    start = time.process_time()
    crc32c(data)
    assert time.process_time() - start < 1


def test_import_needs_the_standard_library_only():
    """What the package itself loads, Pillow's registry of formats, is there before."""
    code = (
        "import sys, tadan; before = set(sys.modules); import tadan.bitstream; new = set(sys.modules) - before; "
        "print(*sorted({n.partition('.')[0] for n in new} - {'tadan'} - sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
