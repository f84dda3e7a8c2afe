// SPDX-License-Identifier: Apache-2.0
// Reading a file that may be damaged: always by pread, so that a bad sector is an error code. Private to storage.
#ifndef WEIR_STORAGE_FILE_READ_H
#define WEIR_STORAGE_FILE_READ_H

#include <stdatomic.h>
#include <sys/types.h>

#include "proto/base.h"
#include "proto/err.h"

// A place that the disk refuses to read may be a bad sector or a passing fault of its driver. It is tried again until both are
// reached, and counts as damaged from then on: one bad sector must not hold up a lane for ever.
#define FILE_READ_TRIES      5u
#define FILE_READ_GIVE_UP_NS 2000000000u
struct file_read_patience {
    unsigned tries;
    uint64_t ns; // between the first try and the last
};
extern struct file_read_patience file_read_patience; // for tests to shorten, before any thread reads

struct file_read {
    int fd;
    _Atomic uint64_t bytes; // when it was measured last
    dev_t device;
    ino_t inode;
    const char *path;    // the caller's
    atomic_bool refused; // some place was given up
};
// Opens a regular file, without following a link. WEIR_E_NOT_FOUND, WEIR_E_IO, WEIR_E_CORRUPT: no regular file.
int file_read_open(struct file_read *file, const char *path, struct weir_err *err);
void file_read_close(struct file_read *file);
// Looks at its length again.
void file_read_measure(struct file_read *file);
// All of [offset, offset + len), or: WEIR_E_CORRUPT: the file ends before, or the disk has failed at this place often enough; WEIR_E_IO: try
// again later. Failures are remembered for all descriptors of one file. Any thread.
int file_read_at(struct file_read *file, void *out, size_t len, uint64_t offset, struct weir_err *err);
// Whether some place has failed lately that is not given up yet.
bool file_read_waits(void);
// For who cannot go on before it is known whether a place is lost: after a WEIR_E_IO waits a little and returns whether to try again, at
// most so many times. `tries` begins at 0.
bool file_read_try_again(unsigned *tries, unsigned most);

#endif
