"""All fixed-point formats of the integer networks in one place.

``Qk`` means: the real value is ``integer * 2**-k``. A per-channel k is stored in the model file.

=================  ==========  ======================================================================
quantity           format      range
=================  ==========  ======================================================================
y_hat, z_hat       Q6          saturated to +-Y_LIMIT, +-Z_LIMIT where a network reads them
log magnitude      Q10         0..MAGNITUDE_LIMIT; log(1 + abs(y_hat)), from a table of the model file
embedding          per chan.   +-EMBED_LIMIT
activations        per chan.   0..ACTIVATION_LIMIT (after ReLU)
pre-activation     per chan.   +-PRE_LIMIT; k is PRE_EXTRA above that of the activation
mixing coefficient Q12         +-COEFFICIENT_LIMIT
mean               Q6          +-Y_LIMIT
scale index        Q0          0..N_SCALES - 1
=================  ==========  ======================================================================

Two more pre-activations are kept until a group's turn comes: the output of the hidden layer, in the range above, and
the late sums, which are not shifted before they are activations (exact below 2**53).
"""

QUALITIES = 100  # rows of what depends on the quality, which is 1 for the first

LATENT_FRACTION = 6  # with 4 the coarse means cost 2 % at 0.035 bpp, where scales are near 0.1
Y_LIMIT = 2**19 - 1
Z_LIMIT = 2**14 - 1
MAGNITUDE_FRACTION = 10
MAGNITUDE_ENTRIES = 2**16  # of the table; magnitudes beyond count as the last
MAGNITUDE_CLIP = (MAGNITUDE_ENTRIES - 1) / 2**LATENT_FRACTION  # in quantisation steps
MAGNITUDE_LIMIT = 2**13 - 1
EMBED_LIMIT = 2**13 - 1
ACTIVATION_LIMIT = 2**13 - 1  # after ReLU; with 11 bits rates below 0.1 bpp cost 1 % more
MASK_LIMIT = 2**16 - 1
PRE_EXTRA = 5
PRE_LIMIT = 2**23 - 1
COEFFICIENT_FRACTION = 12
COEFFICIENT_LIMIT = 2**15 - 1

FLOAT32_EXACT = 2**24  # integers below are exact in float32, whatever the order of summation
FLOAT64_EXACT = 2**53
MAX_SPLITS = 8  # beyond, one float64 product is cheaper than the pieces
