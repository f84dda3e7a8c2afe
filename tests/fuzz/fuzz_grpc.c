// SPDX-License-Identifier: Apache-2.0
// Everything that reads a peer's gRPC bytes and header values. Input: one byte that sizes the pieces, then what is read.
#include "proto/grpc.h"
#include "proto/otlp.h"
#include "proto/utf8.h"
#include "proto/verdict.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

static int deframe(const uint8_t *data, size_t len, size_t piece, struct weir_buf *out)
{
    struct grpc_deframer deframer = {0};
    for (size_t at = 0; at < len; at += piece) {
        struct weir_slice in = {data + at, len - at < piece ? len - at : piece};
        while (in.len > 0) {
            struct weir_slice payload;
            size_t before = in.len;
            int code = grpc_deframer_feed(&deframer, &in, &payload, NULL);
            if (code != WEIR_OK)
                return code;
            CHECK(in.len < before);
            CHECK(weir_buf_append(out, payload.data, payload.len));
        }
    }
    return grpc_deframer_finish(&deframer, NULL);
}

// Pieces change nothing.
static void check_deframer(const uint8_t *data, size_t len, size_t piece)
{
    struct weir_buf whole = {0}, parts = {0};
    CHECK(deframe(data, len, len + 1, &whole) == deframe(data, len, piece, &parts));
    CHECK(whole.len == parts.len && (whole.len == 0 || memcmp(whole.data, parts.data, whole.len) == 0));
    weir_buf_free(&whole);
    weir_buf_free(&parts);
}

// What was read can be written, and reads the same again.
static void check_status(struct weir_slice body)
{
    struct rpc_status status, again;
    if (rpc_status_decode(body, &status, NULL) != WEIR_OK)
        return;
    CHECK(utf8_is_valid((const uint8_t *)status.message, strlen(status.message)));
    struct weir_buf out = {0};
    CHECK(rpc_status_encode(&status, &out) == WEIR_OK);
    CHECK(rpc_status_decode((struct weir_slice){out.data, out.len}, &again, NULL) == WEIR_OK);
    CHECK(status.code == again.code && strcmp(status.message, again.message) == 0 &&
          status.has_retry_info == again.has_retry_info && status.retry_delay_ms == again.retry_delay_ms);
    weir_buf_free(&out);
}

static void check_response(struct weir_slice body)
{
    struct otlp_partial_success partial, again;
    if (otlp_response_decode(body, &partial, NULL) != WEIR_OK)
        return;
    CHECK(utf8_is_valid((const uint8_t *)partial.message, strlen(partial.message)));
    struct weir_buf out = {0};
    CHECK(otlp_response_encode(&partial, &out) == WEIR_OK);
    CHECK(otlp_response_decode((struct weir_slice){out.data, out.len}, &again, NULL) == WEIR_OK);
    CHECK(partial.rejected == again.rejected && strcmp(partial.message, again.message) == 0);
    weir_buf_free(&out);
}

static void check_headers(const char *text, size_t len)
{
    uint64_t timeout_ns, again_ns;
    char buf[16];
    if (grpc_timeout_parse(text, len, &timeout_ns)) {
        grpc_timeout_format(timeout_ns, buf);
        CHECK(grpc_timeout_parse(buf, strlen(buf), &again_ns) && again_ns >= timeout_ns);
    }
    int status;
    if (grpc_status_parse(text, len, &status))
        CHECK(status >= 0 && grpc_status_name(status) != NULL);

    char plain[200], wire[3 * sizeof(plain)], back[sizeof(plain)];
    grpc_message_decode(text, len, plain, sizeof(plain));
    grpc_message_encode(plain, wire, sizeof(wire));
    grpc_message_decode(wire, strlen(wire), back, sizeof(back));
    CHECK(strcmp(plain, back) == 0);

    struct weir_buf bytes = {0}, base64 = {0}, bytes2 = {0};
    if (grpc_bin_decode(text, len, &bytes, NULL) == WEIR_OK) {
        CHECK(grpc_bin_encode((struct weir_slice){bytes.data, bytes.len}, &base64) == WEIR_OK);
        CHECK(grpc_bin_decode((char *)base64.data, base64.len, &bytes2, NULL) == WEIR_OK);
        CHECK(bytes.len == bytes2.len && (bytes.len == 0 || memcmp(bytes.data, bytes2.data, bytes.len) == 0));
        check_status((struct weir_slice){bytes.data, bytes.len});
    }
    weir_buf_free(&bytes);
    weir_buf_free(&base64);
    weir_buf_free(&bytes2);
}

static void check_verdicts(struct weir_slice text, uint8_t choice)
{
    static const int statuses[] = {200, 400, 413, 429, 503, 0};
    static const uint8_t digits[] = "0123456789101112131415168";
    struct verdict_answer answer = {
        .http_status = statuses[choice % WEIR_COUNT(statuses)],
        .content_type = {(const uint8_t *)"application/x-protobuf", choice & 1 ? 22 : 3},
        .grpc_status = {digits + choice % 24, choice % 3},
        .grpc_message = text,
        .grpc_details = text,
        .retry_after = text,
        .body = text,
        .sent_raw_bytes = (uint64_t)choice << 16,
        .now_unix_ns = UINT64_C(1732085549000000000),
    };
    struct verdict out;
    verdict_http(&answer, &out);
    CHECK(utf8_is_valid((const uint8_t *)out.message, strlen(out.message)));
    CHECK(out.kind == VERDICT_RETRY || out.retry_after_ms == 0);
    verdict_grpc(&answer, &out);
    CHECK(utf8_is_valid((const uint8_t *)out.message, strlen(out.message)));
    CHECK(out.kind == VERDICT_RETRY || out.retry_after_ms == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len == 0)
        return 0;
    struct weir_slice rest = {data + 1, len - 1};
    check_deframer(rest.data, rest.len, 1 + data[0] % 16);
    check_status(rest);
    check_response(rest);
    check_headers((const char *)rest.data, rest.len);
    check_verdicts(rest, data[0]);
    return 0;
}
