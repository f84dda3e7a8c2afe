// SPDX-License-Identifier: Apache-2.0
// OTLP/JSON: what the walker takes is written, and what is written is one line of JSON that jansson reads. Input: one byte that chooses
// the signal, then a request.
#include <jansson.h>

#include "proto/otlp_json.h"
#include "proto/walk.h"

#define JSON_MAX ((size_t)16 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "fuzz_otlp_json: %s\n", what);
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len == 0)
        return 0;
    enum weir_signal signal = (enum weir_signal)(data[0] % WEIR_SIGNALS);
    struct otlp_walk_options lax = {.pass_bad_utf8 = true};
    struct otlp_json_account account = {0};
    struct otlp_summary summary;
    struct weir_buf out = {0};
    int code = otlp_json_write(signal, (struct weir_slice){data + 1, len - 1}, JSON_MAX, &out, &account, NULL);
    if (otlp_walk(signal, data + 1, len - 1, &lax, &summary, NULL) == WEIR_OK)
        check(code == WEIR_OK || code == WEIR_E_LIMIT, "a sound request is refused");
    check(code == WEIR_OK || out.len == 0, "a refused request leaves something behind");
    if (code == WEIR_OK) {
        json_error_t error;
        json_t *parsed = json_loadb((const char *)out.data, out.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
        check(parsed != NULL, error.text);
        check(memchr(out.data, '\n', out.len) == NULL, "more than one line");
        json_decref(parsed);
    }
    weir_buf_free(&out);
    return 0;
}
