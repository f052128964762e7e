/* The integer core of Tadan: what stands between the bytes of a file and its latents.
 *
 * C99, no dependencies but threads where there are some, and no state but a switch for tests: every buffer comes from
 * the caller, so that the same source serves the Python package (through ctypes) and WebAssembly. What leads to latents
 * is integers only; the caller proves that no sum overflows (tadan/exact/native.py) and checks sizes.
 */
#ifndef TADAN_CORE_H
#define TADAN_CORE_H

#include <stdint.h>

#if defined(_WIN32)
#define TADAN_API __declspec(dllexport)
#elif defined(__wasm__)
#define TADAN_API /* the linker is told what is exported (web/build.mjs) */
#else
#define TADAN_API __attribute__((visibility("default")))
#endif

#define TADAN_OUTPUTS 16 /* outputs that are packed together */
#if defined(__wasm__)
#define TADAN_ROWS 4 /* rows that are multiplied together; vectors are half as wide there */
#else
#define TADAN_ROWS 6
#endif
#define TADAN_CHUNK 48   /* rows, or positions, that are worked on together */

/* Name of the kernel that this processor runs: "avx2", "neon", "simd128" or "scalar". */
TADAN_API const char *tadan_kernel(void);

/* Use the scalar kernel from now on (1), or the best one again (0); for tests. */
TADAN_API void tadan_force_scalar(int on);

/* Threads that share the rows of calls, the caller's included; 0 where there are none. One call at a time. */
typedef struct tadan_team tadan_team;
TADAN_API tadan_team *tadan_team_start(int threads);
TADAN_API void tadan_team_end(tadan_team *team);

/* Call work(job, first, last, slot) for parts of at most TADAN_CHUNK rows; slot: number of the thread, from 0. */
typedef void (*tadan_work)(const void *job, int64_t first, int64_t last, int slot);
void tadan_team_run(tadan_team *team, tadan_work work, const void *job, int64_t rows);

/* Who works, and scratch of `bytes` for each of them. */
typedef struct {
    tadan_team *team;
    uint8_t *scratch;
    int64_t bytes;
} tadan_force;

/* An integer layer: out = clip((x times weights + bias + half) >> shift, low, high), half = 1 << shift >> 1.
 *
 * weights: int16 [ceil(outputs / 16)][k / 2][16][2], k = inputs rounded up to even, zeros where there are none.
 * split: 0 if |x| fits 16 bits, else the number of low bits that are cut off so that both parts do.
 * direct: inputs of at most this magnitude need no split, whatever their products; 0: there is no such bound.
 * chunk: pairs of inputs whose products can be added in 32 bits; the sums of chunks are added in 64.
 * narrow: 1 if everything before the shift fits 32 bits, whatever the inputs are.
 * All vectors have as many entries as the packed weights have outputs. */
typedef struct {
    const int16_t *weights;
    const int64_t *bias;
    const int32_t *bias32, *shift, *low, *high; /* bias32: the same if narrow */
    int64_t inputs, k, outputs, chunk;
    int32_t split, narrow, direct;
} tadan_layer;

/* n rows of x, `stride` values apart; wide 0: float32, 1: float64.
 * Scratch: TADAN_CHUNK times 2 * k int16, and outputs rounded up to 16 int32.
 * out: [n][outputs]. tadan_product leaves bias, shift and clip out. */
TADAN_API void tadan_product(const tadan_force *force, const tadan_layer *layer, const void *x, int wide, int64_t n,
                             int64_t stride, double *out);
TADAN_API void tadan_apply(const tadan_force *force, const tadan_layer *layer, const void *x, int wide, int64_t n,
                           int64_t stride, int32_t *out);

/* The entropy network of one model. Sizes in channels; arrays of groups have one entry a model group. */
typedef struct {
    const tadan_layer *hidden, *embed, *late_in, *late_out, *outlet; /* all but the first: of each group */
    const int32_t *group_sizes, *embed_starts;                       /* of each group */
    const int32_t *base_shift;                                       /* [hidden], of the window */
    const int64_t *late_shift;                                       /* [late] */
    const int64_t *late_bias;                                        /* [groups][late], half a unit of the shift added */
    const int16_t *magnitude;                                        /* log magnitudes of 0, 1, ... */
    int64_t magnitudes, width, late, features;                       /* width: of the hidden layer */
    int32_t y_limit, activation_limit, pre_limit, pre_extra, most_magnitude; /* the last: of the table */
} tadan_twin;

