// SPDX-License-Identifier: Apache-2.0
// The dead letters of an open spool: looked at, sent again, given up. Nothing here grows with their number. Any thread.
//
// Every letter counts as `dead_lettered` in its lane's ledger until it leaves: redriven (delivered), purged (discarded), or evicted when the
// quota is full. Letters and what became of them change in one transaction; the ledger follows, also after a crash in between.
#ifndef WEIR_STORAGE_LETTERS_H
#define WEIR_STORAGE_LETTERS_H

#include "storage/dead_letter.h"

#define LETTER_UPSTREAM_BYTES 255u
#define LETTER_ID_TEXT        (20u + 1u + 20u + 1u + LETTER_UPSTREAM_BYTES + 1u)
#define LETTERS_AT_ONCE       256u  // changed in one transaction
#define LETTERS_LOOK          4096u // looked at in one call

// Where it came from, and whose it is: stays the same, "48213-17.central".
struct letter_id {
    uint64_t block, item;
    char upstream[LETTER_UPSTREAM_BYTES + 1];
};
const char *letter_id_format(const struct letter_id *id, char out[LETTER_ID_TEXT]);
bool letter_id_parse(const char *text, struct letter_id *out);

// Valid as long as what it was taken from. Texts end in no zero.
struct letter_info {
    struct letter_id id;
    enum weir_signal signal;
    struct weir_slice code, message, envelope; // code and message: of the last refusal
    uint32_t attempts;                         // in all
    uint32_t redrives;                         // part of attempts
    uint64_t items, raw_bytes;
    uint64_t received_ns, stored_ns;
    uint64_t time_min_ns, time_max_ns; // of its items; 0: not known
    uint64_t redriven_ns;              // when it was last sent again; 0: not yet
    bool redrive;                      // to be sent again
    bool settling; // just put here: nothing can be done with it before its block is settled, a moment later
};

struct letter_filter {
    const char *upstream;         // NULL: of all
    int signal;                   // -1: of all
    const char *const *upstreams; // with `upstream` NULL: of these alone; NULL: of all
    size_t upstreams_n;
};

// What a call that goes through the letters came to: the next one begins behind `last`, if there is more.
struct letters_walked {
    bool more;
    struct letter_id last;
    uint64_t letters, items; // given, or changed
    uint64_t skipped;        // could not be changed now: being settled, or being sent
};

// Gives the letters behind `after` (NULL: from the first), oldest block first: at most `limit`, after a look at no more than LETTERS_LOOK; so a page
// may be empty with more to come. `each` must not call the spool. WEIR_E_IO, WEIR_E_CORRUPT, WEIR_E_NOMEM.
typedef void (*letters_each_fn)(void *ctx, const struct letter_info *info);
int spool_letters_list(struct spool *spool, const struct letter_filter *filter, const struct letter_id *after,
                       size_t limit, letters_each_fn each, void *ctx, struct letters_walked *out, struct weir_err *err);

// A copy of one, whatever happens to it meanwhile. WEIR_E_NOT_FOUND.
struct letter;
int spool_letter_get(struct spool *spool, const struct letter_id *id, struct letter **out, struct weir_err *err);
const struct letter_info *letter_info_of(const struct letter *letter);
// Appends the request: up to its raw_bytes. WEIR_E_CORRUPT, WEIR_E_NOMEM.
int letter_decode(const struct letter *letter, struct weir_buf *out, struct weir_err *err);
void letter_free(struct letter *letter);

enum letters_change {
    LETTERS_REDRIVE,   // mark for sending; marked already: nothing changes
    LETTERS_UNREDRIVE, // take the mark back
    LETTERS_PURGE,     // remove: its items are discarded
};
// One. WEIR_E_NOT_FOUND; WEIR_E_AGAIN: it is being settled or sent; WEIR_E_FULL, WEIR_E_IO: nothing was changed.
int spool_letter_change(struct spool *spool, enum letters_change change, const struct letter_id *id,
                        struct weir_err *err);
// Those behind `after`, at most LETTERS_AT_ONCE, in one transaction.
int spool_letters_change(struct spool *spool, enum letters_change change, const struct letter_filter *filter,
                         const struct letter_id *after, struct letters_walked *out, struct weir_err *err);

// --- redrive: by the upstream's worker -------------------------------------------------------------------------------------

// How many letters of an upstream are marked. Cheap.
uint64_t spool_letters_marked(struct spool *spool, const char *upstream);
// The first marked one behind `after` (NULL: of all), which nobody else changes until spool_letter_done or _back. WEIR_E_NOT_FOUND: none behind it;
// WEIR_E_AGAIN: looked at LETTERS_LOOK, go on behind *last; WEIR_E_CORRUPT with a *last that names an upstream: that one is damaged.
int spool_letter_take(struct spool *spool, const char *upstream, const struct letter_id *after, struct letter **out,
                      struct letter_id *last, struct weir_err *err);
// Takes one again that was given back meanwhile. WEIR_E_NOT_FOUND: it is not there to be sent any more.
int spool_letter_hold(struct spool *spool, const struct letter *letter, struct weir_err *err);
// It was delivered: it goes, and so do its items, `rejected` of which a partial success refused. Durable when it returns. When that fails it stays
// marked, and is sent again.
int spool_letter_delivered(struct spool *spool, const struct letter_id *id, uint64_t rejected, struct weir_err *err);
// It was refused again: it stays, unmarked, with that reason.
int spool_letter_refused(struct spool *spool, const struct letter_id *id, const char *code, const char *message,
                         struct weir_err *err);
// It was refused as a whole: these two, which hold its items between them, take its place, both marked. WEIR_E_AGAIN: there are such already;
// WEIR_E_LIMIT, WEIR_E_FULL: there is no room for two. Then it stays.
int spool_letter_split(struct spool *spool, const struct letter_id *id, const struct spool_dead_letter parts[2],
                       struct weir_err *err);
// Later.
void spool_letter_back(struct spool *spool, const struct letter_id *id);

// --- totals ----------------------------------------------------------------------------------------------------------------

struct letters_lane {
    const char *upstream; // valid during the callback
    enum weir_signal signal;
    uint64_t requests, items, bytes; // there are; bytes of whole pages
    uint64_t marked;                 // to be sent again
    // Since the file began.
    uint64_t redriven_requests, purged_requests, evicted_requests;
    uint64_t redriven_items, rejected_items, purged_items, evicted_items; // rejected: part of redriven
};
void spool_letters_lanes(struct spool *spool, void (*each)(void *ctx, const struct letters_lane *lane), void *ctx);

#endif
