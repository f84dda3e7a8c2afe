// SPDX-License-Identifier: Apache-2.0
// One event loop in one thread: h2o's evloop, messages from other threads, timers on the monotonic clock.
#ifndef WEIR_NET_LOOP_H
#define WEIR_NET_LOOP_H

#include "proto/base.h"
#include "proto/err.h"

struct loop;

// WEIR_E_NOMEM, WEIR_E_IO.
int loop_new(struct loop **out, struct weir_err *err);
// The loop must have stopped.
void loop_free(struct loop *loop);

// Runs in the calling thread until loop_stop. All signals should be blocked in it.
void loop_run(struct loop *loop);
// Runs pending work and waits at most `timeout_ms` for more (for owners with a loop of their own, as the replay worker). Same thread always.
void loop_poll(struct loop *loop, int timeout_ms);
// Any thread.
void loop_stop(struct loop *loop);
// Turned within the last `within_ns`? Any thread: for /healthz. A loop that waits in the kernel wakes itself once a second.
bool loop_alive(const struct loop *loop, uint64_t within_ns);

// A message is part of the sender's own record (WEIR_CONTAINER_OF). It has one owner at a time: the sender until loop_send, the loop
// until `run` was called with it, then whoever `run` says. Messages of one sender arrive in order.
struct loop_message {
    struct loop_message *next;
    void (*run)(struct loop_message *message); // called in the loop's thread
};
// Any thread. Wakes the loop only when its queue was empty.
void loop_send(struct loop *loop, struct loop_message *message);

// A timer is part of the owner's record; loop thread only. Zero-initialise.
struct loop_timer {
    struct loop_timer *prev, *next;
    uint64_t due_ns; // monotonic; 0 = not set. Fires at most about a millisecond late, never early
    void (*fire)(struct loop_timer *timer);
    struct loop *loop;
};
// (Re)arms: `fire` is called once, in the loop's thread, after `delay_ms`.
void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t delay_ms, void (*fire)(struct loop_timer *));
void loop_timer_clear(struct loop_timer *timer);

// Something to do once at the end of this turn of the loop, after sockets, messages and timers: many answers of one turn become one write.
// Part of the owner's record; loop thread only. Zero-initialise.
struct loop_later {
    struct loop_later *prev, *next; // NULL = not queued
    void (*run)(struct loop_later *later);
};
// Queues; does nothing when it is queued already.
void loop_later_set(struct loop *loop, struct loop_later *later, void (*run)(struct loop_later *));
void loop_later_clear(struct loop_later *later);

// The h2o loop inside, to hang sockets on; for net/ alone. Any thread may ask, only the loop's may use it.
struct st_h2o_evloop_t *loop_evloop(struct loop *loop);

#endif