/* What the window sees under one visibility pattern: inputs of `layer` (bias, shift and clip unused) are values of the
 * embedded plane, at `where` from the position's own first value; bias int32 [width]. layer 0: nothing is seen. */
typedef struct {
    const tadan_layer *layer;
    const int64_t *where;
    const int32_t *bias;
} tadan_window;

/* Bytes of scratch that each thread needs in the three functions below. */
TADAN_API int64_t tadan_scratch(const tadan_twin *twin, int64_t window_inputs);

/* Hidden layer at n positions: out int32 [n][width].
 * rows: of hyper, int32 [rows][width]. embedded: int16 plane; starts: of each position, its own first value in it. */
TADAN_API void tadan_hidden(const tadan_force *force, const tadan_twin *twin, const tadan_window *window,
                            const int32_t *hyper, const int64_t *rows, const int16_t *embedded, const int64_t *starts,
                            int64_t n, int32_t *out);

/* Distribution of group `group` at n positions: mean int32 and index uint8, both [n][size of the group].
 * late: int64 plane [rows][late] of sums. bias, bias32: of the quality, [2 * size rounded up to 16]. */
TADAN_API void tadan_predict(const tadan_force *force, const tadan_twin *twin, int32_t group, const int32_t *hidden,
                             const int64_t *late, const int64_t *rows, const int64_t *bias, const int32_t *bias32,
                             int64_t n, int32_t *mean, uint8_t *index);

/* Take in decoded latents of group `group` at n positions: y_hat int32 [n][size of the group], Q6.
 * embedded, late: as above, written to; late 0: nobody will read the sums. */
TADAN_API void tadan_reveal(const tadan_force *force, const tadan_twin *twin, int32_t group, const int32_t *y_hat,
                            const int64_t *rows, const int64_t *starts, int64_t n, int16_t *embedded, int64_t *late);

/* A layer of floats: out = x times weights + bias. weights: [outputs / 16][inputs][16], outputs a multiple of 16. */
typedef struct {
    const float *weights, *bias;
    int64_t inputs, outputs;
} tadan_dense;

/* A residual block at 1/16: depthwise convolution, gain, wide layers with a ReLU between, gain.
 * spatial: [kernel][kernel][channels]. */
typedef struct {
    const float *spatial, *spatial_bias;
    tadan_dense expand, project;
    int64_t kernel;
} tadan_wide;

/* Part of a plane of height x width positions: its first row and column, and its columns. */
typedef struct {
    int64_t height, width, top, left, cols;
} tadan_area;

/* From the body at 1/16 to pixels: to_grid of each of side x side grid points, `blocks` modulated blocks, samples of a
 * cell of cell x cell pixels in levels. Biases of modulate hold those of expand and the 1 of the scale. */
typedef struct {
    const tadan_dense *to_grid, *modulate, *expand, *project;
    tadan_dense outlet;
    int32_t blocks, side, cell;
} tadan_renderer;

/* Whether this processor has what the functions of floats below need; without it they do nothing. */
TADAN_API int tadan_has_floats(void);

/* n rows of x [n][inputs] -> out [n][outputs]. */
TADAN_API void tadan_inlet(const tadan_force *force, const tadan_dense *layer, const float *x, int64_t n, float *out);

/* A block at the n positions of an area, row by row: x, the whole plane -> out, the area. gains: [2][channels].
 * positive: uint8 [n][outputs of expand], set to where the ReLU passes; or 0.
 * Scratch: float TADAN_CHUNK times the channels and the wide layer's outputs. */
TADAN_API void tadan_wide_block(const tadan_force *force, const tadan_wide *block, const float *gains, const float *x,
                                const tadan_area *area, int64_t n, float *out, uint8_t *positive);

/* Body, [n][width], `cols` positions a row -> picture, uint8 RGB. gains: [blocks][grid].
 * Scratch: float TADAN_CHUNK times (grid + hidden + samples + blocks * 2 * hidden). */
TADAN_API void tadan_render(const tadan_force *force, const tadan_renderer *renderer, const float *gains,
                            const float *body, int64_t cols, int64_t n, uint8_t *picture);

/* Layers of the renderer's adjoint, weights transposed, and axes of colour (rows) along which errors are weighed. */
typedef struct {
    const tadan_dense *to_grid, *modulate, *expand, *project;
    tadan_dense outlet;
    const float *axes;
} tadan_search;

