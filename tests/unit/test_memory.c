// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "relay/memory.h"

#define PIECES      32768
#define PIECE_BYTES 1024

static char *pieces[PIECES];

static long anonymous_kib(void)
{
    char line[256];
    long kib = 0;
    FILE *file = fopen("/proc/self/status", "re");
    cr_assert_not_null(file);
    while (fgets(line, sizeof(line), file) != NULL)
        if (strncmp(line, "RssAnon:", 8) == 0)
            kib = strtol(line + 8, NULL, 10);
    fclose(file);
    return kib;
}

Test(memory, what_lies_between_used_pieces_goes_back)
{
    struct memory_watch watch = {0};
    for (int i = 0; i < PIECES; i++) {
        cr_assert_not_null(pieces[i] = malloc(PIECE_BYTES));
        memset(pieces[i], i, PIECE_BYTES);
    }
    long all = anonymous_kib();
    for (int i = 0; i < PIECES - 1; i++) // the last one keeps malloc from shortening the heap
        free(pieces[i]);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) // their malloc is another
    cr_expect_gt(anonymous_kib(), all - 4096, "malloc keeps it");
    cr_expect(memory_give_back(&watch, 1));
    cr_expect_lt(anonymous_kib(), all - PIECES * PIECE_BYTES / 1024 * 3 / 4);
#else
    (void)all;
    memory_give_back(&watch, 1);
#endif
    cr_expect_eq(watch.due_ns, 1 + MEMORY_LOOK_MS * UINT64_C(1000000));
    free(pieces[PIECES - 1]);
}

Test(memory, it_is_looked_at_now_and_then)
{
    struct memory_watch watch = {.due_ns = 5};
    cr_expect_not(memory_give_back(&watch, 4));
    cr_expect_eq(watch.due_ns, 5);
    cr_expect_not(memory_give_back(&watch, 5), "there is little");
    cr_expect_gt(watch.due_ns, 5);
}
