// SPDX-License-Identifier: Apache-2.0
#include "net/loop.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

static struct loop *new_loop(void)
{
    struct weir_err err;
    struct loop *loop = NULL;
    cr_assert_eq(loop_new(&loop, &err), WEIR_OK, "%s", err.text);
    return loop;
}

static void *run_loop(void *loop)
{
    loop_run(loop);
    return NULL;
}

// --- messages -------------------------------------------------------------------------------------------------------

#define SENDERS  4
#define MESSAGES 2000

struct counted {
    struct loop_message message;
    struct sender *sender;
    int number;
};
struct sender {
    struct loop *loop;
    struct counted sent[MESSAGES];
    int seen;
    int *total;
};

static void count_message(struct loop_message *message)
{
    struct counted *counted = WEIR_CONTAINER_OF(message, struct counted, message);
    cr_assert_eq(counted->number, counted->sender->seen, "out of order");
    counted->sender->seen++;
    if (++*counted->sender->total == SENDERS * MESSAGES)
        loop_stop(counted->sender->loop);
}

static void *send_all(void *arg)
{
    struct sender *sender = arg;
    for (int i = 0; i < MESSAGES; i++) {
        sender->sent[i] = (struct counted){.message.run = count_message, .sender = sender, .number = i};
        loop_send(sender->loop, &sender->sent[i].message);
    }
    return NULL;
}

Test(loop, messages_of_many_threads_arrive_each_in_order)
{
    struct loop *loop = new_loop();
    struct sender *senders = calloc(SENDERS, sizeof(*senders));
    pthread_t threads[SENDERS];
    int total = 0;
    for (int i = 0; i < SENDERS; i++) {
        senders[i].loop = loop;
        senders[i].total = &total;
        cr_assert_eq(pthread_create(&threads[i], NULL, send_all, &senders[i]), 0);
    }
    loop_run(loop);
    for (int i = 0; i < SENDERS; i++)
        pthread_join(threads[i], NULL);
    cr_assert_eq(total, SENDERS * MESSAGES);
    free(senders);
    loop_free(loop);
}

struct bounce {
    struct loop_message message;
    struct loop *to;
    int left;
};
static void bounce_back(struct loop_message *message)
{
    struct bounce *bounce = WEIR_CONTAINER_OF(message, struct bounce, message);
    if (--bounce->left > 0)
        loop_send(bounce->to, message);
    else
        loop_stop(bounce->to);
}

Test(loop, a_message_may_be_sent_again_from_its_own_run)
{
    struct loop *loop = new_loop();
    struct bounce bounce = {.message.run = bounce_back, .to = loop, .left = 1000};
    loop_send(loop, &bounce.message);
    loop_run(loop);
    cr_assert_eq(bounce.left, 0);
    loop_free(loop);
}

Test(loop, stop_before_run_returns_at_once_and_run_again_works)
{
    struct loop *loop = new_loop();
    loop_stop(loop);
    loop_run(loop);
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, run_loop, loop), 0);
    loop_stop(loop);
    pthread_join(thread, NULL);
    loop_free(loop);
}

// --- timers ---------------------------------------------------------------------------------------------------------

struct probe {
    struct loop_timer timer;
    uint64_t due_ns, fired_ns;
    int *left;
};
static void probe_fire(struct loop_timer *timer)
{
    struct probe *probe = WEIR_CONTAINER_OF(timer, struct probe, timer);
    cr_assert_eq(probe->fired_ns, 0, "fired twice");
    probe->fired_ns = weir_now_ns();
    --*probe->left;
}

Test(loop, timers_fire_once_never_early_and_in_order)
{
    enum { N = 400 };
    struct loop *loop = new_loop();
    struct probe *probes = calloc(N, sizeof(*probes));
    int left = N;
    for (int i = 0; i < N; i++) {
        probes[i].left = &left;
        uint64_t delay_ms = (uint64_t)(i * 37 % 200);
        loop_timer_set(loop, &probes[i].timer, delay_ms, probe_fire);
        probes[i].due_ns = probes[i].timer.due_ns;
    }
    while (left > 0)
        loop_poll(loop, 1000);
    for (int i = 0; i < N; i++) {
        cr_assert_geq(probes[i].fired_ns, probes[i].due_ns, "early");
        for (int j = 0; j < N; j++)
            if (probes[i].due_ns + 2000000 < probes[j].due_ns)
                cr_assert_leq(probes[i].fired_ns, probes[j].fired_ns);
    }
    free(probes);
    loop_free(loop);
}

