// SPDX-License-Identifier: Apache-2.0
// What one weir tells the next about the data of an export, so that this can tell a repetition (origins.h has the whole argument):
//
//   weir-batch:   INSTANCE/SIGNAL/FIRST-LAST[/I0-I1]   the origin's spool, its blocks; of a part that begins or ends within a block
//                                                      from this item of the first one to that of the last
//   weir-handoff: SCOPE/FROM/TO/LOW                    e.g. 8f14e45fceea167a/17/42/9 or 8f14e45fceea167a/17.100/17.200/9
//
// SCOPE: 16 hex digits, what block numbers are meant in (replay_handoff.c makes it). [FROM, TO): the positions that the export covers, BLOCK or
// BLOCK.ITEM: all of that signal in there is in this request. LOW: a block number, below which the origin needs nothing any more, also after a crash.
#ifndef WEIR_RELAY_HANDOFF_H
#define WEIR_RELAY_HANDOFF_H

#include "relay/positions.h"

#define HANDOFF_BATCH_HEADER "weir-batch"
#define HANDOFF_HEADER       "weir-handoff"
// An answer's: "all", with OK: all of it had been stored before, and nothing was stored now. "part/POSITION", with a refusal (OUT_OF_RANGE, 413):
// some of it was stored before, all up to that position or nothing up to there, so that it must come in parts, of which each is there or is not.
#define HANDOFF_REPEAT_HEADER "weir-repeat"
#define HANDOFF_REPEAT_ALL    "all"
#define HANDOFF_TEXT_MAX      100 // of weir-handoff, its NUL included
#define HANDOFF_REPEAT_MAX    40  // of weir-repeat, its NUL included
#define HANDOFF_BYTES         56  // stored

struct handoff {
    uint8_t instance[16]; // of the origin's spool
    enum weir_signal signal;
    uint64_t scope;
    struct position_span span;
    uint64_t low;
};

// Reads the two headers of a request for `signal`. False: they are not what a weir sends.
bool handoff_parse(struct weir_slice batch, struct weir_slice text, enum weir_signal signal, struct handoff *out);
void handoff_format(const struct handoff *handoff, char out[HANDOFF_TEXT_MAX]);  // weir-handoff
void handoff_format_part(struct position same_to, char out[HANDOFF_REPEAT_MAX]); // weir-repeat
bool handoff_parse_part(struct weir_slice repeat, struct position *same_to);     // false: it is another
// As it is stored beside the data, whose signal is known there.
void handoff_put(const struct handoff *handoff, uint8_t out[HANDOFF_BYTES]);
bool handoff_get(struct weir_slice bytes, enum weir_signal signal, struct handoff *out); // false: no such bytes

#endif
