// SPDX-License-Identifier: Apache-2.0
// Lanes that nobody has open: given up by command.
#include "tests/model/rig.h"

static unsigned index_of(const struct spool_lane *lane)
{
    unsigned u = 0;
    while (strcmp(rig_upstreams[u], spool_lane_upstream(lane)) != 0)
        u++;
    return u * WEIR_SIGNALS + (unsigned)spool_lane_signal(lane);
}

void rig_play_discard(struct rig *rig, const unsigned *arg)
{
    struct spool_lane *orphans[MODEL_LANES];
    struct weir_err err = {0};
    size_t n = spool_orphan_lanes(rig->spool, orphans, MODEL_LANES);
    uint64_t items;
    unsigned used = arg[0] % MODEL_LANES, failed = calls_failed();
    if (rig->lanes[used] != NULL)
        RIG_CHECK(spool_lane_discard(rig->lanes[used], &items, &err) == WEIR_E_INVALID && items == 0,
                  "a lane that is open was discarded");
    if (n == 0 || rig->evicts) // what goes by itself just now is then not determined
        return;
    unsigned lane = index_of(orphans[arg[0] % n]);
    uint64_t expected = model_items(&rig->m, &rig->m.now.lanes[lane], 0, SPOOL_END);
    int code = spool_lane_discard(orphans[arg[0] % n], &items, &err);
    RIG_CHECK(items == expected, "discarded %llu items, not %llu", (unsigned long long)items,
              (unsigned long long)expected);
    RIG_CHECK(code == WEIR_OK || calls_failed() != failed || calls_dead(), "discard: %s", err.text);
    model_discard(&rig->m, lane);
    if (code == WEIR_OK)
        model_durable(&rig->m);
    else
        model_changed(&rig->m);
}
