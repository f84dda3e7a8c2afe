// SPDX-License-Identifier: Apache-2.0
// A disk under a file system: what is on it for certain, and what is still on its way there. From both it builds the directory that may
// be found after a power cut.
#ifndef TESTS_POWERCUT_DISK_H
#define TESTS_POWERCUT_DISK_H

#include "tests/powercut/trace.h"

#define DISK_FILES   512u
#define DISK_ENTRIES 512u

// Lies about durability: the harness must find each of them.
enum lie {
    LIE_NONE,
    LIE_NO_SYNC,      // no flush does anything, as with MDB_NOSYNC
    LIE_NO_META_SYNC, // the meta page is written and not flushed, as with MDB_NOMETASYNC
    LIE_NO_NAME_SYNC, // the directory's flush is left out
    LIE_UNLINK_FIRST, // segments go before the state says so
    LIE_ONE_SYNC,     // one flush of a file in sixteen is left out
    LIES,
};
extern const char *const lie_names[LIES];

struct indices {
    uint32_t *at;
    size_t n, cap;
};

struct disk_file {
    uint64_t size;   // on the disk
    uint8_t **pages; // on the disk; NULL: zeros
    uint32_t *since; // per page: events before that one are in it already
    size_t pages_n;
    struct indices open; // events of this file that no flush has covered
};

struct disk {
    enum lie lie;
    const struct trace *trace;
    struct disk_file file[DISK_FILES];
    uint32_t files_n;
    struct {
        char name[NAME_MAX_];
        uint32_t file;
    } entry[DISK_ENTRIES];
    size_t entries_n;
    bool there, there_open; // the directory itself: on the disk; made and not flushed
    struct indices names;   // events of names that no flush has covered
};

// What a directory holds, as certain. The order of its files is that of record_start.
void disk_load(struct disk *disk, const char *path);
void disk_free(struct disk *disk);
// Event `i` of disk->trace has happened.
void disk_apply(struct disk *disk, size_t i);
// Makes `path` as it may be found when the power fails now. `under_way`: an event that has begun, SIZE_MAX for none. All of what is
// left open follows from `seed`.
void disk_image(struct disk *disk, size_t under_way, uint64_t seed, const char *path);
// "" or what is different between `path` and the disk with all that is open done: the proof that the record is complete.
void disk_compare(struct disk *disk, const char *path, char *why, size_t cap);

// --- disk.c for image.c ------------------------------------------------------------------------------------------------
uint8_t *page_copy(const uint8_t *page); // NULL: zeros
// Bytes [from, to) of page `index`, as far as the write has them.
void page_write(uint8_t **page, size_t index, const struct event *write, uint64_t from, uint64_t to);
// Zeros behind `size`.
void pages_cut(uint8_t **pages, size_t pages_n, uint64_t size);
void disk_name_done(struct disk *disk, const struct event *event);
// The event has begun: it is done or not until a flush covers it.
void disk_event_open(struct disk *disk, size_t i);

#endif
