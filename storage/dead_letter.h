// SPDX-License-Identifier: Apache-2.0
// The records of deadletter.mdb, as FORMAT.md has them. Private to storage.
#ifndef WEIR_STORAGE_DEAD_LETTER_H
#define WEIR_STORAGE_DEAD_LETTER_H

#include "storage/inspect.h"

#define LETTER_HEAD_BYTES   88u
#define LETTER_TOTALS_BYTES 48u
#define LETTER_KEY_BYTES    16u // and the upstream's name

struct letter_totals {
    uint64_t requests, items, bytes; // bytes: of whole pages
};
void letter_totals_put(uint8_t out[LETTER_TOTALS_BYTES], const struct letter_totals *totals);
int letter_totals_get(struct weir_slice value, struct letter_totals *out, struct weir_err *err);
// What a letter takes in the totals.
uint64_t letter_pages_bytes(size_t len);
// Block and request, both big-endian, so that letters lie in the order of the blocks; then the upstream.
size_t letter_key_put(uint8_t *out, uint64_t block, uint64_t request, const char *upstream, size_t upstream_bytes);

// A stored letter, parsed. Slices point into it; nothing ends in a zero.
struct letter_view {
    struct weir_slice upstream, code, message, envelope, frame;
    enum weir_signal signal;
    uint8_t codec;
    uint32_t attempts;
    uint64_t block, request, items, received_ns, stored_ns, raw_bytes;
};
// WEIR_E_CORRUPT, WEIR_E_FORMAT.
int letter_view_parse(struct weir_slice value, struct letter_view *out, struct weir_err *err);
// Appends the request. WEIR_E_CORRUPT, WEIR_E_NOMEM.
int letter_view_decode(const struct letter_view *view, struct weir_buf *out, struct weir_err *err);

#endif
