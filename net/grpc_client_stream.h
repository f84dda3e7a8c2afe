// SPDX-License-Identifier: Apache-2.0
// The nghttp2 side of one connection of the gRPC client: requests into streams, bodies into one write, answers into records.
#ifndef WEIR_NET_GRPC_CLIENT_STREAM_H
#define WEIR_NET_GRPC_CLIENT_STREAM_H

#include "net/grpc_client_priv.h"

// Makes conn->session and queues our settings. false: no memory.
bool grpc_stream_session_new(struct grpc_conn *conn);
// Opens a stream for the first waiting call. false: nothing more can be opened here now (the call still waits, or is finished with the reason).
bool grpc_stream_submit(struct grpc_conn *conn, struct grpc_call *call);

// Room in this write for whatever nghttp2 may hand out next?
bool grpc_stream_has_room(const struct grpc_conn *conn);
void grpc_stream_gather_copy(struct grpc_conn *conn, const uint8_t *data, size_t len);

#endif
