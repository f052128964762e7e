"""Unsigned LEB128 integers with exactly one encoding per value: 7 bits per byte, least significant group first."""

from tadan.errors import Corrupt, InvalidInput, Truncated

MAX_VARINT = 2**63 - 1
MAX_VARINT_BYTES = 9


def encode_varint(value: int) -> bytes:
    """Encode ``value`` (0 to 2**63 - 1) in 1 to 9 bytes; InvalidInput outside that range."""
    if not 0 <= value <= MAX_VARINT:
        raise InvalidInput(f"{value} does not fit in a 63-bit varint; give a number from 0 to {MAX_VARINT}.")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode_varint(data: bytes | memoryview, offset: int) -> tuple[int, int]:
    """Return the value at ``offset`` (bytes) and the offset after it.

    Raises Truncated if ``data`` ends inside it, Corrupt if it is longer than 63 bits or not the shortest encoding.
    """
    value = 0
    for i in range(MAX_VARINT_BYTES):
        if offset + i >= len(data):
            raise Truncated(f"The data ends inside a number at byte {offset}; copy or download the file again.")
        byte = data[offset + i]
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            if byte == 0 and i > 0:
                raise Corrupt(f"The number at byte {offset} is not in its shortest form; use another copy of the file.")
            return value, offset + i + 1
    raise Corrupt(f"The number at byte {offset} is longer than 63 bits; use another copy of the file.")
