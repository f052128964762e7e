/* Kernels, which of them this processor runs, and calls whose rows are shared. See tadan_core.h. */
#include "tadan_core.h"

#include <string.h>

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#define HAS_AVX2 1
#elif defined(__aarch64__)
#include <arm_neon.h>
#define HAS_NEON 1
#elif defined(__wasm_simd128__)
#include <wasm_simd128.h>
#define HAS_SIMD128 1
#endif

/* ------------------------------------------------------------------------------------------------ products */

/* Sums of one block of 16 outputs for up to TADAN_ROWS rows: int32 [rows][16] = rows of x times weights.
 * x: int16 [rows][k], weights: int16 [pairs][16][2], of which `pairs` pairs of inputs are taken. */
#ifndef HAS_SIMD128 /* which is chosen when the module is built, not when it runs */
static void block_scalar(const int16_t *x, int64_t k, int rows, const int16_t *weights, int64_t pairs, int32_t *out) {
    for (int r = 0; r < rows; r++) {
        for (int o = 0; o < TADAN_OUTPUTS; o++) {
            int32_t sum = 0;
            for (int64_t j = 0; j < pairs; j++) {
                const int16_t *w = weights + (j * TADAN_OUTPUTS + o) * 2;
                sum += (int32_t)x[r * k + 2 * j] * w[0] + (int32_t)x[r * k + 2 * j + 1] * w[1];
            }
            out[r * TADAN_OUTPUTS + o] = sum;
        }
    }
}
#endif

#ifdef HAS_AVX2
#if defined(__GNUC__)
#define AVX2 __attribute__((target("avx2")))
#else
#define AVX2
#endif

/* GCC would compute all products first, and run out of registers. */
#if defined(__GNUC__)
#define KEEP_ORDER(a, b) __asm__ volatile("" : "+x"(a), "+x"(b))
#else
#define KEEP_ORDER(a, b)
#endif

AVX2 static inline __m256i pair_of(const int16_t *x) {
    int32_t both;
    memcpy(&both, x, sizeof both);
    return _mm256_set1_epi32(both);
}

