// SPDX-License-Identifier: Apache-2.0
// As many connections as there may be, and somebody new at the door: those go first that have shown the least, so that nobody can shut
// others out by connections that do nothing.
//
//   rank  has had an answer   now                           for at least
//   1     no                  silent, or in its handshake   1 s
//   2     no                  sending a request             5 s
//   3     yes                 idle                          5 s
//   4     yes                 sending a request             10 s
//   -     any                 waiting for our answer        never
#include "net/conn.h"

#define TURN_SHARE 8 // of a loop's connections that go in one turn
#define TURN_LEAST 4

static const struct {
    bool proven;
    enum conn_state state;
    uint32_t age_ms;
} ranks[] = {
    {false, CONN_IDLE, 1000},
    {false, CONN_SENDING, 5000},
    {true, CONN_IDLE, 5000},
    {true, CONN_SENDING, 10000},
};

static bool has_rank(const struct conn *conn, size_t rank, uint64_t now_ns)
{
    if (conn->doomed || conn->lingering || conn->proven != ranks[rank].proven)
        return false;
    enum conn_state state = conn->open ? conn->type->state(conn) : CONN_IDLE;
    return state == ranks[rank].state && now_ns - conn->since_ns >= ranks[rank].age_ms * UINT64_C(1000000);
}

void crowd_make_room(struct server_loop *home)
{
    uint64_t now_ns = weir_now_ns();
    struct conn *oldest = home->conns; // the list begins with the newest
    size_t count = oldest != NULL;
    for (; oldest != NULL && oldest->next != NULL; oldest = oldest->next)
        count++;
    size_t left = count / TURN_SHARE > TURN_LEAST ? count / TURN_SHARE : TURN_LEAST;
    for (size_t rank = 0; rank < WEIR_COUNT(ranks); rank++)
        for (struct conn *conn = oldest; conn != NULL && left > 0; conn = conn->prev)
            if (has_rank(conn, rank, now_ns)) {
                conn_doom(conn);
                left--;
            }
}
