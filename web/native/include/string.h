/* The two functions of string.h that the core uses; see freestanding.c. */
#ifndef TADAN_STRING_H
#define TADAN_STRING_H
#include <stddef.h>
void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memset(void *to, int value, size_t n);
#endif
