// SPDX-License-Identifier: Apache-2.0
// Errors as values: a code to act on and a text for a person. A header-only leaf (libc alone).
//
// A function that can fail returns `int`: WEIR_OK or one of the codes, and fills the `struct weir_err` it was given
// (which may be NULL). The innermost function says what failed, each outer one says with weir_wrap what it was doing:
// "open spool /data: segment seg-000000000000042.mdb: read header: truncated at byte 4096".
#ifndef WEIR_ERR_H
#define WEIR_ERR_H

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum weir_code {
    WEIR_OK = 0,
    WEIR_E_AGAIN,   // nothing there yet: not a failure
    WEIR_E_INVALID, // the input (a request, a file, a key) breaks its rules
    WEIR_E_LIMIT,   // the input is larger or deeper than its limit
    WEIR_E_UNSUPPORTED,
    WEIR_E_NOMEM,
    WEIR_E_IO,        // the disk or the network said no
    WEIR_E_READ_ONLY, // the disk takes no writes at all: a person must see to it
    WEIR_E_FULL,      // no room: disk, map, quota or budget
    WEIR_E_CORRUPT,   // stored bytes do not hold what was written
    WEIR_E_FORMAT,    // stored by a newer version: touch nothing
    WEIR_E_HELD,      // another process holds it
    WEIR_E_NOT_FOUND,
    WEIR_E_CLOSED, // shutting down
};

struct weir_err {
    int code;
    char text[512];
};

// Sets code and text, returns code: `return weir_fail(err, WEIR_E_IO, "open %s: %s", path, strerror(errno));`
__attribute__((format(printf, 3, 4))) static inline int weir_fail(struct weir_err *err, int code, const char *fmt, ...)
{
    if (err != NULL) {
        va_list ap;
        va_start(ap, fmt);
        err->code = code;
        vsnprintf(err->text, sizeof(err->text), fmt, ap);
        va_end(ap);
    }
    return code;
}

// Puts "<context>: " before the text that is there already and returns the code unchanged.
__attribute__((format(printf, 2, 3))) static inline int weir_wrap(struct weir_err *err, const char *fmt, ...)
{
    if (err == NULL)
        return WEIR_E_IO;
    char inner[sizeof(err->text)];
    memcpy(inner, err->text, sizeof(inner));
    inner[sizeof(inner) - 1] = '\0';
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(err->text, sizeof(err->text), fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n + 2 < sizeof(err->text))
        snprintf(err->text + n, sizeof(err->text) - (size_t)n, ": %s", inner);
    return err->code;
}

#endif
