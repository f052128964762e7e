"""A shared codec with the bundled model, and streams changed on purpose under correct checksums."""

from dataclasses import replace

from tadan.bitstream import read_stream, write_stream
from tadan.codec.codec import Codec

CODEC = Codec(threads=1)


def with_header(data, **fields):
    """The stream with other header fields and fresh checksums."""
    stream = read_stream(data)
    return write_stream(replace(stream, header=replace(stream.header, **fields)))


def with_tile(data, **fields):
    """The stream with another content of its first tile and fresh checksums."""
    stream = read_stream(data)
    return write_stream(replace(stream, tiles=(replace(stream.tiles[0], **fields), *stream.tiles[1:])))
