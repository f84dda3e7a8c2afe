// SPDX-License-Identifier: Apache-2.0
// The gRPC client's two halves: grpc_client.c (calls, deadlines, which connection) and grpc_client_conn.c (one HTTP/2 connection).
#ifndef WEIR_NET_GRPC_CLIENT_PRIV_H
#define WEIR_NET_GRPC_CLIENT_PRIV_H

#include "net/client_priv.h"
#include "net/dial.h"
#include "net/loop.h"

#include <nghttp2/nghttp2.h>
#include <stdatomic.h>
#include <sys/uio.h>

#define CONN_IOV_MAX       512          // h2o takes at most 10,000 in one write
#define CONN_BATCH_BYTES   (256 * 1024) // of one write
#define CONN_CONTROL_BYTES (128 * 1024) // copied bytes of one write: frame headers, header blocks, small ranges
#define CONN_FRAME_BYTES   (16384 + 9)  // nghttp2 sends no larger frame

struct grpc_conn;

struct grpc_client {
    struct client base;
    struct loop *loop;
    struct client_link waiting; // records, in order of arrival
    uint32_t open_count;        // streams on all connections
    struct grpc_conn *current;  // the one that new calls go to, dialling or ready; NULL: none
    struct grpc_conn *draining; // after GOAWAY: no new calls
    uint64_t connections;       // made so far
    // So long nothing was received: PING; so long no answer: the connection is dead; so long between two PINGs of a connection (U12).
    uint32_t quiet_ms, ping_ms, ping_interval_ms;
    unsigned turn; // of the host's addresses: which is tried first
    struct loop_message wake;
    atomic_bool wake_sent;
    bool woken;
    bool wrote; // outside a turn of the loop: it looks at completed writes only in the next one, which must not wait
};

struct grpc_call {
    struct client_record record;
    struct grpc_client *client;
    struct grpc_conn *conn; // NULL: waiting
    int32_t stream_id;
    struct loop_timer deadline;
    uint64_t submitted_ns;
    bool grace; // the deadline has passed; the timer now measures how long its bytes may stay stuck in a write
    // The body: what nghttp2 has still to put into frames, and the place up to which frames were gathered.
    size_t unframed;
    size_t range, offset;
    uint64_t batch; // last write that points into the body
    bool headers_sent, answered, peer_reset, closed;
    bool in_headers; // the block being received began with :status: not trailers
};

enum grpc_conn_state { CONN_DIALLING, CONN_SETTINGS, CONN_READY, CONN_DRAINING };

//   DIALLING ──> SETTINGS ──> READY ──> DRAINING        each ──> ended (freed)
//   the three first within the connect timeout; calls are submitted in READY only
struct grpc_conn {
    struct grpc_client *client;
    struct grpc_conn *next; // among the draining ones
    enum grpc_conn_state state;
    uint64_t number; // from 1; 0 until READY
    struct dial dial;
    struct loop_timer connect_timer, ping_timer;
    struct st_h2o_socket_t *sock;
    nghttp2_session *session;
    struct client_link open;      // streams
    struct client_link lingering; // closed streams, but the write under way still points into their bodies
    bool got_settings, got_goaway, used, out_of_memory;
    uint64_t received_ns, pinged_ns; // pinged_ns 0: no PING unanswered
    uint64_t heard_ns;               // when the peer's last bytes came
    uint64_t last_ping_ns;           // 0: none yet
    char goaway_text[96];
    // One write at a time; batch_done is the last one completed.
    bool writing;
    uint64_t batch, batch_done;
    size_t batch_bytes, iov_count, control_len;
    struct iovec iov[CONN_IOV_MAX];
    uint8_t control[CONN_CONTROL_BYTES];
};

// Starts dialling and becomes client->current. May end at once. false: no memory.
bool grpc_conn_open(struct grpc_client *client);
// Ends the connection: every call on it that is not decided gets `error` (CLIENT_E_NOT_PROCESSED when nothing of it was sent); when it never
// became useful, the waiting calls get it too. Frees it. Never from an nghttp2 callback.
void grpc_conn_end(struct grpc_conn *conn, enum client_error error, const char *text);
// After anything happened to the session: submits waiting calls, writes, moves on. May end it.
void grpc_conn_advance(struct grpc_conn *conn);
// Gives the stream up; the call's outcome must be decided.
void grpc_conn_reset(struct grpc_call *call);

// For tests, which cannot wait for the real values.
void grpc_client_set_keepalive(struct client *base, uint32_t quiet_ms, uint32_t ping_ms, uint32_t ping_interval_ms);
uint32_t grpc_client_ping_interval_ms(const struct client *base);

// In grpc_client.c: the call's record goes to the finished ones.
void grpc_call_finish(struct grpc_call *call);
// Moves from READY to DRAINING.
void grpc_client_drain(struct grpc_client *client, struct grpc_conn *conn);

#endif
