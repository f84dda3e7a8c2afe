// SPDX-License-Identifier: Apache-2.0
// The time that retention goes by. A wall clock that is set ahead makes everything look old at once, and max_age would take it all, perhaps
// for a wrong time that is set right a minute later. So what was received before a jump counts as old as it is: by so much younger than the
// clock says. As long as this process lives: what another run received is taken at the clock's word.
#include <time.h>

#include "storage/spool_priv.h"

#define JUMP_NS 10000000000 // between two looks; less is the clock being steered

uint64_t spool_unix_ns(const struct spool *spool)
{
    return spool->unix_ns != NULL ? spool->unix_ns() : weir_now_unix_ns();
}

// Goes on while the machine sleeps, as data gets older.
static uint64_t steady_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t retention_now(struct spool *spool)
{
    struct retention_clock *clock = &spool->clock;
    uint64_t wall = spool_unix_ns(spool);
    if (spool->unix_ns != NULL) // a clock of the caller's own goes as it likes
        return wall;
    uint64_t steady = steady_ns();
    int64_t jump = clock->steady_ns == 0 ? 0 : (int64_t)(wall - clock->wall_ns - (steady - clock->steady_ns));
    clock->wall_ns = wall;
    clock->steady_ns = steady;
    if (jump < JUMP_NS && jump > -JUMP_NS)
        return wall;
    int64_t ahead = (int64_t)clock->ahead_ns + jump;
    clock->ahead_ns = ahead > 0 ? (uint64_t)ahead : 0; // set back: it only makes things younger
    clock->border = atomic_load(&spool->next_block);
    clock->untold_ns += jump;
    return wall;
}

uint64_t retention_received(const struct spool *spool, const struct segment *segment)
{
    bool before = segment->end_known && segment->end <= spool->clock.border; // else its newest block is of the new time
    return segment->received_last_ns + (before && segment->received_last_ns != 0 ? spool->clock.ahead_ns : 0);
}

void clock_tell(struct spool *spool)
{
    char text[200];
    pthread_mutex_lock(&spool->retention_lock);
    int64_t jump = spool->clock.untold_ns;
    spool->clock.untold_ns = 0;
    pthread_mutex_unlock(&spool->retention_lock);
    if (jump == 0 || spool->max_age_ns == 0 || spool->on_event == NULL)
        return;
    snprintf(text, sizeof(text), "the clock was set %s by %lld seconds%s", jump > 0 ? "ahead" : "back",
             (long long)(jump > 0 ? jump : -jump) / 1000000000,
             jump > 0 ? ": what was received before is taken for so much younger, as long as this process runs" : "");
    struct spool_event event = {.kind = SPOOL_EVENT_CLOCK, .text = text};
    spool->on_event(spool->ctx, &event);
}
