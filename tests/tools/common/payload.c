// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/common/payload.h"

#include <stdio.h>

// Field numbers from opentelemetry-proto; the sink checks what is built here with protobuf-c against the schema.
enum { KEY_VALUE_KEY = 1, KEY_VALUE_VALUE = 2, ANY_STRING = 1, ANY_INT = 3 };

static uint64_t next_random(struct payload *payload) // xorshift64*: repeatable from the seed
{
    uint64_t x = payload->random ? payload->random : 0x9e3779b97f4a7c15u;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    payload->random = x;
    return x * 0x2545f4914f6cdd1du;
}

static void put_attribute(struct emitter *out, uint32_t field, const char *key, const char *text, size_t len)
{
    size_t kv = emit_begin(out, field, len + 20);
    emit_string(out, KEY_VALUE_KEY, key);
    size_t any = emit_begin(out, KEY_VALUE_VALUE, len + 2);
    emit_bytes(out, ANY_STRING, text, len);
    emit_end(out, any, len + 2);
    emit_end(out, kv, len + 20);
}

static void put_text(struct emitter *out, uint32_t field, const char *key, const char *text)
{
    put_attribute(out, field, key, text, strlen(text));
}

static void put_int(struct emitter *out, uint32_t field, const char *key, uint64_t value)
{
    size_t kv = emit_begin(out, field, 30);
    emit_string(out, KEY_VALUE_KEY, key);
    size_t any = emit_begin(out, KEY_VALUE_VALUE, 4);
    emit_varint(out, ANY_INT, value);
    emit_end(out, any, 4);
    emit_end(out, kv, 30);
}

#define WORD_BYTES 10 // longest word

// One word, or eight hexadecimal digits, at `at`, where WORD_BYTES are free. Returns its length.
static size_t put_word(char *at, uint64_t random)
{
    static const char words[16][WORD_BYTES + 1] = {
        "select ",  "from ",    "orders ", "customer ", "where ",   "status ", "pending ", "shipment ",
        "timeout ", "gateway ", "retry ",  "checkout ", "payment ", "cart ",   "session ", "inventory "};
    if (random % 5 != 0) {
        const char *word = words[random >> 32 & 15];
        memcpy(at, word, WORD_BYTES);
        return strlen(word);
    }
    for (int i = 0; i < 8; i++)
        at[i] = "0123456789abcdef"[random >> (32 + 4 * i) & 15];
    at[8] = ' ';
    return 9;
}

// Words in random order: compresses about as well as log text does, unlike zeros or random bytes.
static void put_filling(struct payload *payload, struct emitter *out, uint32_t field)
{
    char text[4096 + WORD_BYTES];
    size_t left = payload->fill_bytes;
    for (unsigned n = 0; left > 0; n++) {
        size_t want = left < 4096 ? left : 4096, len = 0;
        while (len < want)
            len += put_word(text + len, next_random(payload));
        char key[24];
        snprintf(key, sizeof(key), "db.query.text.%u", n);
        put_attribute(out, field, key, text, want);
        left -= want;
    }
}

static void put_resource(const struct payload *payload, struct emitter *out)
{
    size_t resource = emit_begin(out, 1, 400);
    put_text(out, 1, "service.name", "checkout");
    put_text(out, 1, "service.namespace", "shop");
    put_text(out, 1, "service.instance.id", "checkout-7c9f6d5b8-x2x4q");
    put_text(out, 1, "k8s.namespace.name", "production");
    put_text(out, 1, "k8s.pod.name", "checkout-7c9f6d5b8-x2x4q");
    put_text(out, 1, "host.name", "node-17.example.internal");
    put_text(out, 1, "telemetry.sdk.name", "opentelemetry");
    put_text(out, 1, "telemetry.sdk.language", "cpp");
    put_text(out, 1, PAYLOAD_STREAM_KEY, payload->stream);
    emit_end(out, resource, 400);
}

static void put_random_id(struct payload *payload, struct emitter *out, uint32_t field, size_t len)
{
    uint8_t bytes[16];
    weir_put_u64(bytes, next_random(payload) | 1);
    weir_put_u64(bytes + 8, next_random(payload));
    emit_bytes(out, field, bytes, len);
}

static void put_span(struct payload *payload, struct emitter *out, uint64_t id)
{
    static const char *const routes[] = {"/api/orders/{id}", "/api/cart", "/api/checkout", "/healthz"};
    uint64_t start = payload->base_unix_ns + id * 1000, r = next_random(payload);
    size_t span = emit_begin(out, 2, 300 + payload->fill_bytes);
    put_random_id(payload, out, 1, 16);
    put_random_id(payload, out, 2, 8);
    put_random_id(payload, out, 4, 8);
    emit_string(out, 5, routes[r & 3]);
    emit_varint(out, 6, 2); // SPAN_KIND_SERVER
    emit_fixed64(out, 7, start);
    emit_fixed64(out, 8, start + 1000 + (r >> 40));
    put_text(out, 9, "http.request.method", r & 4 ? "GET" : "POST");
    put_text(out, 9, "http.route", routes[r & 3]);
    put_int(out, 9, "http.response.status_code", r % 50 ? 200 : 500);
    put_int(out, 9, PAYLOAD_ID_KEY, id);
    put_filling(payload, out, 9);
    emit_end(out, span, 300 + payload->fill_bytes);
}

