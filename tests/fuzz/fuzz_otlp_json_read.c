// SPDX-License-Identifier: Apache-2.0
// What the JSON reader takes is a request that the walker takes, and the writer's JSON of it reads back to the same JSON. Input: one byte
// that chooses the signal, then text.
#include <stdio.h>

#include "proto/otlp_json.h"
#include "proto/walk.h"

#define WIRE_MAX ((size_t)1 << 20)
#define JSON_MAX ((size_t)16 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "fuzz_otlp_json_read: %s\n", what);
        abort();
    }
}

static bool write_again(enum weir_signal signal, const struct weir_buf *wire, struct weir_buf *json)
{
    struct otlp_json_account account = {0};
    json->len = 0;
    return otlp_json_write(signal, (struct weir_slice){wire->data, wire->len}, JSON_MAX, json, &account, NULL) ==
           WEIR_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len == 0)
        return 0;
    enum weir_signal signal = (enum weir_signal)(data[0] % WEIR_SIGNALS);
    struct otlp_json_options options = {.max_bytes = WIRE_MAX};
    struct otlp_summary summary;
    struct weir_buf wire = {0}, json = {0}, again = {0};
    struct weir_err err = {0};
    int code = otlp_json_read(signal, (struct weir_slice){data + 1, len - 1}, &options, &wire, &err);
    check(code == WEIR_OK || (wire.len == 0 && err.text[0] != '\0'), "refused, and something is left or nothing said");
    check(wire.len <= WIRE_MAX, "more than the limit");
    if (code == WEIR_OK) {
        check(otlp_walk(signal, wire.data, wire.len, NULL, &summary, NULL) == WEIR_OK, "what was read is no request");
        if (write_again(signal, &wire, &json)) {
            struct weir_slice text = {json.data, json.len};
            wire.len = 0;
            check(otlp_json_read(signal, text, &options, &wire, &err) == WEIR_OK, err.text);
            check(write_again(signal, &wire, &again) && again.len == json.len &&
                      (json.len == 0 || memcmp(again.data, json.data, json.len) == 0),
                  "JSON changes when it is read and written again");
        }
    }
    weir_buf_free(&wire);
    weir_buf_free(&json);
    weir_buf_free(&again);
    return 0;
}
