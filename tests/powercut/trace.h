// SPDX-License-Identifier: Apache-2.0
// What a run did, in order: every change of the spool's directory as a disk is asked for it, and among them what was promised to whom.
#ifndef TESTS_POWERCUT_TRACE_H
#define TESTS_POWERCUT_TRACE_H

#include "proto/base.h"

#define PAGE      4096u
#define SECTOR    512u
#define NAME_MAX_ 40u

enum promise_kind {
    PROMISE_APPEND,    // a block is handed over: it may be there from now on
    PROMISE_ACK,       // it is there from now on
    PROMISE_MAYBE,     // the lane may exist from now on, with any of the blocks there are
    PROMISE_LANE,      // it exists, and gets every block that is handed over from now on
    PROMISE_LEAVE,     // it gets no more blocks, and keeps what it has
    PROMISE_SETTLE,    // a block may have left the lane from now on
    PROMISE_SYNC,      // what was settled so far has left
    PROMISE_LETTER,    // a dead letter may be there from now on
    PROMISE_LETTER_OK, // it is
    PROMISE_PURGE,     // it may be gone from now on
    PROMISE_REPLAY,    // what the lane had may be back in it from now on
    // What a spool that was opened showed: it read it from the disk, so that it is certain from then on.
    PROMISE_FOUND,  // the block is in the lane
    PROMISE_ABSENT, // it is not
    PROMISE_LEDGER, // the lane's items: `number` delivered, `end` in dead letters
};

struct promise {
    uint8_t kind, signal, stream;
    uint8_t lane;    // upstream * WEIR_SIGNALS + signal
    uint8_t buried;  // SETTLE: as a dead letter
    uint32_t seed;   // which block: the seed of its content
    uint32_t end;    // LEDGER
    uint32_t len;    // APPEND: of its content
    uint64_t number; // SETTLE: the block's number as it was read
};

enum event_kind {
    EVENT_WRITE, // `data` NULL: zeros
    EVENT_SIZE,  // truncated or allocated: the file has `offset` bytes now
    EVENT_SYNC,  // of a file
    EVENT_SYNC_NAMES,
    EVENT_SYNC_PARENT,
    EVENT_SYNC_ALL,
    EVENT_MKDIR, // the spool's directory itself
    EVENT_CREATE,
    EVENT_RENAME,
    EVENT_UNLINK,
    EVENT_PROMISE,
};

struct event {
    uint8_t kind;
    bool through;  // WRITE: by a descriptor with O_DSYNC
    uint32_t file; // identity: names come and go
    uint64_t offset, len;
    uint64_t at_ns; // when, by clock_now
    uint8_t *data;
    char name[NAME_MAX_], to[NAME_MAX_];
    struct promise promise;
};

struct trace {
    struct event *at;
    size_t n, cap;
};

void trace_add(struct trace *trace, struct event event); // takes event.data over
void trace_free(struct trace *trace);
// To a file and back: a run with free threads repeats by its record alone. False: cannot be written or read.
bool trace_save(const struct trace *trace, const char *path);
bool trace_load(struct trace *trace, const char *path);

// --- randomness that repeats ------------------------------------------------------------------------------------------
struct dice {
    uint64_t x;
};
static inline uint64_t mix(uint64_t x)
{
    x += 0x9E3779B97F4A7C15ull;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ x >> 27) * 0x94D049BB133111EBull;
    return x ^ x >> 31;
}
static inline uint64_t mix4(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    return mix(mix(mix(mix(a) ^ b) ^ c) ^ d);
}
static inline uint64_t roll(struct dice *dice, uint64_t n) // [0, n); 0 when n is 0
{
    dice->x++;
    return n == 0 ? 0 : mix(dice->x) % n;
}

#endif
