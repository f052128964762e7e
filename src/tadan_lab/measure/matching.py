"""The quality of a codec that gives about a wanted file size."""

from dataclasses import dataclass

from PIL import Image

from tadan.errors import InvalidInput
from tadan_lab.measure.codecs import PictureCodec


@dataclass(frozen=True)
class Match:
    """A quality and the file that it gives."""

    quality: int
    data: bytes


def match_size(codec: PictureCodec, image: Image.Image, target_bytes: int) -> Match:
    """Return the quality of ``codec`` whose file of ``image`` is nearest to ``target_bytes``, with that file.

    Bisection: about 7 encodings, and exact as long as the size does not fall when the quality rises; where a codec
    breaks that by a few bytes, the nearest file met on the way. InvalidInput if the target is not positive.
    """
    if target_bytes <= 0:
        raise InvalidInput(f"The wanted size must be positive, got {target_bytes} bytes.")
    met: list[Match] = []
    low, high = 0, len(codec.qualities)  # the first quality that reaches the target has an index in [low, high]
    while low < high:
        middle = (low + high) // 2
        match = _encoded(codec, image, codec.qualities[middle])
        met.append(match)
        if len(match.data) < target_bytes:
            low = middle + 1
        else:
            high = middle
    return min(met, key=lambda match: abs(len(match.data) - target_bytes))


def _encoded(codec: PictureCodec, image: Image.Image, quality: int) -> Match:
    return Match(quality, codec.encode(image, quality))
