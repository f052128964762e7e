"""Integer probability tables, rANS coding and bit accounting. Needs numpy and constriction only.

Latents are residual symbols ``round(y - mean)`` with a scale index each; an index names one integer table.
Nothing in here rounds: the same bytes give the same symbols on every machine (docs/SPEC.md, section 10).

>>> tables = ScaleTables.gaussian()
>>> encoder = StageEncoder(tables)
>>> encoder.push(symbols, index)              # int32[n], uint8[n]; once per stage, in decoding order
>>> decoder = StageDecoder(tables, encoder.finish())
>>> symbols = decoder.pull(index)             # once per stage
>>> decoder.finish()                          # raises Corrupt unless everything fits
"""

from tadan.entropy.coder import StageDecoder, StageEncoder
from tadan.entropy.constants import FREQ_BITS, MAX_MAGNITUDE, N_SCALES, SCALE_MAX, SCALE_MIN
from tadan.entropy.cost import estimate_bits, price_step, rate_slope
from tadan.entropy.fit import scale_values
from tadan.entropy.tables import ScaleTables

__all__ = [
    "FREQ_BITS",
    "MAX_MAGNITUDE",
    "N_SCALES",
    "SCALE_MAX",
    "SCALE_MIN",
    "ScaleTables",
    "StageDecoder",
    "StageEncoder",
    "estimate_bits",
    "price_step",
    "rate_slope",
    "scale_values",
]