/* Weighted squared error of what the body shows against `picture`, uint8 RGB, summed over each position: errors [n].
 * weights: [rows of cells][columns of cells][3]. towards: its derivative by the body, like it; or 0.
 * Scratch: float TADAN_CHUNK times (2 * grid + (5 * blocks + 1) * hidden + samples). */
TADAN_API void tadan_compare(const tadan_force *force, const tadan_renderer *renderer, const tadan_search *search,
                             const float *gains, const float *body, int64_t cols, int64_t n, const uint8_t *picture,
                             const float *weights, double *errors, float *towards);

/* Adjoint of a block's layers: derivative by its output, [n][channels] -> by what its convolution gave.
 * project, expand: weights transposed. positive: of tadan_wide_block. Scratch as there. */
TADAN_API void tadan_wide_back(const tadan_force *force, const tadan_dense *project, const tadan_dense *expand,
                               const float *gains, const uint8_t *positive, const float *slopes, int64_t n, float *out);

/* Adjoint of a block's convolution, on a plane of n positions, and what its shortcut passes on. */
TADAN_API void tadan_spread(const tadan_force *force, const tadan_wide *block, const float *x, const float *more,
                            int64_t height, int64_t width, float *out);

/* A rANS stack (docs/SPEC.md, section 7): `count` words, the last one on top, and the state above them. */
typedef struct {
    uint64_t state;
    int64_t count;
} tadan_stack;

/* Tables of all scale indices, one after the other: table i has the entries offsets[i] to offsets[i + 1]. starts are
 * cumulative frequencies in units of 2^-24. guess[256 * i + b]: the entry of table i that holds the quantile b << 16. */
typedef struct {
    const uint32_t *starts, *widths;
    const int64_t *offsets;
    const uint16_t *guess;
    const int32_t *half_widths;
    int32_t count;
} tadan_tables;

/* Symbols of one stage, by their scale indices: 0, or -1 if the data ended, -2 if a magnitude exceeds `most`.
 * escape_starts, escape_widths: of the `escape_count` length classes. order: int32 [n], scratch; n is below 2^31. */
TADAN_API int tadan_pull(tadan_stack *stack, const uint32_t *words, const tadan_tables *tables,
                         const uint32_t *escape_starts, const uint32_t *escape_widths, int32_t escape_count,
                         const uint8_t *index, int64_t n, int32_t most, int32_t *order, int32_t *symbols);

/* The latents of a model group at n positions, coded together. */
typedef struct {
    const tadan_twin *twin;
    const int32_t *hidden;         /* [n][width], of tadan_hidden */
    const int64_t *rows, *starts;  /* as above */
    const int64_t *bias;           /* of the outlet */
    const int32_t *bias32;
    int16_t *embedded;             /* planes, as above */
    int64_t *late;
    int32_t *y_hat;                /* plane [rows][latent], Q6 */
    int32_t *mean, *symbols;       /* scratch [n][size of the group] */
    uint8_t *index;
    int32_t *order;
    int64_t n, latent, channel;    /* channel: the first one of the group */
    int32_t group, read, most;     /* read: whether a later group reads the sums. most: largest magnitude of a symbol */
} tadan_step;

/* Predict, decode symbols and take them in; returns as tadan_pull, or -3 if a symbol exceeds the step's `most`. */
TADAN_API int tadan_decode_step(const tadan_force *force, const tadan_step *step, tadan_stack *stack,
                                const uint32_t *words, const tadan_tables *tables, const uint32_t *escape_starts,
                                const uint32_t *escape_widths, int32_t escape_count, int32_t most);

/* Predict, round y [rows][latent] around the means, and take that in; returns its ideal code length as tadan_bits.
 * means, indices: planes like y_hat, of which the step's part is set. */
TADAN_API double tadan_price_step(const tadan_force *force, const tadan_step *step, const tadan_tables *tables,
                                  const double *entries, const double *escapes, const float *y, int32_t *means,
                                  uint8_t *indices);

/* Ideal code length of n symbols by their scale indices, bounded as for coding. entries: bits of every entry of the
 * tables. escapes: bits of the length classes, payload included. */
TADAN_API double tadan_bits(const tadan_tables *tables, const double *entries, const double *escapes,
                            const uint8_t *index, const int32_t *symbols, int64_t n);

/* Derivative of the code length, linear between integers, by latents y [n] (rounded around mean, Q6): slopes [n]. */
TADAN_API void tadan_rate(const tadan_tables *tables, const double *entries, const double *escapes,
                          const uint8_t *index, const float *y, const int32_t *mean, int64_t n, int32_t most,
                          float *slopes);

#endif
