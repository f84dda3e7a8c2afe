// SPDX-License-Identifier: Apache-2.0
// A cut of the power: of what was written and not flushed, each page of 4 KiB is there afterwards or is what it was before, or torn at 512
// bytes. Names and sizes are as they were last: tests/powercut takes those back, too.
#ifndef TESTS_MODEL_POWER_H
#define TESTS_MODEL_POWER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

void power_note(int fd, off_t offset, size_t len); // before a write
void power_flushed(int fd);                        // all that was written to the file is durable
// Takes pages back, as `seed` has it. Nobody uses the files meanwhile.
void power_cut(unsigned seed);

#endif
