// SPDX-License-Identifier: Apache-2.0
// Looking into a spool that no process uses: its files, segments, blocks, lanes and dead letters. Nothing is ever written, not even to a
// file that is damaged, and nothing in it is trusted: works on a copy, on a read-only file system, and for a user who may only
// read. verify.h finds what is wrong, salvage.h saves what is whole. One thread.
#ifndef WEIR_STORAGE_INSPECT_H
#define WEIR_STORAGE_INSPECT_H

#include "storage/dead_letter.h"
#include "storage/stats.h"

struct inspect;

// Takes a shared lock on LOCK for as long as it is open, so that no relay starts meanwhile (no LOCK: a copied spool). WEIR_E_HELD: a
// process holds it, the text names it. WEIR_E_INVALID: no directory, or no spool. WEIR_E_FORMAT: its state was written by a newer
// version. WEIR_E_IO: not to be read at all. WEIR_E_NOMEM. Damage of single files is no error here.
int inspect_open(const char *directory, struct inspect **out, struct weir_err *err);
void inspect_close(struct inspect *inspect);
const char *inspect_directory(const struct inspect *inspect);

// --- files -------------------------------------------------------------------------------------------------------------

enum inspect_kind {
    INSPECT_LOCK,
    INSPECT_SEGMENT,
    INSPECT_STATE,
    INSPECT_DEAD_LETTERS,
    INSPECT_TEMPORARY, // being made when the process ended: nothing in it was ever acknowledged
    INSPECT_ASIDE,     // *.damaged
    INSPECT_OTHER,     // not the spool's, or not a regular file
};
#define INSPECT_KINDS 7
const char *inspect_kind_name(enum inspect_kind kind); // "segment", "dead letters", ...
struct inspect_file {
    char name[256];
    enum inspect_kind kind;
    bool is_segment; // a segment, or one that was set aside: `first` is in its name
    uint64_t first;
    uint64_t bytes;      // length
    uint64_t disk_bytes; // blocks on disk
};
// All of the directory but names that begin with a dot, sorted by name. Valid until inspect_close.
size_t inspect_files(const struct inspect *inspect, const struct inspect_file **out);

// --- segments ------------------------------------------------------------------------------------------------------------

struct inspect_segment {
    const struct inspect_file *file;
    int code;            // WEIR_OK; WEIR_E_CORRUPT: not one whole block in it; WEIR_E_FORMAT: newer; WEIR_E_IO
    char text[512];      // what is wrong with it, as far as it was looked at; "": nothing
    uint64_t first;      // as in its name
    uint64_t end;        // behind its last whole block; no further than where the next segment begins
    uint64_t created_ns; // 0: not known
    uint64_t blocks[WEIR_SIGNALS], items[WEIR_SIGNALS],
        raw_bytes[WEIR_SIGNALS]; // in its range, by the counts around it
    uint64_t stored_bytes;
    uint64_t received_first_ns, received_last_ns; // of its first and its last block; 0: not known
};
// The n-th segment in order of numbers, damaged ones too, those set aside not. Reads a few pages. WEIR_E_NOT_FOUND: there are no more;
// WEIR_E_NOMEM. What is wrong with the file is in out->code.
int inspect_segment(struct inspect *inspect, size_t n, struct inspect_segment *out, struct weir_err *err);
size_t inspect_segments_count(const struct inspect *inspect);

// --- blocks --------------------------------------------------------------------------------------------------------------

#define INSPECT_ANY WEIR_SIGNALS // instead of a signal: blocks of all of them

struct inspect_block {
    uint64_t number;
    enum weir_signal signal;
    uint32_t requests;
    uint64_t items, raw_bytes, stored_bytes; // stored: of the whole value
    uint64_t received_first_ns, received_last_ns, time_min_ns, time_max_ns;
    uint32_t envelope_bytes;
    const struct inspect_file *file;
    uint64_t offset; // where its value lies in the file
};
// The first whole header of a block of `signal` (or INSPECT_ANY) with a number in [from, end), in any segment. `aside`: also from files that
// were set aside, where no segment has that number. Sequential use is fast. WEIR_E_NOT_FOUND: there is none. WEIR_E_IO: the file cannot
// be read at `from`; WEIR_E_NOMEM.
int inspect_block_next(struct inspect *inspect, unsigned signal, uint64_t from, uint64_t end, bool aside,
                       struct inspect_block *out, struct weir_err *err);
