// SPDX-License-Identifier: Apache-2.0
// One bad item at the end of a request of 60 MB, looked for as the replay worker does: the time that it spends on choosing where to cut and on
// making the parts, in all, and the longest single stop between two exports.  usage: bench_split
#include <stdio.h>

#include "proto/wire.h"
#include "relay/replay_priv.h"

// Items of `filling` bytes and four, each in a metric of its own or all in one; so many in a scope, of which each resource has so many. 0: all.
static const struct layout {
    const char *name;
    enum weir_signal signal;
    uint64_t items;
    size_t filling;
    bool metric_each;
    uint64_t in_scope, in_resource;
} layouts[] = {
    {"items", WEIR_LOGS, 1000000, 56, false, 0, 0},     {"resources", WEIR_LOGS, 1000000, 52, false, 1, 1},
    {"scopes", WEIR_LOGS, 1000000, 54, false, 1, 0},    {"thousands", WEIR_LOGS, 1000000, 56, false, 1000, 1000},
    {"metrics", WEIR_METRICS, 1000000, 52, true, 0, 0}, {"points", WEIR_METRICS, 1000000, 56, false, 0, 0},
    {"tiny items", WEIR_LOGS, 6000000, 6, false, 0, 0},
};

static void nest(struct weir_buf *out, uint32_t number, struct weir_buf *content)
{
    bool good = wire_put_bytes(out, number, content->data, content->len);
    assert(good);
    content->len = 0;
}

static void make_request(const struct layout *layout, struct weir_buf *request)
{
    struct weir_buf resource = {0}, scope = {0}, metric = {0}, data = {0}, item = {0};
    static const char filling[64];
    bool metrics = layout->signal == WEIR_METRICS;
    uint64_t n = layout->items, in_scope = layout->in_scope > 0 ? layout->in_scope : n;
    uint64_t in_resource = layout->in_resource > 0 ? layout->in_resource : n;
    for (uint64_t i = 1; i <= n; i++) {
        bool good = wire_put_bytes(&item, 3, filling, layout->filling);
        assert(good);
        nest(metrics ? &data : &scope, metrics ? 1 : 2, &item);
        if (metrics && (layout->metric_each || i == n)) {
            nest(&metric, 5, &data);
            nest(&scope, 2, &metric);
        }
        if (i % in_scope == 0)
            nest(&resource, 2, &scope);
        if (i % in_resource == 0)
            nest(request, 1, &resource);
    }
    struct weir_buf *all[] = {&resource, &scope, &metric, &data, &item};
    for (size_t i = 0; i < WEIR_COUNT(all); i++)
        weir_buf_free(all[i]);
}

struct clock {
    uint64_t begin_ns, total_ns, longest_ns, stops;
};

static void stop_ends(struct clock *clock)
{
    uint64_t ns = weir_now_ns() - clock->begin_ns;
    clock->total_ns += ns;
    clock->longest_ns = ns > clock->longest_ns ? ns : clock->longest_ns;
    clock->stops++;
    clock->begin_ns = weir_now_ns();
}

static uint64_t halve(struct part_block *block, uint64_t from, uint64_t to)
{
    uint64_t middle = to - from < 2 ? 0 : part_cut(block, from, to, from + (to - from) / 2);
    return middle > 0 ? middle : to;
}

static void make(struct part_block *block, uint64_t from, uint64_t to)
{
    struct weir_slice part;
    int rc = part_make(block, from, to, &part, NULL);
    assert(rc == WEIR_OK);
}

// As replay_split.c goes about it: the half that is next is chosen once when the whole is refused, and once more when it is sent.
static struct clock look_for(struct part_block *block, uint64_t n, uint64_t poison)
{
    uint64_t at = 0, bad_end = n;
    struct clock clock = {.begin_ns = weir_now_ns()};
    halve(block, at, bad_end);
    for (;;) {
        uint64_t to = halve(block, at, bad_end);
        make(block, at, to);
        stop_ends(&clock);
        if (poison >= to) {
            at = to;
        } else {
            bad_end = to;
            if (halve(block, at, to) == to)
                break;
        }
    }
    make(block, at, bad_end); // the dead letter
    if (bad_end < n)
        make(block, bad_end, n);
    stop_ends(&clock);
    return clock;
}

static void bench_layout(const struct layout *layout)
{
    struct part_block block = {.signal = layout->signal, .count = 1, .open = true};
    uint64_t n = layout->items;
    make_request(layout, &block.raw);
    block.requests = calloc(2, sizeof(*block.requests));
    assert(block.requests != NULL);
    block.requests[1] = (struct part_request){.offset = block.raw.len, .item = n};
    struct clock clock = look_for(&block, n, n - 1);
    printf("split %-10s %5.1f MB %8llu items  in all %7.1f ms in %llu stops  longest %6.1f ms\n", layout->name,
           (double)block.raw.len / 1e6, (unsigned long long)n, (double)clock.total_ns / 1e6,
           (unsigned long long)clock.stops, (double)clock.longest_ns / 1e6);
    part_block_close(&block);
}

int main(void)
{
    for (size_t i = 0; i < WEIR_COUNT(layouts); i++)
        bench_layout(&layouts[i]);
    return 0;
}
