// SPDX-License-Identifier: Apache-2.0
// HTTP/2 as gRPC's own documents and grpc-go's server have it, where clients are odd but not hostile.
#include "server_peer.h"

TestSuite(server_protocol, .timeout = 60);

struct block {
    uint8_t bytes[512];
    size_t len;
};

// A header, literal and not indexed (RFC 7541, 6.2.2).
static void put_header(struct block *block, const char *name, const char *value)
{
    size_t name_len = strlen(name), value_len = strlen(value);
    cr_assert(name_len < 127 && value_len < 127 && block->len + 3 + name_len + value_len <= sizeof(block->bytes));
    block->bytes[block->len++] = 0;
    block->bytes[block->len++] = (uint8_t)name_len;
    memcpy(block->bytes + block->len, name, name_len);
    block->len += name_len;
    block->bytes[block->len++] = (uint8_t)value_len;
    memcpy(block->bytes + block->len, value, value_len);
    block->len += value_len;
}

static void send_frame(struct peer *peer, uint8_t type, uint8_t flags, uint32_t id, const struct block *payload)
{
    uint8_t frame[9 + sizeof(payload->bytes)] = {
        0, (uint8_t)(payload->len >> 8), (uint8_t)payload->len, type, flags, 0, 0, (uint8_t)(id >> 8), (uint8_t)id};
    memcpy(frame + 9, payload->bytes, payload->len);
    rig_send(peer->fd, frame, 9 + payload->len);
}

static struct block request_of(const char *extra, const char *value, bool twice_authority)
{
    struct block block = {0};
    put_header(&block, ":method", "POST");
    put_header(&block, ":scheme", "http");
    put_header(&block, ":path", "/sink");
    put_header(&block, ":authority", "x");
    if (twice_authority)
        put_header(&block, ":authority", "y");
    put_header(&block, "content-type", "application/grpc");
    if (extra != NULL)
        put_header(&block, extra, value);
    return block;
}

// A frame by hand, as if nghttp2's client had never known the stream. False: the connection ended.
static bool raw_frame(int fd, uint8_t head[9], uint8_t payload[256])
{
    if (recv(fd, head, 9, MSG_WAITALL) != 9)
        return false;
    size_t len = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
    cr_assert_leq(len, 256);
    return len == 0 || recv(fd, payload, len, MSG_WAITALL) == (ssize_t)len;
}

// The error code that a frame of that type carries for the stream; UINT32_MAX: the connection ended without one.
static uint32_t await_error(int fd, uint8_t type, uint32_t id)
{
    uint8_t head[9] = {0}, payload[256] = {0};
    while (raw_frame(fd, head, payload)) {
        uint32_t stream = (uint32_t)head[5] << 24 | (uint32_t)head[6] << 16 | (uint32_t)head[7] << 8 | head[8];
        if (head[3] == type && stream == id)
            return payload[type == NGHTTP2_GOAWAY ? 7 : 3];
        cr_assert(head[3] != NGHTTP2_GOAWAY && head[3] != NGHTTP2_RST_STREAM, "type %d, code %d", head[3], payload[7]);
    }
    return UINT32_MAX;
}

Test(server_protocol, connection_headers_and_two_authorities_end_their_stream_alone_G5)
{
    struct rig *rig = rig_new(1, NULL);
    struct peer *peer = peer_new(rig);
    const struct block rows[] = {request_of("connection", "close", false),
                                 request_of("transfer-encoding", "chunked", false), request_of(NULL, NULL, true),
                                 request_of("Upper", "case", false)};
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        uint32_t id = (uint32_t)(1 + 2 * i);
        send_frame(peer, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM, id, &rows[i]);
        cr_assert_eq(await_error(peer->fd, NGHTTP2_RST_STREAM, id), NGHTTP2_PROTOCOL_ERROR, "row %zu", i);
    }
    cr_assert_eq(atomic_load(&rig->begins), 0);
    struct block sound = request_of("x-any", "thing", false);
    send_frame(peer, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM, 21, &sound);
    RIG_WAIT(atomic_load(&rig->ends) == 1);
    peer_free(peer);
    rig_free(rig);
}

Test(server_protocol, unknown_headers_and_binary_metadata_are_taken_G7)
{
    struct rig *rig = rig_new(1, NULL);
    struct peer *peer = peer_new(rig);
    const nghttp2_nv rows[] = {NV("x-unknown", "\xff\xfe"), NV("trace-bin", "AAE"), NV("trace-bin", "AAE=,/w"),
                               NV("trace-bin", "not base64!"), NV("grpc-future", "1")};
    for (size_t i = 0; i < WEIR_COUNT(rows); i++)
        expect_ok(peer, submit_with(peer, "/sink", (struct weir_slice){0}, false, &rows[i]));
    peer_free(peer);
    rig_free(rig);
}

