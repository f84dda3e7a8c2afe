// SPDX-License-Identifier: Apache-2.0
// Memory for requests that are not durable yet: who gets how much of it, and who has to give it back.
//
// Nobody may hold room that others need by sending little: what a head declares is promised ahead to half of the budget at most, the rest as
// the bytes come; and where there is no room left, requests that come slowly make place (they are refused, with a delay, and may come again).
#include "relay/ingest_priv.h"

#define PROMISE_AHEAD_BYTES (1024u * 1024u)
#define SLOW_AFTER_NS       UINT64_C(1000000000)
#define SLOW_BYTES_A_SECOND (1024u * 1024u) // who sends at least so much is never told to make place
#define SLOW_TEXT           "too much data waits to become durable, and this request came slowly: try again"

// --- promises ---------------------------------------------------------------------------------------------------------

static bool promise_try(struct request *request, uint64_t bytes)
{
    struct ingest_budget *budget = request->ingest->options.budget;
    uint64_t more = bytes - request->promised_bytes;
    uint64_t before = atomic_fetch_add_explicit(&budget->promised, more, memory_order_relaxed);
    if (before + more > budget->max_bytes) {
        atomic_fetch_sub_explicit(&budget->promised, more, memory_order_relaxed);
        return false;
    }
    request->promised_bytes = bytes;
    return true;
}

static uint64_t held_bytes(const struct request *request)
{
    return request->raw.len + (request->decoder != NULL ? decoder_held_bytes(request->decoder) : 0);
}

// Bytes a second since its head, apart from the time in which we did not read. UINT64_MAX: too early to say.
static uint64_t pace(const struct request *request, uint64_t now_ns)
{
    uint64_t paused_ns = ingest_paused_ns(request->ingest, now_ns) - request->paused_before_ns;
    uint64_t ns = now_ns - request->started_ns;
    ns = ns > paused_ns ? ns - paused_ns : 0;
    return ns < SLOW_AFTER_NS ? UINT64_MAX : (uint64_t)((double)request->wire_bytes * 1e9 / (double)ns);
}

// The slowest of those that hold something, beside `but`; NULL: none is slow.
static struct request *find_slowest(const struct request *but)
{
    uint64_t now_ns = weir_now_ns(), least = SLOW_BYTES_A_SECOND;
    struct request *slowest = NULL;
    for (struct request *r = but->ingest->receiving; r != NULL; r = r->receiving_next) {
        uint64_t bytes = r == but || r->promised_bytes == 0 ? UINT64_MAX : pace(r, now_ns);
        if (bytes < least) {
            least = bytes;
            slowest = r;
        }
    }
    return slowest;
}

bool ingest_promise(struct request *request, uint64_t bytes)
{
    if (bytes <= request->promised_bytes)
        return true;
    while (!promise_try(request, bytes)) {
        struct request *slowest = find_slowest(request);
        if (slowest == NULL)
            return false;
        ingest_request_refuse(slowest, REFUSAL_BUSY, SLOW_TEXT);
    }
    return true;
}

bool ingest_promise_ahead(struct request *request)
{
    struct ingest_budget *budget = request->ingest->options.budget;
    uint64_t bytes = request->declared_bytes < PROMISE_AHEAD_BYTES ? request->declared_bytes : PROMISE_AHEAD_BYTES;
    if (bytes <= request->promised_bytes)
        return true;
    uint64_t more = bytes - request->promised_bytes;
    uint64_t before = atomic_fetch_add_explicit(&budget->ahead, more, memory_order_relaxed);
    if (before + more > budget->max_bytes / 2) {
        atomic_fetch_sub_explicit(&budget->ahead, more, memory_order_relaxed);
        return true; // as its bytes come
    }
    request->ahead_bytes += more;
    return ingest_promise(request, bytes);
}

void ingest_promise_earned(struct request *request, bool whole)
{
    uint64_t held = held_bytes(request);
    uint64_t ahead = whole || request->promised_bytes <= held ? 0 : request->promised_bytes - held;
    if (ahead >= request->ahead_bytes)
        return;
    atomic_fetch_sub_explicit(&request->ingest->options.budget->ahead, request->ahead_bytes - ahead,
                              memory_order_relaxed);
    request->ahead_bytes = ahead;
}

// --- who is receiving -------------------------------------------------------------------------------------------------

void ingest_receiving_add(struct request *request)
{
    struct ingest *ingest = request->ingest;
    request->receiving = true;
    request->paused_before_ns = ingest_paused_ns(ingest, request->started_ns);
    request->receiving_next = ingest->receiving;
    if (request->receiving_next != NULL)
        request->receiving_next->receiving_prev = request;
    ingest->receiving = request;
}

void ingest_receiving_remove(struct request *request)
{
    if (!request->receiving)
        return;
    request->receiving = false;
    if (request->receiving_prev != NULL)
        request->receiving_prev->receiving_next = request->receiving_next;
    else
        request->ingest->receiving = request->receiving_next;
    if (request->receiving_next != NULL)
        request->receiving_next->receiving_prev = request->receiving_prev;
    request->receiving_prev = request->receiving_next = NULL;
}

uint64_t ingest_paused_ns(const struct ingest *ingest, uint64_t now_ns)
{
    bool more = ingest->paused && now_ns > ingest->paused_since_ns;
    return ingest->paused_ns + (more ? now_ns - ingest->paused_since_ns : 0);
}
