// SPDX-License-Identifier: Apache-2.0
// The atoms of JSON text, appended to a buffer up to a limit. The first failure sticks: later calls do nothing, and one look at
// `code` at the end is enough. Pure, any thread.
#ifndef WEIR_PROTO_JSON_TEXT_H
#define WEIR_PROTO_JSON_TEXT_H

#include "proto/base.h"
#include "proto/err.h"

struct json_text {
    struct weir_buf *out;
    size_t limit; // out->len never passes it
    int code;     // WEIR_OK, WEIR_E_LIMIT, WEIR_E_NOMEM
};

void json_put(struct json_text *text, const void *data, size_t len);
void json_put_char(struct json_text *text, char c);
// A string of JSON: quoted, escaped, without line breaks. Bytes that are no UTF-8 become U+FFFD, one each; returns how many.
uint64_t json_put_string(struct json_text *text, struct weir_slice string);
void json_put_base64(struct json_text *text, struct weir_slice bytes); // standard alphabet, padded, quoted
void json_put_hex(struct json_text *text, struct weir_slice bytes);    // lower case, quoted
// The shortest decimal that reads back as the same double; NaN and the infinities as protobuf has them: "NaN", "Infinity", "-Infinity".
void json_put_double(struct json_text *text, double value);
void json_put_u64(struct json_text *text, uint64_t value);
void json_put_i64(struct json_text *text, int64_t value);

#endif
