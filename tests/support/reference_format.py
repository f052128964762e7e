"""Bytes to tiles and words to symbols, docs/SPEC.md sections 1 to 5 and 10: part of the reference decoder."""


class Invalid(Exception):
    """The file or the model breaks a rule of the specification."""


def check(condition, what):
    if not condition:
        raise Invalid(what)


# --- container, 1 to 5 ----------------------------------------------------------------------------------------------


def crc32(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xEDB88320 if crc & 1 else 0)  # 0x04C11DB7 reflected
    return crc ^ 0xFFFFFFFF


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        check(0 <= n <= len(self.data) - self.at, "truncated")
        self.at += n
        return self.data[self.at - n : self.at]

    def u8(self):
        return self.take(1)[0]

    def u32(self):
        return int.from_bytes(self.take(4), "little")

    def varint(self):
        value, shift = 0, 0
        while True:
            byte = self.u8()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                check(byte or shift == 7, "varint not in its shortest form")
                return value
            check(shift < 63, "varint too long")


def parse(data):
    """File bytes -> header fields and tiles (dict)."""
    reader = Reader(data)
    check(reader.take(8) == b"\x89TDN\r\n\x1a\n", "magic")
    check(reader.u8() == 1, "version")
    fields = Reader(reader.take(reader.varint()))
    end = reader.at
    check(reader.u32() == crc32(data[:end]), "header CRC")
    width, height = fields.varint(), fields.varint()
    mode, content, quality, side = fields.u8(), fields.u8(), fields.u8(), fields.varint()
    check(mode <= 3 and content <= 3 and 1 <= quality <= 100 and side % 64 == 0, "header field")
    model_id = fields.take(16) if content == 0 else None
    if content:
        schedule = None
    elif fields.u8() == 0:
        schedule = fields.take(fields.u8()).decode("ascii")
    else:
        groups, rows, cols = fields.u8(), fields.u8(), fields.u8()
        schedule = [[[fields.varint() for _ in range(cols)] for _ in range(rows)] for _ in range(groups)]
    check(fields.at == len(fields.data), "header length")
    sizes = [
        (min(side or height, height - y), min(side or width, width - x))
        for y in range(0, height, side or height)
        for x in range(0, width, side or width)
    ]
    tiles = []
    while reader.at < len(data):
        start = reader.at
        tag = reader.take(1)
        payload = Reader(reader.take(reader.varint()))
        end = reader.at
        check(reader.u32() == crc32(data[start:end]), "section CRC")
        if tag == b"T":
            check(len(sizes) == 1 or payload.varint() == len(tiles), "number of the tile")
            content_crc = payload.u32()
            alpha = payload.take(payload.varint()) if mode >= 2 else None
            tiles.append({"crc": content_crc, "alpha": alpha, "words": payload.take(len(payload.data) - payload.at)})
    check(len(tiles) == len(sizes), "number of tiles")
    for tile, size in zip(tiles, sizes, strict=True):
        tile["size"] = size
    return {"mode": mode, "quality": quality, "model_id": model_id, "schedule": schedule, "tiles": tiles}


# --- entropy coding, 10 ---------------------------------------------------------------------------------------------


class Rans:
    def __init__(self, tables, data):
        check(len(data) % 4 == 0 and len(data) >= 8, "number of words")
        self.words = [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]
        check(self.words[0], "first word is zero")
        self.state, self.next = (self.words[0] << 32) + self.words[1], 2
        self.tables = tables

    def entry(self, frequencies):
        """Decode one entry of an alphabet whose frequencies sum to 65536."""
        u, low = self.state % 2**24, 0
        for number, frequency in enumerate(frequencies):
            if u < low + 256 * frequency:
                self.advance(low, 256 * frequency)
                return number
            low += 256 * frequency
        raise Invalid("a table does not sum to 65536")

    def raw(self, k):
        f = 2 ** (23 - k)
        v = self.state % 2**24 // f
        self.advance(v * f, f)
        return v

    def advance(self, c, f):
        self.state = f * (self.state // 2**24) + self.state % 2**24 - c
        if self.state < 2**32:
            check(self.next < len(self.words), "words exhausted")
            self.state = (self.state << 32) + self.words[self.next]
            self.next += 1

    def stage(self, index):
        """10.3: scale indices -> symbols."""
        symbols, escaped = [0] * len(index), []
        for t, frequencies in enumerate(self.tables):
            half = len(frequencies) // 2 - 1
            for n in (n for n, i in enumerate(index) if i == t):
                slot = self.entry(frequencies)
                symbols[n] = slot - half
                if slot == 2 * half + 1:
                    escaped.append(n)
        escaped.sort()
        lengths = [self.entry([2 ** (15 - k) for k in range(12)] + [2] * 8) for _ in escaped]
        for n, k in zip(escaped, lengths, strict=True):
            v = self.raw(k)
            magnitude = len(self.tables[index[n]]) // 2 - 1 + 2**k + v // 2
            symbols[n] = -magnitude if v % 2 else magnitude
        return symbols

    def finish(self):
        check(self.state == 2**32 and self.next == len(self.words), "words left over")
