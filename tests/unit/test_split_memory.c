// SPDX-License-Identifier: Apache-2.0
// Parts of a block when memory runs out at any allocation: without its index the same is cut, and a part that does not fit is an error.
#include <criterion/criterion.h>

#include "proto/otlp_split.h"
#include "proto/wire.h"
#include "relay/replay_priv.h"
#include "tests/unit/fault_memory.h"

#define ITEMS 20000u

TestSuite(split_memory, .timeout = 120);

static long countdown; // the allocation that fails; 0: none
static long failures;

static int fault_ask(struct fault_at *at)
{
    if (at->call != FAULT_MEMORY || countdown == 0 || --countdown > 0)
        return 0;
    failures++;
    return ENOMEM;
}

// One request of a thousand scopes.
static struct weir_buf logs_request(void)
{
    struct weir_buf request = {0}, resource = {0}, scope = {0};
    char text[40] = {0};
    for (unsigned i = 0; i < ITEMS; i++) {
        cr_assert(wire_put_bytes(&scope, 2, text, i % sizeof(text)));
        if (i % 20 < 19)
            continue;
        cr_assert(wire_put_bytes(&resource, 2, scope.data, scope.len));
        scope.len = 0;
    }
    cr_assert(wire_put_bytes(&request, 1, resource.data, resource.len));
    weir_buf_free(&scope);
    weir_buf_free(&resource);
    return request;
}

static struct part_block block_of(const struct weir_buf *request)
{
    struct part_block block = {.open = true, .signal = WEIR_LOGS, .count = 1};
    block.requests = calloc(2, sizeof(*block.requests));
    cr_assert(block.requests != NULL && weir_buf_append(&block.raw, request->data, request->len));
    block.requests[1] = (struct part_request){.offset = request->len, .item = ITEMS};
    return block;
}

Test(split_memory, without_its_index_a_request_is_cut_all_the_same)
{
    struct weir_buf request = logs_request(), expected = {0};
    int without_index = 0, without_part = 0, rc;
    cr_assert_eq(
        otlp_split_part(WEIR_LOGS, (struct weir_slice){request.data, request.len}, 7, ITEMS - 9, &expected, NULL),
        WEIR_OK);
    fault_thread_works = true; // so that its memory fails beneath a sanitizer, too
    for (long i = 1; i < 1000; i++) {
        struct part_block block = block_of(&request);
        struct weir_slice part = {NULL, 0};
        struct weir_err err = {0};
        failures = 0;
        countdown = i;
        fault_memory_on = true;
        uint64_t place = part_cut(&block, 0, ITEMS, ITEMS / 2 - 7);
        bool failed_here = failures > 0;
        rc = part_make(&block, 7, ITEMS - 9, &part, &err);
        fault_memory_on = false;
        cr_expect_eq(place, ITEMS / 2, "allocation %ld", i);
        cr_expect(rc == WEIR_OK || (rc == WEIR_E_NOMEM && !failed_here), "allocation %ld: %s", i, err.text);
        if (rc == WEIR_OK)
            cr_expect(part.len == expected.len && memcmp(part.data, expected.data, part.len) == 0);
        without_index += failed_here;
        without_part += rc == WEIR_E_NOMEM;
        part_block_close(&block);
        if (failures == 0)
            break;
    }
    cr_expect_eq(failures, 0, "it ends");
    if (FAULT_MEMORY_FAILS) {
        cr_expect_geq(without_index, 3);
        cr_expect_geq(without_part, 1);
    }
    weir_buf_free(&request);
    weir_buf_free(&expected);
}
