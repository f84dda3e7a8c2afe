// SPDX-License-Identifier: Apache-2.0
// Web pages of other origins may send OTLP/HTTP when they are named (P25): a browser asks before (preflight), and shows a page only answers
// that allow its origin. Stands in front of ingest, before credentials are looked at, for a preflight brings none.
#ifndef WEIR_RELAY_CORS_H
#define WEIR_RELAY_CORS_H

#include "net/exchange.h"

struct cors {
    const char *const *origins; // lower case: "https://app.example.com", "https://*.example.com", "null", "*"
    size_t origin_count;
    uint64_t max_age_s;           // 0: not said
    struct exchange_handler next; // what is no preflight goes there, with the headers that its answer needs
    char max_age[24];             // made by cors_handler
};

// Whether a page of that origin may send. *any: whichever it is.
bool cors_allows(const struct cors *cors, struct weir_slice origin, bool *any);
// For server_options.http; `cors` stays the caller's, unchanged until the server has ended. Any loops.
struct exchange_handler cors_handler(struct cors *cors);

#endif
