// SPDX-License-Identifier: Apache-2.0
#include "proto/grpc.h"
#include "proto/otlp.h"
#include "tests/tools/sink/sink.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <sys/socket.h>
#include <unistd.h>

static struct exchange_header header(const char *name, const char *value)
{
    return (struct exchange_header){name, strlen(name), value, strlen(value)};
}

void sink_answer_taken(struct exchange *exchange, int64_t rejected)
{
    struct weir_buf body = {0};
    struct otlp_partial_success partial = {.rejected = rejected};
    if (rejected > 0)
        snprintf(partial.message, sizeof(partial.message), "weir-sink was told to refuse %lld items",
                 (long long)rejected);
    uint8_t prefix[GRPC_PREFIX_LEN] = {0};
    bool grpc = exchange->transport == EXCHANGE_GRPC;
    bool fits = !grpc || weir_buf_append(&body, prefix, sizeof(prefix));
    if (!fits || otlp_response_encode(&partial, &body) != WEIR_OK)
        abort(); // a test tool without memory has nothing to say
    if (grpc)
        grpc_prefix_write(body.data, false, (uint32_t)(body.len - GRPC_PREFIX_LEN));
    struct exchange_header headers[] = {header("content-type", grpc ? "application/grpc" : "application/x-protobuf")};
    struct exchange_header trailers[] = {header("grpc-status", "0")};
    struct exchange_answer answer = {
        .http_status = 200, .headers = headers, .header_count = 1, .body = {body.data, body.len}};
    if (grpc) {
        answer.trailers = trailers;
        answer.trailer_count = 1;
    }
    exchange_answer(exchange, &answer);
    weir_buf_free(&body);
}

static void refuse_grpc(struct exchange *exchange, const struct sink_refusal *refusal, const struct weir_buf *status)
{
    char code[16], message[600];
    struct weir_buf details = {0};
    snprintf(code, sizeof(code), "%d", refusal->status);
    grpc_message_encode(refusal->message, message, sizeof(message));
    if (grpc_bin_encode((struct weir_slice){status->data, status->len}, &details) != WEIR_OK ||
        !weir_buf_append(&details, "", 1))
        abort();
    struct exchange_header headers[] = {header("content-type", "application/grpc"), header("grpc-status", code),
                                        header("grpc-message", message),
                                        header("grpc-status-details-bin", (const char *)details.data)};
    struct exchange_answer answer = {.http_status = 200, .headers = headers, .header_count = WEIR_COUNT(headers)};
    exchange_answer(exchange, &answer);
    weir_buf_free(&details);
}

// An HTTP status without grpc-status, as a proxy in front of a gRPC upstream sends it, or an OTLP/HTTP error.
static void refuse_http(struct exchange *exchange, const struct sink_refusal *refusal, const struct weir_buf *status)
{
    bool grpc = exchange->transport == EXCHANGE_GRPC;
    char seconds[16];
    snprintf(seconds, sizeof(seconds), "%u", (refusal->retry_delay_ms + 999) / 1000);
    struct exchange_header headers[] = {header("content-type", grpc ? "text/plain" : "application/x-protobuf"),
                                        header("retry-after", seconds)};
    struct exchange_answer answer = {.http_status = rule_status_http(refusal->status),
                                     .headers = headers,
                                     .header_count = refusal->has_retry_delay ? 2 : 1};
    if (!grpc)
        answer.body = (struct weir_slice){status->data, status->len};
    exchange_answer(exchange, &answer);
}

void sink_answer_refused(struct exchange *exchange, const struct sink_refusal *refusal)
{
    struct rpc_status status = {.code = refusal->status < 100 ? refusal->status : GRPC_UNKNOWN,
                                .has_retry_info = refusal->has_retry_delay,
                                .retry_delay_ms = refusal->retry_delay_ms};
    snprintf(status.message, sizeof(status.message), "%s", refusal->message);
    struct weir_buf encoded = {0};
    if (rpc_status_encode(&status, &encoded) != WEIR_OK)
        abort();
    if (exchange->transport == EXCHANGE_GRPC && refusal->status < 100)
        refuse_grpc(exchange, refusal, &encoded);
    else
        refuse_http(exchange, refusal, &encoded);
    weir_buf_free(&encoded);
}

static bool peer_is(int fd, const char *peer)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof(address);
    if (getpeername(fd, (struct sockaddr *)&address, &len) != 0)
        return false;
    char host[INET6_ADDRSTRLEN], text[INET6_ADDRSTRLEN + 16];
    if (address.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&address;
        snprintf(text, sizeof(text), "%s:%u", inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host)),
                 ntohs(in->sin_port));
    } else if (address.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)&address;
        snprintf(text, sizeof(text), "[%s]:%u", inet_ntop(AF_INET6, &in->sin6_addr, host, sizeof(host)),
                 ntohs(in->sin6_port));
    } else {
        return false;
    }
    return strcmp(text, peer) == 0;
}

// The server hides its sockets, rightly; a peer that breaks off is found by its address among our descriptors.
static void write_and_close(const struct exchange *exchange, const void *last_words, size_t len)
{
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        int fd = (int)strtol(entry->d_name, NULL, 10);
        if (entry->d_name[0] == '.' || !peer_is(fd, exchange->peer))
            continue;
        if (write(fd, last_words, len) < 0)
            fprintf(stderr, "weir-sink: cutting %s: the peer has left already\n", exchange->peer);
        shutdown(fd, SHUT_RDWR);
    }
    if (dir != NULL)
        closedir(dir);
}

void sink_cut(const struct exchange *exchange)
{
    static const char http[] =
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 64\r\n\r\nhalf";
    static const char http2[] = {0, 0, 20, 1, 4}; // a part of a HEADERS frame's header
    bool grpc = exchange->transport == EXCHANGE_GRPC;
    write_and_close(exchange, grpc ? http2 : http, grpc ? sizeof(http2) : sizeof(http) - 1);
}

void sink_goaway(const struct exchange *exchange)
{
    // Length 8, type 7, no flags, stream 0; last stream 0, NO_ERROR.
    static const char frame[9 + 8] = {0, 0, 8, 7};
    write_and_close(exchange, frame, exchange->transport == EXCHANGE_GRPC ? sizeof(frame) : 0);
}