Test(server_protocol, even_stream_ids_end_the_connection_and_old_ones_begin_nothing_G36)
{
    struct rig *rig = rig_new(1, NULL);
    struct block sound = request_of(NULL, NULL, false);
    const uint8_t flags = NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM;
    struct peer *even = peer_new(rig);
    send_frame(even, NGHTTP2_HEADERS, flags, 2, &sound);
    cr_assert_eq(await_error(even->fd, NGHTTP2_GOAWAY, 0), NGHTTP2_PROTOCOL_ERROR);
    peer_free(even);
    cr_assert_eq(atomic_load(&rig->begins), 0);
    struct peer *back = peer_new(rig);
    send_frame(back, NGHTTP2_HEADERS, flags, 7, &sound);
    RIG_WAIT(atomic_load(&rig->begins) == 1);
    send_frame(back, NGHTTP2_HEADERS, flags, 5, &sound);
    // No new stream: it looks as trailers do that crossed our reset, so it is not held against the connection.
    send_frame(back, NGHTTP2_HEADERS, flags, 9, &sound);
    RIG_WAIT(atomic_load(&rig->ends) == 2);
    cr_assert_eq(atomic_load(&rig->begins), 2);
    peer_free(back);
    rig_free(rig);
}

Test(server_protocol, unknown_frames_are_skipped_and_pings_echoed_G36)
{
    struct rig *rig = rig_new(1, NULL);
    struct peer *peer = peer_new(rig);
    const struct block junk = {.bytes = "whatever", .len = 8};
    send_frame(peer, 0xee, 0xff, 0, &junk);
    send_frame(peer, 0x42, 0, 9, &junk);
    const uint8_t eight[8] = {1, 6, 1, 8, 0, 3, 3, 9};
    nghttp2_submit_ping(peer->session, NGHTTP2_FLAG_NONE, eight);
    PEER_UNTIL(peer, peer->pongs == 1);
    cr_assert_eq(memcmp(peer->pong, eight, sizeof(eight)), 0);
    expect_ok(peer, submit(peer, "/sink", ""));
    peer_free(peer);
    rig_free(rig);
}

// grpc-go ends a connection at the third PING within five minutes, or two hours where no call is under way. Here a keep-alive may be as
// eager as it likes, as long as its answers are read.
Test(server_protocol, no_number_of_pings_is_too_many_while_they_are_read_G39)
{
    struct rig *rig = rig_new(1, NULL);
    struct peer *peer = peer_new(rig);
    for (unsigned i = 1; i <= 3000; i++) { // without a stream, then with one
        if (i == 1500)
            submit(peer, "/hold", "");
        nghttp2_submit_ping(peer->session, NGHTTP2_FLAG_NONE, NULL);
        PEER_UNTIL(peer, peer->pongs == i);
    }
    cr_assert_eq(peer->goaways, 0);
    expect_ok(peer, submit(peer, "/sink", ""));
    peer_free(peer);
    rig_free(rig);
}

// Each settings frame is acknowledged, and what a client asks for is kept to.
Test(server_protocol, settings_may_change_at_any_time)
{
    struct rig *rig = rig_new(1, NULL);
    struct peer *peer = peer_new(rig);
    for (uint32_t i = 0; i < 300; i++) {
        nghttp2_settings_entry entries[] = {{NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, i % 2 ? 0 : 4096},
                                            {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 3 + i},
                                            {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, 16384 + i}};
        nghttp2_submit_settings(peer->session, NGHTTP2_FLAG_NONE, entries, WEIR_COUNT(entries));
        expect_ok(peer, submit(peer, "/sink", "abc"));
    }
    cr_assert_eq(peer->goaways, 0);
    peer_free(peer);
    rig_free(rig);
}

Test(server_protocol, calls_end_in_any_order_G33)
{
    struct rig *rig = rig_new(1, NULL);
    struct peer *peer = peer_new(rig);
    int32_t first = submit(peer, "/hold", "");
    for (int i = 0; i < 50; i++)
        expect_ok(peer, submit(peer, "/sink", "later, and sooner done"));
    cr_assert_not(call_of(peer, first)->closed);
    rig_release(rig);
    expect_ok(peer, first);
    peer_free(peer);
    rig_free(rig);
}
