"""Every number that the meaning of an entropy-coded stream depends on. Changing one changes the format.

======================  ======================================================================================
frequency               uint32 in units of 2**-FREQ_BITS; the entries of one table sum to exactly 2**FREQ_BITS
scale                   float, in quantisation steps: standard deviation of y - mean
scale index             uint8, row of the tables; the exact integer network emits it
residual symbol         int32, round(y - mean), |symbol| <= MAX_MAGNITUDE
stream                  little-endian uint32 words, first decoded stage first
======================  ======================================================================================
"""

# The scales of the Gaussian tables, log-spaced. Number and lower end as in Minnen et al. 2018 (CompressAI and
# tensorflow/compression use 64 scales from 0.11 to 256): below 0.11 a symbol costs less than 1e-4 bit anyway.
N_SCALES = 64
SCALE_MIN = 0.11
SCALE_MAX = 256.0

# Resolution of the tables. 16 bits bound the price of a "certain" symbol (about 1e-4 bit, 5 bytes for 400,000 of them)
# and leave 8 bits of head-room to the 24 bits of precision inside the rANS coder.
FREQ_BITS = 16

# Precision of constriction's default models, in bits. Frequencies are shifted up to it without rounding.
CODER_BITS = 24

# Two-sided probability left to the escape entry, at most: a Gaussian table ends at L = 4 sigma. Narrower, and Gaussian
# tails pay for escapes (about 0.02 bit a symbol at 3 sigma and scale 256); wider, and the minimum frequency of 1 in the
# far tail takes probability from the middle. At 4 sigma the loss is below 0.0001 bit up to scale 20, 0.005 bit
# (0.05 %) at scale 256.
TAIL_MASS = 2.0**-14

# Widest table: 2 * 2047 + 1 symbols and the escape. The widest Gaussian here has 1026; a bound for files and fits.
MAX_HALF_WIDTH = 2047

# Largest |symbol|; the encoder refuses more, the decoder calls it corrupt. 2**20 steps are far beyond 16-bit pictures.
MAX_MAGNITUDE = 1 << 20

# An escaped symbol has excess e = |symbol| - L in 1 .. 2**20 - 1. Its payload is k = floor(log2(e)), the k low bits
# of e, and a sign bit: Exp-Golomb of order 0 (Elias gamma). k = 0..11 costs k + 1 bits as in the classical unary code;
# the remaining 2**-12 is shared by k = 12..19 at 15 bits each. All are powers of two: the cost in bits is an integer.
ESCAPE_LENGTH_FREQS: tuple[int, ...] = (*(1 << (FREQ_BITS - 1 - k) for k in range(12)), *(8 * (2,)))

# The coder starts from the smallest full state instead of constriction's empty one: 4 bytes more per stream, and then
# a decoder that lacks bytes *provably* falls below it, so damage is noticed in the stage where it begins.
INITIAL_WORDS: tuple[int, int] = (0, 1)
INITIAL_STATE = 1 << 32
