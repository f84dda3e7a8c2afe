// SPDX-License-Identifier: Apache-2.0
#include "relay/header.h"

#include <ctype.h>
#include <strings.h>

bool header_name_is_token(struct weir_slice name, bool lower)
{
    if (name.len == 0 || name.len > HEADER_NAME_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        uint8_t c = name.data[i];
        bool upper = c >= 'A' && c <= 'Z';
        bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (upper && !lower);
        if (!word && (c == 0 || strchr("!#$%&'*+-.^_`|~", c) == NULL))
            return false;
    }
    return true;
}

static bool begins(struct weir_slice name, const char *prefix)
{
    size_t len = strlen(prefix);
    return name.len >= len && memcmp(name.data, prefix, len) == 0;
}

bool header_may_be_kept(struct weir_slice name)
{
    static const char *const prefixes[] = {"content-", "grpc-", "proxy-", "weir-"};
    static const char *const names[] = {
        "accept", "accept-encoding", "connection", "expect",   "host",       "http2-settings",   "keep-alive",
        "te",     "trailer",         "upgrade",    "trailers", "user-agent", "transfer-encoding"};
    for (size_t i = 0; i < WEIR_COUNT(prefixes); i++)
        if (begins(name, prefixes[i]))
            return false;
    for (size_t i = 0; i < WEIR_COUNT(names); i++)
        if (name.len == strlen(names[i]) && memcmp(name.data, names[i], name.len) == 0)
            return false;
    return true;
}

bool header_value_is_sound(struct weir_slice value)
{
    for (size_t i = 0; i < value.len; i++)
        if (value.data[i] < 0x20 || value.data[i] > 0x7e)
            return false;
    return value.len == 0 || (value.data[0] != ' ' && value.data[value.len - 1] != ' ');
}

bool header_is_secret(const char *name)
{
    static const char *const words[] = {"auth",     "token",  "key",        "secret",
                                        "password", "cookie", "credential", "signature"};
    for (size_t i = 0; i < WEIR_COUNT(words); i++)
        if (strcasestr(name, words[i]) != NULL)
            return true;
    return false;
}