AVX2 static void block_avx2(const int16_t *x, int64_t k, int rows, const int16_t *weights, int64_t pairs,
                            int32_t *out) {
    if (rows == TADAN_ROWS) { /* twelve sums with names: an array of them would live in memory */
#define ROWS(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5)
#define START(r) __m256i low##r = _mm256_setzero_si256(), high##r = low##r;
#define ADD(r)                                                            \
    {                                                                     \
        const __m256i value = pair_of(x + (r)*k + 2 * j);                 \
        low##r = _mm256_add_epi32(low##r, _mm256_madd_epi16(value, first));    \
        high##r = _mm256_add_epi32(high##r, _mm256_madd_epi16(value, second)); \
        KEEP_ORDER(low##r, high##r);                                      \
    }
#define END(r)                                                                    \
    _mm256_storeu_si256((__m256i *)(out + (r)*TADAN_OUTPUTS), low##r);            \
    _mm256_storeu_si256((__m256i *)(out + (r)*TADAN_OUTPUTS + 8), high##r);
        ROWS(START)
        for (int64_t j = 0; j < pairs; j++) {
            const __m256i first = _mm256_loadu_si256((const __m256i *)(weights + 32 * j));
            const __m256i second = _mm256_loadu_si256((const __m256i *)(weights + 32 * j + 16));
            ROWS(ADD)
        }
        ROWS(END)
#undef ROWS
#undef START
#undef ADD
#undef END
        return;
    }
    for (int r = 0; r < rows; r++) {
        __m256i low = _mm256_setzero_si256(), high = low;
        for (int64_t j = 0; j < pairs; j++) {
            const __m256i value = pair_of(x + r * k + 2 * j);
            low = _mm256_add_epi32(low, _mm256_madd_epi16(value, _mm256_loadu_si256((const __m256i *)(weights + 32 * j))));
            high = _mm256_add_epi32(
                high, _mm256_madd_epi16(value, _mm256_loadu_si256((const __m256i *)(weights + 32 * j + 16))));
        }
        _mm256_storeu_si256((__m256i *)(out + r * TADAN_OUTPUTS), low);
        _mm256_storeu_si256((__m256i *)(out + r * TADAN_OUTPUTS + 8), high);
    }
}
#endif

#ifdef HAS_NEON
/* Eight outputs of one pair of inputs: even inputs times even weights, then odd ones. */
static inline void neon_pair(int32x4_t *sum, int16x8x2_t w, int16_t even, int16_t odd) {
    sum[0] = vmlal_n_s16(sum[0], vget_low_s16(w.val[0]), even);
    sum[1] = vmlal_n_s16(sum[1], vget_high_s16(w.val[0]), even);
    sum[0] = vmlal_n_s16(sum[0], vget_low_s16(w.val[1]), odd);
    sum[1] = vmlal_n_s16(sum[1], vget_high_s16(w.val[1]), odd);
}

static void block_neon(const int16_t *x, int64_t k, int rows, const int16_t *weights, int64_t pairs, int32_t *out) {
    for (int r = 0; r < rows; r++) {
        int32x4_t sum[4];
        for (int i = 0; i < 4; i++) sum[i] = vdupq_n_s32(0);
        for (int64_t j = 0; j < pairs; j++) {
            const int16_t *w = weights + 32 * j;
            neon_pair(sum, vld2q_s16(w), x[r * k + 2 * j], x[r * k + 2 * j + 1]);
            neon_pair(sum + 2, vld2q_s16(w + 16), x[r * k + 2 * j], x[r * k + 2 * j + 1]);
        }
        for (int i = 0; i < 4; i++) vst1q_s32(out + r * TADAN_OUTPUTS + 4 * i, sum[i]);
    }
}
#endif

#ifdef HAS_SIMD128
/* Eight outputs of four rows: sums and weights stay in the 16 registers of the commonest processors. */
static inline void block_half(const int16_t *x, int64_t k, const int16_t *weights, int64_t pairs, int32_t *out) {
    v128_t low[TADAN_ROWS], high[TADAN_ROWS];
    for (int r = 0; r < TADAN_ROWS; r++) low[r] = high[r] = wasm_i32x4_const_splat(0);
    for (int64_t j = 0; j < pairs; j++) {
        const v128_t first = wasm_v128_load(weights + 32 * j), second = wasm_v128_load(weights + 32 * j + 8);
        for (int r = 0; r < TADAN_ROWS; r++) {
            const v128_t value = wasm_v128_load32_splat(x + r * k + 2 * j);
            low[r] = wasm_i32x4_add(low[r], wasm_i32x4_dot_i16x8(value, first));
            high[r] = wasm_i32x4_add(high[r], wasm_i32x4_dot_i16x8(value, second));
        }
    }
    for (int r = 0; r < TADAN_ROWS; r++) {
        wasm_v128_store(out + r * TADAN_OUTPUTS, low[r]);
        wasm_v128_store(out + r * TADAN_OUTPUTS + 4, high[r]);
    }
}

static void block_simd128(const int16_t *x, int64_t k, int rows, const int16_t *weights, int64_t pairs, int32_t *out) {
    if (rows == TADAN_ROWS) {
        block_half(x, k, weights, pairs, out);
        block_half(x, k, weights + 16, pairs, out + 8);
        return;
    }
    for (int r = 0; r < rows; r++) {
        v128_t sum[4];
        for (int i = 0; i < 4; i++) sum[i] = wasm_i32x4_const_splat(0);
        for (int64_t j = 0; j < pairs; j++) {
            const v128_t value = wasm_v128_load32_splat(x + r * k + 2 * j);
            for (int i = 0; i < 4; i++)
                sum[i] = wasm_i32x4_add(sum[i], wasm_i32x4_dot_i16x8(value, wasm_v128_load(weights + 32 * j + 8 * i)));
        }
        for (int i = 0; i < 4; i++) wasm_v128_store(out + r * TADAN_OUTPUTS + 4 * i, sum[i]);
    }
}
#endif

static int scalar_only; /* for tests */

/* A shift that rounds down, for |value| below 2^30; >> of negative numbers may do anything. */
static inline int32_t down(int32_t value, int32_t shift) {
    return (int32_t)(((UINT32_C(1) << 30) + (uint32_t)value) >> shift) - (int32_t)((UINT32_C(1) << 30) >> shift);
}

/* One value as the 16 bits that are multiplied, or as its two parts. */
static inline void put(int16_t *high, int16_t *low, int32_t value, int split) {
    if (split == 0) {
        *high = (int16_t)value;
    } else {
        *low = (int16_t)(value & ((1 << split) - 1));
        *high = (int16_t)down(value, split);
    }
}

/* A shift that rounds to nearest, halves up, for |total| below 2^62; vectors have none of signed numbers. */
static inline int64_t shifted(int64_t total, int32_t shift) {
    const uint64_t middle = UINT64_C(1) << 62;
    return (int64_t)((middle + (uint64_t)(total + ((int64_t)1 << shift >> 1))) >> shift) - (int64_t)(middle >> shift);
}

static inline int32_t shifted32(int32_t total, int32_t shift) {
    const int32_t sum = total + (int32_t)((UINT32_C(1) << shift) >> 1);
#if defined(__GNUC__)
    return sum >> shift; /* rounds down there */
#else
    return sum >= 0 ? sum >> shift : ~(~sum >> shift);
#endif
}

static inline int32_t clipped32(int32_t value, int32_t low, int32_t high) {
    return value < low ? low : value > high ? high : value;
}

static inline int32_t clipped(int64_t value, int32_t low, int32_t high) {
    return value < low ? low : value > high ? high : (int32_t)value;
}

/* How many values of a window stand side by side each time, 1 if that differs. */
static int64_t side_by_side(const int64_t *where, int64_t n) {
    int64_t run = 1;
    while (run < n && where[run] == where[0] + run) run++;
    for (int64_t i = run; i < n; i++)
        if (n % run || where[i] != where[i - i % run] + i % run) return 1;
    return run;
}

static int64_t padded(int64_t outputs) { return (outputs + TADAN_OUTPUTS - 1) / TADAN_OUTPUTS * TADAN_OUTPUTS; }

static int64_t largest_group(const tadan_twin *twin, int64_t groups) {
    int64_t most = 0;
    for (int64_t g = 0; g < groups; g++) most = twin->group_sizes[g] > most ? twin->group_sizes[g] : most;
    return most;
}

int64_t tadan_scratch(const tadan_twin *twin, int64_t window_inputs) {
    int64_t widest = twin->width > twin->late ? twin->width : twin->late;
    int64_t groups = 0;
    while (twin->group_sizes[groups] > 0) groups++; /* a 0 ends the list */
    const int64_t group = 2 * largest_group(twin, groups);
    widest = widest > group ? widest : group;
    widest = widest > window_inputs + 1 ? widest : window_inputs + 1;
    widest = padded(widest > twin->features ? widest : twin->features);
    return TADAN_CHUNK * widest * (int64_t)(2 * sizeof(int16_t) + 2 * sizeof(int32_t));
}

/* ------------------------------------------------------------------------------------------------ dispatch */

#ifndef HAS_SIMD128
#define F(name) name##_scalar
#define BLOCK block_scalar
#include "tadan_network.inc"
#ifdef __wasm__
#include "tadan_transforms.inc" /* the compiler takes its vectors apart */
#endif
#undef F
#undef BLOCK
#endif

#if defined(HAS_AVX2) && defined(__GNUC__)
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#define F(name) name##_avx2
#define BLOCK block_avx2
#include "tadan_network.inc"
#include "tadan_transforms.inc"
#undef F
#undef BLOCK
#pragma GCC pop_options
#define BEST(name, arguments)                                        \
    do {                                                             \
        if (!scalar_only && __builtin_cpu_supports("avx2")) name##_avx2 arguments; \
        else name##_scalar arguments;                                \
    } while (0)
#elif defined(HAS_NEON)
#define F(name) name##_neon
#define BLOCK block_neon
#include "tadan_network.inc"
#include "tadan_transforms.inc"
#undef F
#undef BLOCK
#define BEST(name, arguments)                     \
    do {                                          \
        if (!scalar_only) name##_neon arguments;  \
        else name##_scalar arguments;             \
    } while (0)
#elif defined(HAS_SIMD128)
#define F(name) name##_simd128
#define BLOCK block_simd128
#include "tadan_network.inc"
#include "tadan_transforms.inc"
#undef F
#undef BLOCK
#define BEST(name, arguments) name##_simd128 arguments
#else
#define BEST(name, arguments) name##_scalar arguments
#endif

const char *tadan_kernel(void) {
    if (scalar_only) return "scalar";
#if defined(HAS_AVX2) && defined(__GNUC__)
    return __builtin_cpu_supports("avx2") ? "avx2" : "scalar";
#elif defined(HAS_NEON)
    return "neon";
#elif defined(HAS_SIMD128)
    return "simd128";
#else
    return "scalar";
#endif
}

void tadan_force_scalar(int on) { scalar_only = on; }

/* The networks of floats have no scalar form but in WebAssembly: elsewhere ONNX Runtime serves. */
#if defined(HAS_AVX2) && defined(__GNUC__)
#define FLOATS(name, arguments) name##_avx2 arguments
int tadan_has_floats(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#elif defined(HAS_NEON) && defined(__GNUC__)
#define FLOATS(name, arguments) name##_neon arguments
int tadan_has_floats(void) { return 1; }
#elif defined(HAS_SIMD128)
#define FLOATS(name, arguments) name##_simd128 arguments
int tadan_has_floats(void) { return 1; }
#elif defined(__wasm__)
#define FLOATS(name, arguments) name##_scalar arguments
int tadan_has_floats(void) { return 1; }
#else
#define FLOATS(name, arguments)
int tadan_has_floats(void) { return 0; }
#endif

/* --------------------------------------------------------------------------------------- calls that are shared */

/* Defines name(force, ...): the fields of its job are its arguments, CALL what is done with rows `first` to `last`. */
#define SCRATCH ((void *)(job->force->scratch + slot * job->force->bytes))
#define SHARED(name, CALL)                                                                \
    static void name##_part(const void *argument, int64_t first, int64_t last, int slot) { \
        const name##_job *job = argument;                                                 \
        (void)first, (void)last, (void)slot, (void)job;                                   \
        CALL;                                                                             \
    }
#define START(name, n) tadan_team_run(force->team, name##_part, &job, n)

typedef struct {
    const tadan_force *force;
    const tadan_layer *layer;
    const void *x;
    int wide;
    int64_t stride;
    int32_t *whole;
    double *products;
} rows_job;

SHARED(rows, BEST(tadan_rows, (job->layer, (const char *)job->x + first * job->stride * (job->wide ? 8 : 4), job->wide,
                               last - first, job->stride, SCRATCH,
                               job->whole ? job->whole + first * job->layer->outputs : 0,
                               job->products ? job->products + first * job->layer->outputs : 0)))

void tadan_product(const tadan_force *force, const tadan_layer *layer, const void *x, int wide, int64_t n,
                   int64_t stride, double *out) {
    const rows_job job = {force, layer, x, wide, stride, 0, out};
    START(rows, n);
}

void tadan_apply(const tadan_force *force, const tadan_layer *layer, const void *x, int wide, int64_t n,
                 int64_t stride, int32_t *out) {
    const rows_job job = {force, layer, x, wide, stride, out, 0};
    START(rows, n);
}

typedef struct {
    const tadan_force *force;
    const tadan_twin *twin;
    const tadan_window *window;
    const int32_t *hyper;
    const int64_t *rows;
    const int16_t *embedded;
    const int64_t *starts;
    int32_t *out;
} hidden_job;

SHARED(hidden, BEST(tadan_hidden, (job->twin, job->window, job->hyper, job->rows + first, job->embedded,
                                   job->starts + first, last - first, SCRATCH, job->out + first * job->twin->width)))

void tadan_hidden(const tadan_force *force, const tadan_twin *twin, const tadan_window *window, const int32_t *hyper,
                  const int64_t *rows, const int16_t *embedded, const int64_t *starts, int64_t n, int32_t *out) {
    const hidden_job job = {force, twin, window, hyper, rows, embedded, starts, out};
    START(hidden, n);
}

typedef struct {
    const tadan_force *force;
    const tadan_twin *twin;
    int32_t group;
    const int32_t *hidden;
    const int64_t *late, *rows, *bias;
    const int32_t *bias32;
    int32_t *mean;
    uint8_t *index;
} predict_job;

SHARED(predict, BEST(tadan_predict, (job->twin, job->group, job->hidden + first * job->twin->width, job->late,
                                     job->rows + first, job->bias, job->bias32, last - first, SCRATCH,
                                     job->mean + first * job->twin->group_sizes[job->group],
                                     job->index + first * job->twin->group_sizes[job->group])))

void tadan_predict(const tadan_force *force, const tadan_twin *twin, int32_t group, const int32_t *hidden,
                   const int64_t *late, const int64_t *rows, const int64_t *bias, const int32_t *bias32, int64_t n,
                   int32_t *mean, uint8_t *index) {
    const predict_job job = {force, twin, group, hidden, late, rows, bias, bias32, mean, index};
    START(predict, n);
}

typedef struct {
    const tadan_force *force;
    const tadan_twin *twin;
    int32_t group;
    const int32_t *y_hat;
    const int64_t *rows, *starts;
    int16_t *embedded;
    int64_t *late;
} reveal_job;

SHARED(reveal, BEST(tadan_reveal, (job->twin, job->group, job->y_hat + first * job->twin->group_sizes[job->group],
                                   job->rows + first, job->starts + first, last - first, SCRATCH, job->embedded,
                                   job->late)))

void tadan_reveal(const tadan_force *force, const tadan_twin *twin, int32_t group, const int32_t *y_hat,
                  const int64_t *rows, const int64_t *starts, int64_t n, int16_t *embedded, int64_t *late) {
    const reveal_job job = {force, twin, group, y_hat, rows, starts, embedded, late};
    START(reveal, n);
}

typedef struct {
    const tadan_force *force;
    const tadan_dense *layer;
    const float *x;
    float *out;
} inlet_job;

SHARED(inlet, FLOATS(tadan_inlet, (job->layer, job->x + first * job->layer->inputs, last - first,
                                   job->out + first * job->layer->outputs)))

void tadan_inlet(const tadan_force *force, const tadan_dense *layer, const float *x, int64_t n, float *out) {
    const inlet_job job = {force, layer, x, out};
    START(inlet, n);
}

typedef struct {
    const tadan_force *force;
    const tadan_wide *block;
    const float *gains, *x;
    const tadan_area *area;
    float *out;
    uint8_t *positive;
} wide_job;

SHARED(wide, FLOATS(tadan_wide_block, (job->block, job->gains, job->x, job->area, first, last, SCRATCH, job->out,
                                       job->positive)))

void tadan_wide_block(const tadan_force *force, const tadan_wide *block, const float *gains, const float *x,
                      const tadan_area *area, int64_t n, float *out, uint8_t *positive) {
    const wide_job job = {force, block, gains, x, area, out, positive};
    START(wide, n);
}

typedef struct {
    const tadan_force *force;
    const tadan_renderer *renderer;
    const float *gains, *body;
    int64_t cols;
    uint8_t *picture;
} render_job;

SHARED(render, FLOATS(tadan_render, (job->renderer, job->gains, job->body, job->cols, first, last, SCRATCH,
                                     job->picture)))

void tadan_render(const tadan_force *force, const tadan_renderer *renderer, const float *gains, const float *body,
                  int64_t cols, int64_t n, uint8_t *picture) {
    const render_job job = {force, renderer, gains, body, cols, picture};
    START(render, n);
}

typedef struct {
    const tadan_force *force;
    const tadan_renderer *renderer;
    const tadan_search *search;
    const float *gains, *body;
    int64_t cols;
    const uint8_t *picture;
    const float *weights;
    double *errors;
    float *towards;
} compare_job;

SHARED(compare, FLOATS(tadan_compare, (job->renderer, job->search, job->gains, job->body, job->cols, first, last,
                                       SCRATCH, job->picture, job->weights, job->errors, job->towards)))

void tadan_compare(const tadan_force *force, const tadan_renderer *renderer, const tadan_search *search,
                   const float *gains, const float *body, int64_t cols, int64_t n, const uint8_t *picture,
                   const float *weights, double *errors, float *towards) {
    const compare_job job = {force, renderer, search, gains, body, cols, picture, weights, errors, towards};
    START(compare, n);
}

typedef struct {
    const tadan_force *force;
    const tadan_dense *project, *expand;
    const float *gains;
    const uint8_t *positive;
    const float *slopes;
    float *out;
} back_job;

SHARED(back, FLOATS(tadan_wide_back, (job->project, job->expand, job->gains,
                                      job->positive + first * job->project->outputs,
                                      job->slopes + first * job->project->inputs, last - first, SCRATCH,
                                      job->out + first * job->project->inputs)))

void tadan_wide_back(const tadan_force *force, const tadan_dense *project, const tadan_dense *expand,
                     const float *gains, const uint8_t *positive, const float *slopes, int64_t n, float *out) {
    const back_job job = {force, project, expand, gains, positive, slopes, out};
    START(back, n);
}

typedef struct {
    const tadan_wide *block;
    const float *x, *more;
    int64_t height, width;
    float *out;
} spread_job;

SHARED(spread, FLOATS(tadan_spread, (job->block, job->x, job->more, job->height, job->width, first, last, job->out)))

void tadan_spread(const tadan_force *force, const tadan_wide *block, const float *x, const float *more, int64_t height,
                  int64_t width, float *out) {
    const spread_job job = {block, x, more, height, width, out};
    START(spread, height * width);
}
