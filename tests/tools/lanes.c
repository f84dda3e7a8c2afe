// SPDX-License-Identifier: Apache-2.0
// Prints what the state of a spool says on the disk, as JSON: what a crash leaves. Only for a spool that nobody holds: it is opened as a
// relay opens it, so that the same commit is found.
//   usage: lanes DIRECTORY
#include <inttypes.h>
#include <stdio.h>

#include "storage/state.h"

static int print_lane(void *ctx, const struct lane_record *lane, struct weir_err *err)
{
    bool *more = ctx;
    printf("%s\n  {\"upstream\": \"%s\", \"signal\": \"%s\", \"delivered\": %" PRIu64 ", \"intervals\": [",
           *more ? "," : "", lane->upstream, weir_signal_name(lane->signal), lane->delivered);
    *more = true;
    for (size_t i = 0; i < lane->set.n; i++)
        printf("%s[%" PRIu64 ", %" PRIu64 "]", i > 0 ? ", " : "", lane->set.at[i].first.number,
               lane->set.at[i].end.number);
    printf("]}");
    return WEIR_OK;
}

int main(int argc, char **argv)
{
    char path[4096];
    struct state *state;
    struct state_record record;
    struct weir_err err;
    bool more = false;
    if (argc != 2 || snprintf(path, sizeof(path), "%s/state.mdb", argv[1]) >= (int)sizeof(path)) {
        fputs("usage: lanes DIRECTORY\n", stderr);
        return 2;
    }
    int code = state_open(path, &state, &err);
    if (code == WEIR_OK) {
        fputs("{\"lanes\": [", stdout);
        code = state_load(state, &record, print_lane, &more, &err);
        printf("\n]}\n");
        state_close(state);
    }
    if (code != WEIR_OK)
        fprintf(stderr, "lanes: %s\n", err.text);
    return code == WEIR_OK ? 0 : 1;
}
