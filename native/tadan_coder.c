/* Symbols: rANS by stage, what they cost, and whole steps of the entropy model. See tadan_core.h. */
#include "tadan_core.h"

#include <string.h>

/* ---------------------------------------------------------------------------------------------------- rANS */

#define QUANTILE ((UINT32_C(1) << 24) - 1)
#define OFTEN (UINT32_C(3) << 22) /* three symbols of four */

static inline void refill(tadan_stack *stack, const uint32_t *words) {
    if (stack->state >> 32 == 0 && stack->count > 0) stack->state = stack->state << 32 | words[--stack->count];
}

static inline int32_t pop(tadan_stack *stack, const uint32_t *words, const uint32_t *starts, const uint32_t *widths,
                          int32_t entry, int32_t entries) {
    const uint32_t quantile = (uint32_t)stack->state & QUANTILE;
    while (entry + 1 < entries && starts[entry + 1] <= quantile) entry++;
    stack->state = (stack->state >> 24) * widths[entry] + quantile - starts[entry];
    refill(stack, words);
    return entry;
}

/* The encoder starts from 2^32, so that a valid state is never below it. */
static int ended(const tadan_stack *stack) { return stack->count == 0 && stack->state >> 32 == 0; }

int tadan_pull(tadan_stack *stack, const uint32_t *words, const tadan_tables *tables, const uint32_t *escape_starts,
               const uint32_t *escape_widths, int32_t escape_count, const uint8_t *index, int64_t n, int32_t most,
               int32_t *order, int32_t *symbols) {
    int64_t first[257] = {0};
    for (int64_t i = 0; i < n; i++) first[index[i] + 1]++;
    for (int i = 0; i < 256; i++) first[i + 1] += first[i];
    for (int64_t i = 0; i < n; i++) order[first[index[i]]++] = (int32_t)i; /* first[i] is now where group i ends */
    int64_t escapes = 0, at = 0;
    for (int32_t i = 0; i < tables->count; i++) {
        const int64_t offset = tables->offsets[i];
        const int32_t entries = (int32_t)(tables->offsets[i + 1] - offset), half = tables->half_widths[i];
        const uint16_t *guess = tables->guess + 256 * i;
        const uint32_t zero = tables->starts[offset + half], of_zero = tables->widths[offset + half];
        for (; at < first[i]; at++) {
            const uint32_t within = (uint32_t)(stack->state & QUANTILE) - zero;
            if (of_zero >= OFTEN && within < of_zero) { /* a guess that is not looked up: the next one waits for it */
                stack->state = (stack->state >> 24) * of_zero + within;
                refill(stack, words);
                symbols[order[at]] = 0;
                continue;
            }
            const int32_t entry = guess[(stack->state & QUANTILE) >> 16];
            const int32_t slot = pop(stack, words, tables->starts + offset, tables->widths + offset, entry, entries);
            symbols[order[at]] = slot - half;
            escapes += slot == entries - 1;
        }
    }
    if (ended(stack)) return -1;
    if (escapes == 0) return 0;
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++)
        if (symbols[i] > tables->half_widths[index[i]]) order[count++] = (int32_t)i;
    for (int64_t e = 0; e < count; e++)
        symbols[order[e]] = pop(stack, words, escape_starts, escape_widths, 0, escape_count);
    int too_large = 0;
    for (int64_t e = 0; e < count; e++) {
        const int32_t length = symbols[order[e]], bits = 24 - (length + 1);
        const uint32_t quantile = (uint32_t)stack->state & QUANTILE, raw = quantile >> bits;
        stack->state = (stack->state >> 24 << bits) + (quantile & ((UINT32_C(1) << bits) - 1));
        refill(stack, words);
        const int64_t magnitude = ((int64_t)1 << length) + (raw >> 1) + tables->half_widths[index[order[e]]];
        too_large |= magnitude > most;
        symbols[order[e]] = (int32_t)(raw & 1 ? -magnitude : magnitude);
    }
    return ended(stack) ? -1 : too_large ? -2 : 0;
}

