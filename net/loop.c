// SPDX-License-Identifier: Apache-2.0
// One turn: h2o's sockets, then messages, then timers, then what was put off to the end of the turn.
//
// h2o's own timers run on gettimeofday, where a step of the clock delays or fires them all, so ours are a timing wheel on
// CLOCK_MONOTONIC: setting and clearing is O(1) at any number of connections, and the next due slot bounds the poll.
#include "net/loop.h"

#include <errno.h>
#include <h2o.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define TICK_NS   1000000u
#define LEVELS    5 // 64^5 ms = 12 days; what is further away waits in the last level and is sorted in again
#define SLOT_BITS 6
#define SLOTS     (1u << SLOT_BITS)
#define TURN_MS   1000 // a loop that waits wakes itself this often, for loop_alive

struct wheel {
    uint64_t tick;             // all timers due up to here have fired
    uint64_t occupied[LEVELS]; // bit per slot; may be stale (set for an empty slot), never the other way round
    struct loop_timer slots[LEVELS][SLOTS];
    struct loop_timer firing;
};

struct loop {
    h2o_evloop_t *evloop;
    int wake_fd; // an eventfd
    h2o_socket_t *wake_sock;
    _Atomic(struct loop_message *) messages; // newest first
    atomic_bool stop;
    _Atomic uint64_t turned_ns;
    struct loop_later laters;
    bool wrote_late; // h2o looks at completed writes only inside its run: the next one must not wait
    struct wheel wheel;
};

// --- timers ---------------------------------------------------------------------------------------------------------

static void timer_list_init(struct loop_timer *head)
{
    head->prev = head->next = head;
}

static void timer_list_append(struct loop_timer *head, struct loop_timer *timer)
{
    timer->prev = head->prev;
    timer->next = head;
    head->prev->next = timer;
    head->prev = timer;
}

static void timer_list_remove(struct loop_timer *timer)
{
    timer->prev->next = timer->next;
    timer->next->prev = timer->prev;
    timer->prev = timer->next = NULL;
}

static void timer_list_move(struct loop_timer *to, struct loop_timer *from)
{
    assert(to->next == to);
    if (from->next == from)
        return;
    *to = (struct loop_timer){.prev = from->prev, .next = from->next};
    to->prev->next = to;
    to->next->prev = to;
    timer_list_init(from);
}

static void wheel_init(struct wheel *wheel, uint64_t now_ns)
{
    wheel->tick = now_ns / TICK_NS;
    for (unsigned level = 0; level < LEVELS; level++)
        for (unsigned slot = 0; slot < SLOTS; slot++)
            timer_list_init(&wheel->slots[level][slot]);
    timer_list_init(&wheel->firing);
}

// `first_tick`: the earliest tick whose slot has not been emptied yet.
static void wheel_insert(struct wheel *wheel, struct loop_timer *timer, uint64_t first_tick)
{
    uint64_t due = timer->due_ns / TICK_NS + 1;
    if (due < first_tick)
        due = first_tick;
    uint64_t furthest = wheel->tick + (1ull << (SLOT_BITS * LEVELS)) - 1;
    if (due > furthest)
        due = furthest;
    uint64_t distance = due - wheel->tick;
    unsigned level = 0;
    while (distance >> (SLOT_BITS * (level + 1)) != 0)
        level++;
    unsigned slot = (due >> (SLOT_BITS * level)) % SLOTS;
    timer_list_append(&wheel->slots[level][slot], timer);
    wheel->occupied[level] |= 1ull << slot;
}

// The next tick at which a slot must be looked at; UINT64_MAX when there is none.
static uint64_t wheel_next(const struct wheel *wheel)
{
    uint64_t next = UINT64_MAX;
    for (unsigned level = 0; level < LEVELS; level++) {
        uint64_t occupied = wheel->occupied[level];
        if (occupied == 0)
            continue;
        uint64_t first = (wheel->tick >> (SLOT_BITS * level)) + 1;
        unsigned turn = first % SLOTS;
        uint64_t ahead = turn == 0 ? occupied : occupied >> turn | occupied << (SLOTS - turn);
        uint64_t tick = (first + (uint64_t)__builtin_ctzll(ahead)) << (SLOT_BITS * level);
        if (tick < next)
            next = tick;
    }
    return next;
}

