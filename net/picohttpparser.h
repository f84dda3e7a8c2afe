// SPDX-License-Identifier: Apache-2.0
// What libh2o-evloop exports of picohttpparser without installing its header: declared as in h2o 2.2.5,
// deps/picohttpparser/picohttpparser.h. Private to net/.
#ifndef WEIR_NET_PICOHTTPPARSER_H
#define WEIR_NET_PICOHTTPPARSER_H

#include <stddef.h>
#include <sys/types.h>

struct phr_header {
    const char *name; // NULL: the line continues the header before it
    size_t name_len;
    const char *value;
    size_t value_len;
};

// Bytes of the head, -1 malformed, -2 incomplete. `last_len`: length at the call before, 0 at the first.
int phr_parse_request(const char *buf, size_t len, const char **method, size_t *method_len, const char **path,
                      size_t *path_len, int *minor_version, struct phr_header *headers, size_t *num_headers,
                      size_t last_len);

#endif
