// SPDX-License-Identifier: Apache-2.0
// The inside of inspect.h, shared by inspect*, verify* and salvage*. Private to storage.
#ifndef WEIR_STORAGE_INSPECT_PRIV_H
#define WEIR_STORAGE_INSPECT_PRIV_H

#include "storage/inspect.h"
#include "storage/letter_format.h"
#include "storage/segment_read.h"
#include "storage/state.h"

#define INSPECT_PATH_MAX    4096u
#define INSPECT_CHUNK_BYTES (1024u * 1024u) // of a file at a time

// A file of blocks: a segment, or one that was set aside.
struct inspect_source {
    const struct inspect_file *file;
    uint64_t limit;            // where the next segment begins; UINT64_MAX: the last one, or set aside
    struct segment_read *read; // while it is open
    bool tried;                // it was opened once: code, text and end are known
    int code;
    char *text;   // NULL: nothing is wrong, or no memory to say it
    uint64_t end; // behind its last whole block, not beyond limit
};

struct inspect {
    char *directory;
    int directory_fd, lock_fd; // lock_fd -1: there is no LOCK
    struct inspect_file *files;
    size_t files_n, files_cap;
    struct inspect_source *sources; // the segments, ascending, then those set aside
    size_t segments_n, asides_n;
    struct inspect_source *current; // the segment that is open
    struct weir_buf scratch;

    int state_code;
    char state_text[512];
    struct state_record state;
    struct lane_record *lanes; // by upstream and signal
    size_t lanes_n;
    struct spool_interval (*intervals)[INTERVALS_MAX]; // of each lane
    uint64_t *oldest_ns;                               // of each lane
    struct inspect_note *notes;
    size_t notes_n;
    struct weir_buf notes_text; // what they point to
    uint64_t next_block;        // and the counts before it: what the relay will go on with
    struct spool_counts counts;
};

int inspect_path(const struct inspect *inspect, const char *name, char out[INSPECT_PATH_MAX], struct weir_err *err);
const struct inspect_file *inspect_file_of(const struct inspect *inspect, enum inspect_kind kind); // the first, or NULL

// --- inspect_blocks.c
// Makes `sources` of `files`.
int inspect_sources_make(struct inspect *inspect, struct weir_err *err);
// Opens it if it is not, and closes the segment that was open before. WEIR_OK, or source->code.
int inspect_source_open(struct inspect *inspect, struct inspect_source *source, struct weir_err *err);
void inspect_source_close(struct inspect *inspect, struct inspect_source *source);
// The segment that holds `number`, if any does; NULL: before the first.
struct inspect_source *inspect_source_at(struct inspect *inspect, uint64_t number);
// The first block in one file with a whole header, in [from, stop). WEIR_E_NOT_FOUND, WEIR_E_IO, WEIR_E_NOMEM.
int inspect_source_next(struct inspect *inspect, struct inspect_source *source, unsigned signal, uint64_t from,
                        uint64_t stop, struct segment_block *block, struct block_header *header, struct weir_err *err);
// As inspect_block_next, with all that the header says.
int inspect_header_next(struct inspect *inspect, unsigned signal, uint64_t from, uint64_t end, bool aside,
                        struct segment_block *block, struct block_header *header, struct inspect_source **source,
                        struct weir_err *err);
int inspect_value(struct inspect *inspect, struct inspect_source *source, const struct segment_block *block,
                  struct weir_buf *value, struct block_view *view, struct weir_err *err);
// The counts before `number`, from the block there or the one before it. WEIR_E_NOT_FOUND: neither is whole.
int inspect_counts_at(struct inspect *inspect, uint64_t number, struct spool_counts *out, struct weir_err *err);

// --- inspect_state.c
int inspect_state_load(struct inspect *inspect, struct weir_err *err);
void inspect_state_free(struct inspect *inspect);
// Whether the lane still has to get a number in [first, end).
bool inspect_lane_needs(const struct lane_record *lane, uint64_t first, uint64_t end);
// Whether its lane still has to deliver the letter's block.
bool inspect_letter_pending(const struct inspect *inspect, const struct letter_view *view);

// --- inspect_letters.c
// Reads the whole file; its length in *bytes. WEIR_E_IO where a map would end the process.
int inspect_read_through(const char *path, uint64_t *bytes, struct weir_err *err);
// Every letter as it is stored. `damage` NULL: whole, and under its own key; else why not, and the view may be empty. WEIR_E_NOT_FOUND: no file.
typedef int (*inspect_letter_walk_fn)(void *ctx, struct weir_slice key, struct weir_slice value,
                                      const struct letter_view *view, const struct remark *remark, const char *damage,
                                      struct weir_err *err);
int inspect_letters_walk(struct inspect *inspect, inspect_letter_walk_fn each, void *ctx, struct weir_err *err);
// What the file says of each lane; for the caller to free. With version 1 (file_id 0) there is nothing.
int inspect_letter_lanes(struct inspect *inspect, struct letter_totals *totals, struct letter_lanes *out,
                         struct weir_err *err);

#endif
