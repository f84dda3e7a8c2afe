// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/common/options.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

void usage_error(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputs("\n", stderr);
    exit(2);
}

uint64_t option_uint(const char *option, const char *text, uint64_t max)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || value > max)
        usage_error("--%s: a number from 0 to %llu is needed, not \"%s\"", option, (unsigned long long)max, text);
    return value;
}

void option_address(const char *option, const char *text, char host[256], uint16_t *port)
{
    const char *at = strstr(text, "://");
    at = at ? at + 3 : text;
    const char *colon = strrchr(at, ':');
    size_t len = colon ? (size_t)(colon - at) : 0;
    if (colon == NULL || len >= 256)
        usage_error("--%s: HOST:PORT is needed, not \"%s\"", option, text);
    *port = (uint16_t)option_uint(option, colon + 1, 65535);
    if (len >= 2 && at[0] == '[' && at[len - 1] == ']') {
        at++;
        len -= 2;
    }
    memcpy(host, len ? at : "127.0.0.1", len ? len : sizeof("127.0.0.1"));
    host[len ? len : sizeof("127.0.0.1") - 1] = '\0';
}

enum weir_signal option_signal(const char *option, const char *text)
{
    for (int i = 0; i < WEIR_SIGNALS; i++) {
        if (strcmp(text, weir_signal_name((enum weir_signal)i)) == 0)
            return (enum weir_signal)i;
    }
    usage_error("--%s: traces, metrics, logs or profiles is needed, not \"%s\"", option, text);
}
