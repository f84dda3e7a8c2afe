// SPDX-License-Identifier: Apache-2.0
// Takes over the system calls that change a directory, of this program and of liblmdb inside it, and writes down what they did.
#ifndef TESTS_POWERCUT_RECORD_H
#define TESTS_POWERCUT_RECORD_H

#include "tests/powercut/disk.h"

// Records what happens to `directory` (and the making of it) into `trace` until record_stop. `disk`: what is there now, from disk_load;
// its files keep their identities.
void record_start(const char *directory, struct disk *disk, struct trace *trace);
void record_stop(void);
bool record_is_on(void);
// Where a promise stands among the changes. Runs `then` under the recorder's lock. Any thread.
void record_promise(const struct promise *promise, void (*then)(void *ctx, const struct promise *promise), void *ctx);

#endif
