// SPDX-License-Identifier: Apache-2.0
// How the sink misbehaves: rules set by the control port, each for some transports and signals. A newer rule takes its
// transports and signals away from older ones.
#ifndef WEIR_SINK_RULES_H
#define WEIR_SINK_RULES_H

#include "net/exchange.h"
#include "proto/encoding.h"

#define RULES_MAX    16
#define RULE_SLOTS   64
#define RULE_FOREVER UINT64_MAX

enum rule_action {
    RULE_OK,
    RULE_STATUS, // refuse with a status
    RULE_HANG,   // take the request, never answer
    RULE_GOAWAY, // take nothing: GOAWAY with last stream 0, then the end of the connection (over HTTP/1.1 the end alone)
    RULE_CUT,    // take and record the request, begin an answer and cut the connection in the middle of it
};

struct rule {
    uint32_t cells; // bit per transport and signal, see rule_cell
    enum rule_action action;
    int status; // RULE_STATUS: a gRPC code below 100, an HTTP status above; over HTTP a code becomes its equivalent
    bool has_retry_delay; // RetryInfo, Retry-After
    uint32_t retry_delay_ms;
    uint32_t delay_ms;    // before any answer
    uint32_t refuse;      // bit per enum encoding
    int64_t partial;      // items to call rejected in a partial success
    uint64_t limit_bytes; // decoded requests above it are too large; 0: no limit
    int64_t poison_id;    // requests that hold this item get `status` (3 without one); -1: none
    uint64_t remaining;   // requests it still applies to
    // A limiter: so many requests a second are taken, `burst` at once; those beyond get `status` (14 without one). 0: no limit.
    uint64_t rate, burst;
    uint64_t paid_until_ns; // up to when the requests that were taken have used the rate up
    // One of so many requests gets `status` (14 without one), at random, whatever their rate. 0: none.
    uint64_t one_in, random;
    // A server of `slots` workers, each busy with one request for service_ms; those that find all of them busy wait in line.
    uint32_t service_ms, slots;
    uint64_t busy_until_ns[RULE_SLOTS];
};

struct rules {
    struct rule list[RULES_MAX];
    size_t count;
};

static inline uint32_t rule_cell(enum exchange_transport transport, enum weir_signal signal)
{
    return 1u << ((unsigned)transport * WEIR_SIGNALS + (unsigned)signal);
}

// Adds the rule that a form describes, e.g. "transport=grpc&signal=traces&status=14&retry_delay_ms=500&count=3"; "ok=1" ends
// misbehaviour. Keys: transport (grpc, http), signal, ok, status, retry_delay_ms, hang, goaway, cut, delay_ms, refuse (zstd,gzip), partial,
// limit_bytes, poison_id, count, rate, burst, one_in, service_ms, slots. WEIR_E_INVALID names the wrong part.
int rules_add(struct rules *rules, struct weir_slice form, struct weir_err *err);
// The rule for one request that came at `now_ns`, copied, one use counted; what its limiter and its workers make of the request is in action and
// delay_ms. Without one: RULE_OK.
struct rule rules_take(struct rules *rules, enum exchange_transport transport, enum weir_signal signal,
                       uint64_t now_ns);

// A gRPC code's equivalent over HTTP. (An HTTP status given for gRPC is sent as it is, as proxies do.)
int rule_status_http(int status);

#endif