Test(loop, a_far_timer_is_found_in_its_slot_and_does_not_fire)
{
    struct loop *loop = new_loop();
    int left = 5;
    struct probe probes[5] = {0};
    const uint64_t far_ms[5] = {3600000, 300000, 1ull << 40, UINT64_MAX, 70};
    for (int i = 0; i < 5; i++) {
        probes[i].left = &left;
        loop_timer_set(loop, &probes[i].timer, far_ms[i], probe_fire);
    }
    while (left == 5)
        loop_poll(loop, 1000);
    cr_assert_neq(probes[4].fired_ns, 0);
    cr_assert_eq(left, 4);
    loop_free(loop);
}

struct clearer {
    struct loop_timer timer;
    struct loop_timer *victim;
    int fired;
};
static void clear_victim(struct loop_timer *timer)
{
    struct clearer *self = WEIR_CONTAINER_OF(timer, struct clearer, timer);
    self->fired++;
    loop_timer_clear(self->victim);
}

Test(loop, a_timer_may_clear_another_of_the_same_tick)
{
    struct loop *loop = new_loop();
    struct clearer a = {0}, b = {0};
    a.victim = &b.timer;
    b.victim = &a.timer;
    loop_timer_set(loop, &a.timer, 5, clear_victim);
    loop_timer_set(loop, &b.timer, 5, clear_victim);
    b.timer.due_ns = a.timer.due_ns;
    while (a.fired + b.fired == 0)
        loop_poll(loop, 1000);
    int left = 1;
    struct probe after = {.left = &left};
    loop_timer_set(loop, &after.timer, 10, probe_fire);
    while (left > 0)
        loop_poll(loop, 1000);
    cr_assert_eq(a.fired + b.fired, 1);
    loop_free(loop);
}

struct repeater {
    struct loop_timer timer;
    int fired;
};
static void repeat(struct loop_timer *timer)
{
    struct repeater *self = WEIR_CONTAINER_OF(timer, struct repeater, timer);
    if (++self->fired < 20)
        loop_timer_set(timer->loop, timer, 0, repeat);
}

Test(loop, a_timer_may_set_itself_again_and_does_not_hold_the_loop)
{
    struct loop *loop = new_loop();
    struct repeater repeater = {0};
    loop_timer_set(loop, &repeater.timer, 0, repeat);
    int turns = 0;
    while (repeater.fired < 20) {
        loop_poll(loop, 1000);
        turns++;
    }
    cr_assert_geq(turns, 10, "%d turns", turns);
    cr_assert_eq(repeater.timer.due_ns, 0);
    loop_free(loop);
}

// --- later, alive, signals ------------------------------------------------------------------------------------------

struct lateral {
    struct loop_later later;
    struct loop_message message;
    struct loop *loop;
    int asked, ran;
};
static void lateral_run(struct loop_later *later)
{
    WEIR_CONTAINER_OF(later, struct lateral, later)->ran++;
}
static void lateral_ask(struct loop_message *message)
{
    struct lateral *self = WEIR_CONTAINER_OF(message, struct lateral, message);
    for (int i = 0; i < 3; i++) {
        loop_later_set(self->loop, &self->later, lateral_run);
        self->asked++;
        cr_assert_eq(self->ran, 0, "must wait for the end of the turn");
    }
}

Test(loop, later_runs_once_a_turn_however_often_it_was_asked_for)
{
    struct loop *loop = new_loop();
    struct lateral lateral = {.message.run = lateral_ask, .loop = loop};
    loop_send(loop, &lateral.message);
    while (lateral.asked == 0)
        loop_poll(loop, 1000);
    cr_assert_eq(lateral.asked, 3);
    cr_assert_eq(lateral.ran, 1);
    loop_later_set(loop, &lateral.later, lateral_run);
    loop_later_clear(&lateral.later);
    loop_poll(loop, 0);
    cr_assert_eq(lateral.ran, 1);
    loop_free(loop);
}

Test(loop, alive_turns_false_without_turns)
{
    struct loop *loop = new_loop();
    cr_assert(loop_alive(loop, 10000000000u));
    uint64_t before_ns = weir_now_ns();
    while (weir_now_ns() < before_ns + 2000000)
        ;
    cr_assert_not(loop_alive(loop, 1000000));
    loop_poll(loop, 0);
    cr_assert(loop_alive(loop, 10000000000u));
    loop_free(loop);
}

static void on_signal(int number)
{
}

struct killer {
    struct loop_message message;
    pthread_t target;
    struct loop *loop;
    int left;
};
static void *kill_often(void *arg)
{
    struct killer *killer = arg;
    for (int i = 0; i < 50; i++)
        pthread_kill(killer->target, SIGUSR1);
    loop_stop(killer->loop);
    return NULL;
}

Test(loop, a_signal_does_not_end_the_loop)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGUSR1, &action, NULL);
    struct loop *loop = new_loop();
    struct killer killer = {.target = pthread_self(), .loop = loop};
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, kill_often, &killer), 0);
    loop_run(loop);
    pthread_join(thread, NULL);
    loop_free(loop);
}
