"""All fixed-point formats of the integer networks in one place.

``Qk`` means: the real value is ``integer * 2**-k``. A per-channel k is stored in the model file.

=================  ==========  ======================================================================
quantity           format      range
=================  ==========  ======================================================================
y_hat, z_hat       Q4          saturated to +-Y_LIMIT, +-Z_LIMIT where a network reads them
log magnitude      Q8          0..MAGNITUDE_LIMIT; log(1 + abs(y_hat)), from a table of the model file
embedding          per chan.   +-EMBED_LIMIT
activations        per chan.   0..ACTIVATION_LIMIT (after ReLU)
pre-activation     per chan.   +-PRE_LIMIT; k is PRE_EXTRA above that of the activation
mixing coefficient Q12         +-COEFFICIENT_LIMIT
mean               Q4          +-Y_LIMIT
scale index        Q0          0..N_SCALES - 1
=================  ==========  ======================================================================
"""

LATENT_FRACTION = 4
Y_LIMIT = 2**17 - 1
Z_LIMIT = 2**12 - 1
MAGNITUDE_FRACTION = 8
MAGNITUDE_ENTRIES = 2**14  # of the table; magnitudes beyond count as the last
MAGNITUDE_CLIP = (MAGNITUDE_ENTRIES - 1) / 2**LATENT_FRACTION  # in quantisation steps
MAGNITUDE_LIMIT = 2**11 - 1
EMBED_LIMIT = 2**11 - 1
ACTIVATION_LIMIT = 2**11 - 1  # 11 bits: also an exact TF32 operand
MASK_LIMIT = 2**16 - 1
PRE_EXTRA = 5
PRE_LIMIT = 2**23 - 1
COEFFICIENT_FRACTION = 12
COEFFICIENT_LIMIT = 2**15 - 1

FLOAT32_EXACT = 2**24  # integers below are exact in float32, whatever the order of summation
FLOAT64_EXACT = 2**53
MAX_SPLITS = 8  # beyond, one float64 product is cheaper than the pieces
