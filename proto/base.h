// SPDX-License-Identifier: Apache-2.0
// Basics every part of weir speaks: signals, byte slices, a growable buffer, clocks, little-endian fields.
// A header-only leaf: it includes libc alone, so that storage, net, proto and relay may all include it without
// reaching across each other.
#ifndef WEIR_BASE_H
#define WEIR_BASE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// OTLP's four signals. The numbers are stored in the spool: never reorder, only append.
enum weir_signal { WEIR_TRACES = 0, WEIR_METRICS = 1, WEIR_LOGS = 2, WEIR_PROFILES = 3 };
#define WEIR_SIGNALS     4
#define WEIR_ALL_SIGNALS ((1u << WEIR_SIGNALS) - 1) // as a bit mask

static inline const char *weir_signal_name(enum weir_signal signal)
{
    static const char *const names[WEIR_SIGNALS] = {"traces", "metrics", "logs", "profiles"};
    assert((unsigned)signal < WEIR_SIGNALS);
    return names[signal];
}

// Bytes that somebody else owns.
struct weir_slice {
    const uint8_t *data;
    size_t len;
};

// Bytes that grow. Zero-initialise, free with weir_buf_free. Growing beyond memory is an error, never an abort.
struct weir_buf {
    uint8_t *data;
    size_t len;
    size_t cap;
};

// Makes room for `more` bytes behind len. Returns false (buffer unchanged) when memory is out or the size overflows.
static inline bool weir_buf_reserve(struct weir_buf *buf, size_t more)
{
    if (more > SIZE_MAX / 2 - buf->len)
        return false;
    size_t need = buf->len + more;
    if (need <= buf->cap)
        return true;
    size_t cap = buf->cap ? buf->cap + buf->cap / 2 : 256;
    if (cap < need)
        cap = need;
    uint8_t *data = (uint8_t *)realloc(buf->data, cap);
    if (data == NULL)
        return false;
    buf->data = data;
    buf->cap = cap;
    return true;
}

static inline bool weir_buf_append(struct weir_buf *buf, const void *data, size_t len)
{
    if (!weir_buf_reserve(buf, len))
        return false;
    if (len > 0)
        memcpy(buf->data + buf->len, data, len);
    buf->len += len;
    return true;
}

static inline void weir_buf_free(struct weir_buf *buf)
{
    free(buf->data);
    *buf = (struct weir_buf){0};
}

// Wall clock, Unix nanoseconds: for people and for stored times.
static inline uint64_t weir_now_unix_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

// Monotonic nanoseconds: for every timeout, delay and rate.
static inline uint64_t weir_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

// Little-endian fields, one by one: stored and sent bytes never depend on a struct's layout.
static inline void weir_put_u16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}
static inline void weir_put_u32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}
static inline void weir_put_u64(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}
static inline uint16_t weir_get_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}
static inline uint32_t weir_get_u32(const uint8_t *p)
{
    uint32_t v = 0;
    for (int i = 3; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}
static inline uint64_t weir_get_u64(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 7; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

#define WEIR_CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define WEIR_COUNT(array)                    (sizeof(array) / sizeof((array)[0]))

#endif
