// SPDX-License-Identifier: Apache-2.0
// The lanes' state at its largest: it must fit beside the one it replaces, again and again, or nothing is ever freed.
#include "spool_kit.h"
#include "storage/state.h"

Test(spool_state, all_lanes_with_all_intervals_fit)
{
    static struct lane_record lanes[STATE_LANES_MAX];
    const struct lane_record *list[STATE_LANES_MAX];
    char *dir = kit_directory(), path[700];
    struct weir_err err = {0};
    struct state *state;
    struct state_record record = {0};
    snprintf(path, sizeof(path), "%s/state.mdb", dir);
    cr_assert_eq(state_create(path, &state, &err), WEIR_OK, "%s", err.text);
    for (unsigned i = 0; i < STATE_LANES_MAX; i++) {
        lanes[i].signal = (enum weir_signal)(i % WEIR_SIGNALS);
        snprintf(lanes[i].upstream, sizeof(lanes[i].upstream), "%0200u", i / WEIR_SIGNALS);
        for (; lanes[i].set.n < INTERVALS_MAX; lanes[i].set.n++) {
            lanes[i].set.at[lanes[i].set.n].first.number = lanes[i].set.n * 4;
            lanes[i].set.at[lanes[i].set.n].end.number = lanes[i].set.n * 4 + 2;
        }
        list[i] = &lanes[i];
    }
    for (unsigned i = 0; i < 100; i++) // all of them, or some
        cr_assert_eq(state_save(state, &record, list, STATE_LANES_MAX - i % 3 * 50, &err), WEIR_OK, "%s", err.text);
    state_close(state);
    kit_remove_directory(dir);
}