static inline double bits_of(const tadan_tables *tables, const double *entries, const double *escapes, uint8_t index,
                             int32_t symbol) {
    const int32_t half = tables->half_widths[index];
    if (symbol >= -half && symbol <= half) return entries[tables->offsets[index] + symbol + half];
    uint32_t excess = (uint32_t)((symbol < 0 ? -symbol : symbol) - half);
    int length = 0;
    while (excess >>= 1) length++;
    return entries[tables->offsets[index] + 2 * half + 1] + escapes[length];
}

double tadan_bits(const tadan_tables *tables, const double *entries, const double *escapes, const uint8_t *index,
                  const int32_t *symbols, int64_t n) {
    double total = 0;
    for (int64_t i = 0; i < n; i++) total += bits_of(tables, entries, escapes, index[i], symbols[i]);
    return total;
}

void tadan_rate(const tadan_tables *tables, const double *entries, const double *escapes, const uint8_t *index,
                const float *y, const int32_t *mean, int64_t n, int32_t most, float *slopes) {
    for (int64_t i = 0; i < n; i++) {
        const float place = y[i] - (float)mean[i] / 64;
        int32_t symbol = place > -most ? place < most - 1 ? (int32_t)place : most - 1 : -most;
        symbol -= (float)symbol > place && symbol > -most; /* down, not towards zero */
        slopes[i] = (float)(bits_of(tables, entries, escapes, index[i], symbol + 1) -
                            bits_of(tables, entries, escapes, index[i], symbol));
    }
}

/* -------------------------------------------------------------------------------------------------- whole steps */

static void predict_step(const tadan_force *force, const tadan_step *step) {
    tadan_predict(force, step->twin, step->group, step->hidden, step->late, step->rows, step->bias, step->bias32,
                  step->n, step->mean, step->index);
}

/* Symbols become latents, which are taken in and put into their plane. */
static void settle_step(const tadan_force *force, const tadan_step *step) {
    const int64_t size = step->twin->group_sizes[step->group];
    for (int64_t i = 0; i < step->n * size; i++) step->symbols[i] = step->symbols[i] * 64 + step->mean[i];
    for (int64_t i = 0; i < step->n; i++)
        memcpy(step->y_hat + step->rows[i] * step->latent + step->channel, step->symbols + i * size,
               sizeof(int32_t) * (size_t)size);
    tadan_reveal(force, step->twin, step->group, step->symbols, step->rows, step->starts, step->n, step->embedded,
                 step->read ? step->late : 0);
}

int tadan_decode_step(const tadan_force *force, const tadan_step *step, tadan_stack *stack, const uint32_t *words,
                      const tadan_tables *tables, const uint32_t *escape_starts, const uint32_t *escape_widths,
                      int32_t escape_count, int32_t most) {
    const int64_t count = step->n * step->twin->group_sizes[step->group];
    predict_step(force, step);
    const int code = tadan_pull(stack, words, tables, escape_starts, escape_widths, escape_count, step->index, count,
                                most, step->order, step->symbols);
    if (code) return code;
    int outside = 0;
    for (int64_t i = 0; i < count; i++) outside |= step->symbols[i] > step->most || step->symbols[i] < -step->most;
    if (outside) return -3;
    settle_step(force, step);
    return 0;
}

double tadan_price_step(const tadan_force *force, const tadan_step *step, const tadan_tables *tables,
                        const double *entries, const double *escapes, const float *y, int32_t *means,
                        uint8_t *indices) {
    const int64_t size = step->twin->group_sizes[step->group];
    const double most = step->most, whole = 6755399441055744.0; /* 1.5 * 2^52: adding it rounds, halves to even */
    predict_step(force, step);
    for (int64_t i = 0; i < step->n; i++) {
        const int64_t at = step->rows[i] * step->latent + step->channel;
        for (int64_t j = 0; j < size; j++) {
            const double place = (double)y[at + j] - (double)step->mean[i * size + j] / 64;
            const double inside = place > -most ? place < most ? place : most : -most;
            step->symbols[i * size + j] = (int32_t)(inside + whole - whole);
        }
        memcpy(means + at, step->mean + i * size, sizeof(int32_t) * (size_t)size);
        memcpy(indices + at, step->index + i * size, (size_t)size);
    }
    const double bits = tadan_bits(tables, entries, escapes, step->index, step->symbols, step->n * size);
    settle_step(force, step);
    return bits;
}