// Takes one slot's timers out of the wheel into `firing`.
static void wheel_take(struct wheel *wheel, unsigned level, unsigned slot)
{
    wheel->occupied[level] &= ~(1ull << slot);
    timer_list_move(&wheel->firing, &wheel->slots[level][slot]);
}

static void wheel_cascade(struct wheel *wheel)
{
    for (unsigned level = LEVELS - 1; level > 0; level--) {
        if (wheel->tick % (1ull << (SLOT_BITS * level)) != 0)
            continue;
        wheel_take(wheel, level, (wheel->tick >> (SLOT_BITS * level)) % SLOTS);
        while (wheel->firing.next != &wheel->firing) {
            struct loop_timer *timer = wheel->firing.next;
            timer_list_remove(timer);
            wheel_insert(wheel, timer, wheel->tick);
        }
    }
}

// Returns whether any timer fired.
static bool wheel_run(struct wheel *wheel, uint64_t now_ns)
{
    bool fired = false;
    uint64_t target = now_ns / TICK_NS;
    uint64_t next;
    while ((next = wheel_next(wheel)) <= target) {
        wheel->tick = next;
        wheel_cascade(wheel);
        wheel_take(wheel, 0, next % SLOTS);
        while (wheel->firing.next != &wheel->firing) {
            struct loop_timer *timer = wheel->firing.next;
            timer_list_remove(timer);
            timer->due_ns = 0;
            fired = true;
            timer->fire(timer);
        }
    }
    if (wheel->tick < target)
        wheel->tick = target;
    return fired;
}

void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t delay_ms, void (*fire)(struct loop_timer *))
{
    loop_timer_clear(timer);
    uint64_t now_ns = weir_now_ns();
    uint64_t delay_ns;
    if (__builtin_mul_overflow(delay_ms, (uint64_t)TICK_NS, &delay_ns) || delay_ns > UINT64_MAX / 2)
        delay_ns = UINT64_MAX / 2;
    timer->due_ns = now_ns + delay_ns;
    timer->fire = fire;
    timer->loop = loop;
    wheel_insert(&loop->wheel, timer, loop->wheel.tick + 1);
}

void loop_timer_clear(struct loop_timer *timer)
{
    if (timer->next != NULL)
        timer_list_remove(timer);
    timer->due_ns = 0;
}

// --- the end of a turn ----------------------------------------------------------------------------------------------

void loop_later_set(struct loop *loop, struct loop_later *later, void (*run)(struct loop_later *))
{
    if (later->next != NULL)
        return;
    later->run = run;
    later->prev = loop->laters.prev;
    later->next = &loop->laters;
    later->prev->next = later;
    loop->laters.prev = later;
}

void loop_later_clear(struct loop_later *later)
{
    if (later->next == NULL)
        return;
    later->prev->next = later->next;
    later->next->prev = later->prev;
    later->prev = later->next = NULL;
}

static void laters_run(struct loop *loop)
{
    while (loop->laters.next != &loop->laters) {
        struct loop_later *later = loop->laters.next;
        loop_later_clear(later);
        loop->wrote_late = true;
        later->run(later);
    }
}

// --- messages -------------------------------------------------------------------------------------------------------

// h2o's own queue is not used: its wake-up socket takes input buffers from a cache of the thread that made the queue, without a lock, and
// loops are made in one thread and run in others (ThreadSanitizer found two of them in one cache). This socket is never read by h2o.
static void wake(struct loop *loop)
{
    uint64_t one = 1;
    ssize_t n;
    do
        n = write(loop->wake_fd, &one, sizeof(one));
    while (n < 0 && errno == EINTR); // EAGAIN: 2^64 - 2 wake-ups are waiting
}

static void on_wake(h2o_socket_t *sock, const char *err)
{
    struct loop *loop = sock->data;
    uint64_t count;
    (void)!read(loop->wake_fd, &count, sizeof(count));
}

void loop_send(struct loop *loop, struct loop_message *message)
{
    struct loop_message *head = atomic_load_explicit(&loop->messages, memory_order_relaxed);
    do
        message->next = head;
    while (!atomic_compare_exchange_weak_explicit(&loop->messages, &head, message, memory_order_acq_rel,
                                                  memory_order_relaxed));
    if (head == NULL)
        wake(loop);
}