static void put_log_record(struct payload *payload, struct emitter *out, uint64_t id)
{
    uint64_t r = next_random(payload), time = payload->base_unix_ns + id * 1000;
    size_t record = emit_begin(out, 2, 300 + payload->fill_bytes);
    emit_fixed64(out, 1, time);
    emit_varint(out, 2, r & 1 ? 9 : 13); // INFO, WARN
    emit_string(out, 3, r & 1 ? "INFO" : "WARN");
    char text[96];
    int len =
        snprintf(text, sizeof(text), "order %08x handled in %u ms", (unsigned)(r >> 32), (unsigned)(r >> 20 & 1023));
    size_t body = emit_begin(out, 5, 40);
    emit_bytes(out, 1, text, (size_t)len);
    emit_end(out, body, 40);
    put_text(out, 6, "logger.name", "shop.checkout.OrderService");
    put_int(out, 6, PAYLOAD_ID_KEY, id);
    put_filling(payload, out, 6);
    put_random_id(payload, out, 9, 16);
    put_random_id(payload, out, 10, 8);
    emit_fixed64(out, 11, time + 500);
    emit_end(out, record, 300 + payload->fill_bytes);
}

enum { GAUGE = 5, SUM = 7, HISTOGRAM = 9, NUMBER_ATTRIBUTES = 7, HISTOGRAM_ATTRIBUTES = 9 };

static void put_data_point(struct payload *payload, struct emitter *out, uint32_t kind, uint64_t id)
{
    uint64_t r = next_random(payload), time = payload->base_unix_ns + id * 1000;
    uint32_t attributes = kind == HISTOGRAM ? HISTOGRAM_ATTRIBUTES : NUMBER_ATTRIBUTES;
    size_t point = emit_begin(out, 1, 200 + payload->fill_bytes);
    emit_fixed64(out, 2, payload->base_unix_ns);
    emit_fixed64(out, 3, time);
    if (kind == HISTOGRAM) {
        uint8_t counts[4 * 8] = {0}, bounds[3 * 8];
        const double bound[3] = {5, 50, 500};
        emit_fixed64(out, 4, 1 + (r & 255));
        weir_put_u64(counts + 8, 1 + (r & 255));
        for (int i = 0; i < 3; i++) {
            uint64_t bits;
            memcpy(&bits, &bound[i], sizeof(bits));
            weir_put_u64(bounds + 8 * i, bits);
        }
        emit_bytes(out, 6, counts, sizeof(counts));
        emit_bytes(out, 7, bounds, sizeof(bounds));
    } else {
        emit_fixed64(out, 6, id); // as_int
    }
    put_text(out, attributes, "http.route", r & 1 ? "/api/orders/{id}" : "/api/cart");
    put_int(out, attributes, PAYLOAD_ID_KEY, id);
    put_filling(payload, out, attributes);
    emit_end(out, point, 200 + payload->fill_bytes);
}

// A metric holds up to eight data points; kinds take turns.
static void put_metrics(struct payload *payload, struct emitter *out, uint64_t first_id, uint64_t items)
{
    static const uint32_t kinds[] = {SUM, GAUGE, HISTOGRAM};
    static const char *const names[] = {"http.server.requests", "process.open_file_descriptors",
                                        "http.server.duration"};
    for (uint64_t done = 0; done < items;) {
        size_t k = (size_t)(done / 8 % 3), expected = 8 * (200 + payload->fill_bytes);
        uint64_t points = items - done < 8 ? items - done : 8;
        size_t metric = emit_begin(out, 2, expected);
        emit_string(out, 1, names[k]);
        emit_string(out, 3, k == 2 ? "ms" : "1");
        size_t data = emit_begin(out, kinds[k], expected);
        for (uint64_t i = 0; i < points; i++)
            put_data_point(payload, out, kinds[k], first_id + done + i);
        if (kinds[k] != GAUGE)
            emit_varint(out, 2, 2); // AGGREGATION_TEMPORALITY_CUMULATIVE
        emit_end(out, data, expected);
        emit_end(out, metric, expected);
        done += points;
    }
}

bool payload_build(struct payload *payload, uint64_t first_id, uint64_t items, struct emitter *out)
{
    size_t expected = payload->last_bytes ? payload->last_bytes : 8192;
    out->buf.len = 0;
    size_t root = emit_begin(out, 1, expected);
    put_resource(payload, out);
    size_t scope_items = emit_begin(out, 2, expected);
    size_t scope = emit_begin(out, 1, 40);
    emit_string(out, 1, "weir-gen");
    emit_string(out, 2, "1.0");
    emit_end(out, scope, 40);
    if (payload->signal == WEIR_METRICS) {
        put_metrics(payload, out, first_id, items);
    } else {
        for (uint64_t i = 0; i < items; i++)
            (payload->signal == WEIR_TRACES ? put_span : put_log_record)(payload, out, first_id + i);
    }
    emit_end(out, scope_items, expected);
    emit_end(out, root, expected);
    payload->last_bytes = out->buf.len;
    return !out->failed;
}

bool payload_fit(struct payload *payload, uint64_t items)
{
    struct emitter out = {0};
    payload->fill_bytes = 0;
    bool built = payload_build(payload, 0, items, &out);
    if (built && payload->target_bytes > out.buf.len) {
        size_t per_item = (payload->target_bytes - out.buf.len) / (items ? items : 1);
        size_t overhead = 28; // key and lengths of the filling attribute
        payload->fill_bytes = per_item > overhead ? per_item - overhead : 0;
    }
    weir_buf_free(&out.buf);
    return built;
}
