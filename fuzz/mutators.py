"""Structure-aware mutations, all ``(bytes, random.Random) -> bytes`` and total: any input is accepted.

``damage`` changes bytes and leaves checksums alone; ``forge`` changes fields, sections and what is in them, and then
writes correct CRC-32, so that only the checks behind the container are left.
"""

from __future__ import annotations

import json
import random
import struct
import zlib
from collections.abc import Callable

import corpus
from tadan.bitstream import MAGIC
from tadan.bitstream.fields import decode_varint, encode_varint
from tadan.errors import TadanError

Mutator = Callable[[bytes, random.Random], bytes]
_CHUNKS = b"IHDR PLTE IDAT IEND gAMA cHRM iCCP sRGB tRNS pHYs tEXt zTXt iTXt eXIf acTL fcTL fdAT".split()
_NAMES = b"2x2 4x4 hyper raster wavefront checkerboard 2x2-rotated 4x4-opt-16 png webp jpeg spiral".split()
_SIDES = (0, 1, 2, 15, 16, 17, 63, 64, 65, 127, 128, 256, 16_384, 2**18 + 1, 2**31 - 1, 2**31, 2**63 - 1)


def damage(data: bytes, rng: random.Random) -> bytes:
    """Change a few bytes, or cut, repeat, move or drop a part."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at, count = rng.randrange(len(out) + 1), min(rng.choice((1, 1, 2, 4, 8, 64)), len(out))
        match rng.randrange(8):
            case 0 | 1 | 2:
                if at < len(out):
                    out[at] ^= 1 << rng.randrange(8)
            case 3:
                if at < len(out):
                    out[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
            case 4:
                out[at:at] = rng.randbytes(count)
            case 5:
                del out[at : at + count]
            case 6:
                out[at:at] = out[at : at + count]
            case 7:
                del out[at:]
    return bytes(out)


def split_file(data: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """Header fields, and (tag, payload) of the sections, as far as they can be told apart; nothing is checked."""
    sections: list[tuple[bytes, bytes]] = []
    try:
        length, start = decode_varint(data, len(MAGIC) + 1)
        fields, offset = data[start : start + length], start + length + 4
        while offset < len(data):
            length, start = decode_varint(data, offset + 1)
            sections.append((data[offset : offset + 1], data[start : start + length]))
            offset = start + length + 4
    except TadanError:
        return (data[10:30] if not sections else fields), sections
    return fields, sections


def join_file(fields: bytes, sections: list[tuple[bytes, bytes]]) -> bytes:
    """A file of these parts under correct checksums."""

    def closed(part: bytes) -> bytes:
        return part + zlib.crc32(part).to_bytes(4, "little")

    start = closed(MAGIC + b"\x01" + encode_varint(len(fields)) + fields)
    return start + b"".join(closed(tag + encode_varint(len(payload)) + payload) for tag, payload in sections)


def forge(data: bytes, rng: random.Random) -> bytes:
    """Another file under correct checksums."""
    fields, sections = split_file(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        if not sections or rng.random() < 0.35:
            fields = _header(fields, rng)
        else:
            sections = _sections(sections, rng)
    return join_file(fields, sections)


def _header(fields: bytes, rng: random.Random) -> bytes:
    try:
        width, at = decode_varint(fields, 0)
        height, at = decode_varint(fields, at)
        mode, content, quality = (fields[at + byte : at + byte + 1] for byte in range(3))
        tile, at = decode_varint(fields, at + 3)
    except TadanError:
        return damage(fields, rng)
    model, schedule = fields[at : at + 16], fields[at + 16 :]
    match rng.randrange(9):
        case 0:
            width = rng.choice((*_SIDES, width ^ 1))
        case 1:
            height = rng.choice((*_SIDES, height ^ 1))
        case 2:
            mode = bytes((rng.randrange(5),))
        case 3:
            quality = bytes((rng.randrange(102),))
        case 4:
            model = rng.choice((b"", bytes(16), rng.randbytes(16)))
        case 5:
            tile = rng.choice((0, 64, 128, 64 * rng.randrange(9), *_SIDES))
        case 6:
            name = rng.choice(_NAMES)
            schedule = bytes((0, len(name))) + name
        case 7:
            schedule = _pattern(rng)
        case 8:
            content = bytes((rng.randrange(6),))
    if rng.random() < 0.1:
        schedule = damage(schedule, rng)
    size = encode_varint(width) + encode_varint(height)
    return size + mode + content + quality + encode_varint(tile) + model + schedule


def _pattern(rng: random.Random) -> bytes:
    groups, rows, cols = rng.choice((1, 1, 4, 2, 16)), rng.choice((1, 2, 3, 16)), rng.choice((1, 2, 3, 16))
    count = rng.randint(1, groups * rows * cols)
    stages = [*range(count), *(rng.randrange(count) for _ in range(groups * rows * cols - count))]
    rng.shuffle(stages)
    return bytes((1, groups, rows, cols)) + b"".join(map(encode_varint, stages))


def _sections(sections: list[tuple[bytes, bytes]], rng: random.Random) -> list[tuple[bytes, bytes]]:
    sections = list(sections)
    at = rng.randrange(len(sections))
    tag, payload = sections[at]
    match rng.randrange(10):
        case 0:
            sections.insert(rng.randrange(len(sections) + 1), (tag, payload))
        case 1:
            del sections[at]
        case 2:
            sections.insert(rng.randrange(len(sections)), sections.pop(at))
        case 3:
            sections[at] = rng.choice((b"I", b"E", b"X", b"T", b"Q")), payload
        case 4:
            other = rng.choice(list(corpus.inputs("file").values()))
            sections[at] = rng.choice(split_file(other)[1])
        case 5 if (start := payload.find(b"\x89PNG")) >= 0:
            sections[at] = tag, _with_png(payload, start, rng)
        case _:
            sections[at] = tag, damage(payload, rng)
    return sections


def _with_png(payload: bytes, start: int, rng: random.Random) -> bytes:
    """A tile payload with another PNG; the length before it is put right if it is an alpha plane."""
    end = max(start, payload.find(b"IEND", start) + 8)
    mutated = png(payload[start:end], rng)
    head = payload[:start]
    for digits in (1, 2, 3):
        if head[-digits:] == encode_varint(end - start):
            head = head[:-digits] + encode_varint(len(mutated))
            break
    return head + mutated + payload[end:]


def png(data: bytes, rng: random.Random) -> bytes:
    """Other chunks under correct checksums."""
    chunks, at = [], 8
    while at + 8 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += length + 12
    where = rng.randrange(len(chunks) + 1)
    match rng.randrange(4):
        case 0 | 1:
            body = rng.choice((b"", b"\0", b"a\0\0", b"a\0\1x", rng.randbytes(rng.randrange(40))))
            chunks.insert(where, (rng.choice(_CHUNKS), body))
        case 2 if chunks:
            kind, body = chunks[where % len(chunks)]
            chunks[where % len(chunks)] = kind, damage(body, rng)
        case _ if chunks:
            chunks.insert(rng.randrange(len(chunks)), chunks.pop(where % len(chunks)))
    parts = [struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
             for kind, body in chunks]  # fmt: skip
    return data[:8] + b"".join(parts)


def any_file(data: bytes, rng: random.Random) -> bytes:
    """Damage or forgery of a .tdn file, or damage to a forged one."""
    choice = rng.random()
    if choice < 0.35:
        return damage(data, rng)
    forged = forge(data, rng)
    return damage(forged, rng) if choice > 0.9 else forged


def any_stored(data: bytes, rng: random.Random) -> bytes:
    """For the target "stored": three bytes, then a picture file."""
    if data[3:7] == b"\x89PNG" and rng.random() < 0.7:
        return data[:3] + png(data[3:], rng)
    return damage(data, rng)


def any_model(data: bytes, rng: random.Random) -> bytes:
    """Another header of a safetensors file, of the right length; the target puts the content id right."""
    if len(data) < 8 or rng.random() < 0.3:
        return damage(data, rng)
    (length,) = struct.unpack("<Q", data[:8])
    head, body = data[8 : 8 + length], data[8 + length :]
    try:
        table = json.loads(head)
        _change(table, rng)
        head = json.dumps(table).encode()
    except (ValueError, LookupError, AttributeError, TypeError, RecursionError):  # not the header of a model
        head = damage(head, rng)
    return struct.pack("<Q", len(head)) + head + body


_VALUES: tuple[object, ...] = (
    None,
    0,
    1,
    -1,
    2**63,
    1.5,
    "",
    "x",
    [],
    [1, 2, 3],
    {},
    True,
    "BF16",
    "F64",
    "BOOL",
    "F8_E4M3",
    "U16",
)


def _change(table: dict[str, object], rng: random.Random) -> None:
    """Change a value somewhere in a safetensors header; ``config`` is JSON inside JSON."""
    key = rng.choice(sorted(table))
    entry = table[key]
    if key == "__metadata__" or not isinstance(entry, dict):
        entry = table["__metadata__"]
        if not isinstance(entry, dict):
            return
        config = json.loads(entry["config"])
        if rng.random() < 0.8 and isinstance(config, dict):
            config[rng.choice([*sorted(config), "new"])] = rng.choice(_VALUES)
            if rng.random() < 0.1:
                config = rng.choice((config, [config], rng.choice(_VALUES)))
            entry["config"] = json.dumps(config)
            return
        entry[rng.choice(sorted(entry))] = rng.choice(("", "2", "x", "{}", "[" * 5000 + "]" * 5000))
    elif rng.random() < 0.3:
        table[key + rng.choice(("", ".weight", "x"))] = table.pop(key)
    else:
        entry[rng.choice(("dtype", "shape"))] = rng.choice((*_VALUES, [100, 0], [0], [2, 50, 4]))


MUTATORS: dict[str, Mutator] = {
    "file": any_file,
    "entropy": damage,
    "stored": any_stored,
    "model": any_model,
    "seed": lambda data, rng: rng.randbytes(8),
}