// Reads the block's value into `value` (emptied first) and parses it, checksums included: *view points into it. WEIR_E_CORRUPT, WEIR_E_IO,
// WEIR_E_NOMEM. block_view_decode gives the requests.
int inspect_block_read(struct inspect *inspect, const struct inspect_block *block, struct weir_buf *value,
                       struct block_view *view, struct weir_err *err);
// Appends the envelope alone, unchecked.
int inspect_block_envelope(struct inspect *inspect, const struct inspect_block *block, struct weir_buf *out,
                           struct weir_err *err);

// --- state and lanes -------------------------------------------------------------------------------------------------------

struct inspect_state {
    int code;               // WEIR_OK; WEIR_E_NOT_FOUND: no state.mdb; WEIR_E_CORRUPT: lanes are not known; WEIR_E_IO
    char text[512];         // why
    char instance[37];      // UUID of the spool; "": not known
    uint64_t next_block;    // numbers below it have been used, as the state and the last segments say
    uint64_t next_in_state; // as the state alone says
    uint64_t items_total[WEIR_SIGNALS], raw_bytes_total[WEIR_SIGNALS],
        stored_bytes_total; // before next_block, since the spool began
};
void inspect_state(struct inspect *inspect, struct inspect_state *out);

struct inspect_lane {
    char upstream[256];
    enum weir_signal signal;
    bool following;                // gets new blocks when the relay runs
    struct spool_lane_stats stats; // as `weir status` has them; oldest_received_ns 0 where its block cannot be read
    uint64_t pending_blocks;
    const struct spool_interval *intervals; // ascending; SPOOL_END: follows new blocks. Valid until inspect_close
    size_t intervals_n;
};
// The n-th lane, by upstream and signal. WEIR_E_NOT_FOUND: there are no more.
int inspect_lane(struct inspect *inspect, size_t n, struct inspect_lane *out);

// --- notes -----------------------------------------------------------------------------------------------------------------

struct inspect_note {
    const char *key;
    struct weir_slice value;
    const char *damage; // NULL: it is whole
};
// Returns how many there are, by key. Valid until inspect_close.
size_t inspect_notes(const struct inspect *inspect, const struct inspect_note **out);

// --- dead letters -----------------------------------------------------------------------------------------------------------

struct inspect_letter {
    struct spool_dead_letter letter; // `raw` only when it was asked for
    uint64_t raw_bytes;              // length of the request
    uint64_t stored_ns;              // when it was put there
    uint32_t redrives;               // how often it was sent again and refused, last at redriven_ns
    uint64_t redriven_ns;            // 0: never
    bool redrive;                    // to be sent again
    bool settling;                   // its block is to be delivered again: the relay will forget it
    const char *damage;              // why the rest is not to be relied on; NULL: it is whole
};
// A code other than WEIR_OK ends the walk and is returned.
typedef int (*inspect_letter_fn)(void *ctx, const struct inspect_letter *letter, struct weir_err *err);
struct inspect_letters {
    int code;       // WEIR_OK; WEIR_E_NOT_FOUND: there never were any; WEIR_E_CORRUPT, WEIR_E_FORMAT, WEIR_E_IO
    char text[512]; // why
    uint64_t requests, items, bytes; // as its totals say
    bool counted;                    // by lane too: not by version 1
};
void inspect_letters(struct inspect *inspect, struct inspect_letters *out);
// Each dead letter in order of block and request; valid during the call. `decode`: with the request's bytes. WEIR_E_CORRUPT: the file's tree is
// damaged; WEIR_E_NOMEM.
int inspect_letters_each(struct inspect *inspect, bool decode, inspect_letter_fn each, void *ctx, struct weir_err *err);

#endif
