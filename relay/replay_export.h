// SPDX-License-Identifier: Apache-2.0
// One request to the upstream. Private to the replay worker, in its thread.
#ifndef WEIR_RELAY_REPLAY_EXPORT_H
#define WEIR_RELAY_REPLAY_EXPORT_H

#include "net/client.h"
#include "proto/encoding.h"
#include "proto/grpc.h"
#include "proto/verdict.h"
#include "relay/config.h"
#include "relay/envelope.h"
#include "relay/fresh.h"
#include "relay/handoff.h"
#include "storage/block.h"

struct replay;
struct replay_lane;
struct secret;

#define EXPORT_BLOCKS_MAX  64
#define EXPORT_KEPT_BYTES  (64u * 1024) // of a body, when nothing is under way
#define EXPORT_HEADERS_MAX (CONFIG_MAX_HEADERS + ENVELOPE_HEADERS_MAX + 8)

// One request under way.
struct export
{
    struct export *next; // in the replay's list of spare ones
    struct replay *replay;
    struct replay_lane *lane;
    struct client_call call;
    uint64_t first, end; // block numbers taken from the lane
    enum fresh_cursor cursor;
    bool part; // of lane->split, which keeps the blocks
    uint32_t item_from,
        item_to;      // a part from this item of its first block up to before that one of its last; 0, 0: whole blocks
    bool taken_over;  // it has ended, and lane->split or lane->refused has it
    bool was_refused; // kept for that, and not because it is too large
    struct verdict refusal;
    struct position
        same_to;  // with a verdict that it was taken before in part: all up to there, or nothing; 0: not known
    bool too_old; // for this upstream: goes to the dead letters
    bool letter;  // a dead letter that is sent again
    uint64_t letter_item;
    bool lane_waits; // a RETRY is the lane's own failure: it backs off
    struct block_view views[EXPORT_BLOCKS_MAX];
    size_t view_count; // 0 of a part of items: then the first two are its first and its last block, for the head
    uint64_t items, raw_bytes, wire_bytes;
    uint64_t oldest_received_ns;
    enum encoding encoding;
    struct weir_buf encoded; // the body, unless stored frames are sent as they lie
    uint8_t prefix[GRPC_PREFIX_LEN];
    struct weir_slice ranges[EXPORT_BLOCKS_MAX + 1];
    struct client_header headers[EXPORT_HEADERS_MAX];
    struct weir_buf kept; // names and values of the kept headers, each ended by a NUL
    char timeout[16], batch_id[128], handoff[HANDOFF_TEXT_MAX];
    struct secret *token; // shown; NULL: none
    uint64_t started_ns;
    uint64_t flow_bytes; // as the governor was told
};

struct export *export_new(struct replay_lane *lane); // NULL: out of memory
void export_free(struct export *export);             // releases its views, keeps the record
const struct block_view *export_last_block(const struct export *export);
// Sends what views hold (or, for a part, `raw`). WEIR_E_CORRUPT, WEIR_E_NOMEM: nothing was sent, the export is still the caller's.
int export_send(struct export *export, const struct weir_slice *raw, struct weir_err *err);

#endif
