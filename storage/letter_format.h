// SPDX-License-Identifier: Apache-2.0
// The records of deadletter.mdb, as FORMAT.md has them. Private to storage.
#ifndef WEIR_STORAGE_LETTER_FORMAT_H
#define WEIR_STORAGE_LETTER_FORMAT_H

#include "storage/letters.h"
#include "storage/lmdb_error.h"
#include "storage/state.h"

#define LETTER_HEAD_V1_BYTES 88u
#define LETTER_HEAD_BYTES    112u
#define LETTER_TOTALS_BYTES  56u
#define LETTER_LANE_BYTES    128u
#define LETTER_KEY_BYTES     16u   // and the upstream's name
#define LETTER_TEXT_MAX      4096u // of code and message each: they come from an upstream
#define REMARK_HEAD_BYTES    32u
#define REMARK_TEXT_MAX      1024u // of code and message each
#define REMARK_BYTES_MAX     (REMARK_HEAD_BYTES + 2u * REMARK_TEXT_MAX + 8u)
#define LETTERS_DATABASES    3u

struct letter_totals {
    uint64_t requests, items, bytes; // bytes: of whole pages
    uint64_t file_id;                // 0: written by version 1
};
void letter_totals_put(uint8_t out[LETTER_TOTALS_BYTES], const struct letter_totals *totals);
int letter_totals_get(struct weir_slice value, struct letter_totals *out, struct weir_err *err);
// What a letter takes in the totals.
uint64_t letter_pages_bytes(size_t len);

struct letter_key {
    uint8_t bytes[LETTER_KEY_BYTES + STATE_UPSTREAM_BYTES];
    size_t len;
};
// Block and item, both big-endian, so that letters lie in the order of the blocks; then the upstream.
void letter_key_put(struct letter_key *out, uint64_t block, uint64_t item, const char *upstream, size_t upstream_bytes);
void letter_key_of(const struct letter_id *id, struct letter_key *out);
bool letter_key_get(struct weir_slice key, struct letter_id *out);

// A stored letter, parsed. Slices point into it; nothing ends in a zero.
struct letter_view {
    struct weir_slice upstream, code, message, envelope, frame;
    uint16_t version;
    enum weir_signal signal;
    uint8_t codec;
    uint32_t attempts;
    uint64_t block, item, items, received_ns, stored_ns, raw_bytes; // version 1: item is the index of the request
    uint64_t time_min_ns, time_max_ns;                              // 0: not known
};
// WEIR_E_CORRUPT, WEIR_E_FORMAT.
int letter_view_parse(struct weir_slice value, struct letter_view *out, struct weir_err *err);
// Its head alone, unchecked: what is in memory's reach of a letter of any size. False: it is none.
bool letter_view_head(struct weir_slice value, struct letter_view *out);
// Appends the request. WEIR_E_CORRUPT, WEIR_E_NOMEM.
int letter_view_decode(const struct letter_view *view, struct weir_buf *out, struct weir_err *err);
// One record: head, upstream, code, message, envelope, frame, checksum.
int letter_encode(const struct spool_dead_letter *letter, struct weir_buf *out, struct weir_err *err);

// What changes about a letter after it was put: none, and it is settled, unmarked, and never was sent again.
struct remark {
    bool settling, redrive;
    uint32_t redrives;
    uint64_t redriven_ns;
    struct weir_slice code, message; // of the last redrive
};
uint32_t remark_put(uint8_t out[REMARK_BYTES_MAX], const struct remark *remark);
int remark_get(struct weir_slice value, struct remark *out, struct weir_err *err);

// Around what was evicted.
struct letter_loss {
    uint64_t first, end, received_first_ns, received_last_ns;
};
// A lane's letters, and how they left since the file began.
struct letter_lane {
    enum weir_signal signal;
    char upstream[STATE_UPSTREAM_BYTES + 1];
    uint64_t requests, items, bytes, marked;
    uint64_t redriven_requests, purged_requests, evicted_requests;
    struct letter_moves moves;
    struct letter_loss loss; // not stored: what was evicted since the ledger was told
};
void letter_lane_put(uint8_t out[LETTER_LANE_BYTES], const struct letter_lane *lane);
int letter_lane_get(struct weir_slice key, struct weir_slice value, struct letter_lane *out, struct weir_err *err);
size_t letter_lane_key(uint8_t out[1 + STATE_UPSTREAM_BYTES], const struct letter_lane *lane);
// The lane of that name in a list that grows; NULL: no memory, or, without `make`, none.
struct letter_lanes {
    struct letter_lane *at;
    size_t n, cap;
};
int letter_lanes_load(MDB_txn *txn, MDB_dbi dbi, struct letter_lanes *out, struct weir_err *err);
struct letter_lane *letter_lane_find(struct letter_lanes *lanes, const char *upstream, size_t upstream_bytes,
                                     enum weir_signal signal, bool make);

#endif
