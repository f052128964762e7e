/* What the core needs of a C library, and nothing else: WebAssembly has none. Memory is handed out by the caller
 * (web/src/core.ts), from __heap_base on. */
#include <stddef.h>
#include <string.h>

void *memcpy(void *restrict to, const void *restrict from, size_t n) {
    unsigned char *a = to;
    const unsigned char *b = from;
    while (n--) *a++ = *b++;
    return to;
}

void *memset(void *to, int value, size_t n) {
    unsigned char *a = to;
    while (n--) *a++ = (unsigned char)value;
    return to;
}