static void messages_run(struct loop *loop)
{
    struct loop_message *newest = atomic_exchange_explicit(&loop->messages, NULL, memory_order_acq_rel);
    struct loop_message *oldest = NULL;
    while (newest != NULL) {
        struct loop_message *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    if (oldest != NULL)
        loop->wrote_late = true;
    while (oldest != NULL) {
        struct loop_message *message = oldest;
        oldest = message->next;
        message->next = NULL;
        message->run(message);
    }
}

// --- the loop -------------------------------------------------------------------------------------------------------

// Bodies are handed out as they come; a large input buffer must never become a file in the temporary directory.
static void h2o_settings(void)
{
    h2o_socket_buffer_mmap_settings.threshold = SIZE_MAX;
}
static pthread_once_t h2o_once = PTHREAD_ONCE_INIT;

// h2o aborts the process when epoll cannot be had: look first, so that the caller hears of it.
static int open_descriptors(struct loop *loop, struct weir_err *err)
{
    int probe = epoll_create1(EPOLL_CLOEXEC);
    if (probe >= 0)
        loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (probe < 0 || loop->wake_fd < 0) {
        int code = weir_fail(err, WEIR_E_IO, "new loop: %s", strerror(errno));
        if (probe >= 0)
            close(probe);
        return code;
    }
    close(probe);
    return WEIR_OK;
}

int loop_new(struct loop **out, struct weir_err *err)
{
    struct loop *loop = calloc(1, sizeof(*loop));
    if (loop == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "new loop: out of memory");
    int code = open_descriptors(loop, err);
    if (code != WEIR_OK) {
        free(loop);
        return code;
    }
    pthread_once(&h2o_once, h2o_settings);
    loop->evloop = h2o_evloop_create();
    loop->wake_sock = h2o_evloop_socket_create(loop->evloop, loop->wake_fd, H2O_SOCKET_FLAG_DONT_READ);
    loop->wake_sock->data = loop;
    h2o_socket_read_start(loop->wake_sock, on_wake);
    loop->laters.prev = loop->laters.next = &loop->laters;
    uint64_t now_ns = weir_now_ns();
    atomic_store(&loop->turned_ns, now_ns);
    wheel_init(&loop->wheel, now_ns);
    *out = loop;
    return WEIR_OK;
}

void loop_free(struct loop *loop)
{
    if (loop == NULL)
        return;
    h2o_socket_close(loop->wake_sock);
    h2o_evloop_run(loop->evloop, 0);
    h2o_evloop_destroy(loop->evloop);
    free(loop);
}

static int32_t wait_ms(const struct loop *loop, int timeout_ms)
{
    if (loop->wrote_late || atomic_load_explicit(&loop->messages, memory_order_relaxed) != NULL)
        return 0;
    int32_t wait = timeout_ms < 0 || timeout_ms > TURN_MS ? TURN_MS : timeout_ms;
    uint64_t next = wheel_next(&loop->wheel);
    if (next == UINT64_MAX)
        return wait;
    uint64_t now_ns = weir_now_ns();
    uint64_t next_ns = next * TICK_NS;
    uint64_t due_ms = next_ns <= now_ns ? 0 : (next_ns - now_ns + TICK_NS - 1) / TICK_NS;
    return due_ms < (uint64_t)wait ? (int32_t)due_ms : wait;
}

void loop_poll(struct loop *loop, int timeout_ms)
{
    int32_t wait = wait_ms(loop, timeout_ms);
    loop->wrote_late = false;
    // -1 is EINTR: the rest of the turn is due all the same.
    (void)h2o_evloop_run(loop->evloop, wait);
    messages_run(loop);
    uint64_t now_ns = weir_now_ns();
    if (wheel_run(&loop->wheel, now_ns))
        loop->wrote_late = true;
    laters_run(loop);
    atomic_store_explicit(&loop->turned_ns, now_ns, memory_order_relaxed);
}

void loop_run(struct loop *loop)
{
    while (!atomic_exchange(&loop->stop, false))
        loop_poll(loop, TURN_MS);
}

void loop_stop(struct loop *loop)
{
    atomic_store(&loop->stop, true);
    wake(loop);
}

bool loop_alive(const struct loop *loop, uint64_t within_ns)
{
    uint64_t now_ns = weir_now_ns();
    uint64_t turned_ns = atomic_load_explicit(&loop->turned_ns, memory_order_relaxed);
    return turned_ns >= now_ns || now_ns - turned_ns <= within_ns;
}

struct st_h2o_evloop_t *loop_evloop(struct loop *loop)
{
    return loop->evloop;
}
