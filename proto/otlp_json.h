// SPDX-License-Identifier: Apache-2.0
// OTLP/JSON: one export request between protobuf's wire format and JSON, by the descriptors of otlp_schema.h, without a tree in
// between. Pure, any thread.
#ifndef WEIR_PROTO_OTLP_JSON_H
#define WEIR_PROTO_OTLP_JSON_H

#include "proto/base.h"
#include "proto/err.h"

// What JSON could not take over as it was.
struct otlp_json_account {
    uint64_t unknown_fields; // of a newer OTLP: left out (OTLP.md J19)
    uint64_t bad_bytes;      // of strings, that are no UTF-8: each became U+FFFD
};

struct otlp_json_options {
    size_t max_bytes;
    bool pass_bad_utf8; // receiver.utf8: pass
};

// Appends the request as one JSON object without a line break: lowerCamelCase names, 64-bit integers as strings, enums as numbers, ids in
// lower-case hex, other bytes in base64, defaults left out unless their presence counts (J1-J20). Protobuf's rules hold on the way:
// the last of a scalar and of a oneof counts, messages that come twice are merged, repeated fields may lie scattered, packed or not.
// Stack: 32 KiB. Memory beside `out`: only for messages that come twice, at most four times `request.len`.
// WEIR_E_INVALID: no such request (otlp_walk refuses it too). WEIR_E_LIMIT: deeper than OTLP_DEPTH_MAX, more copies of merged messages than that, or `out` would grow by more
// than `max_bytes`. WEIR_E_NOMEM. `out` is as it was then. `account` is added to, also then.
int otlp_json_write(enum weir_signal signal, struct weir_slice request, size_t max_bytes, struct weir_buf *out,
                    struct otlp_json_account *account, struct weir_err *err);

// Appends the request that `json` (one object, UTF-8, no byte order mark) says, as protobuf, in one pass. Names in lowerCamelCase or
// snake_case (OTLP.md J7); unknown ones are skipped at every depth (J6); 64-bit integers as strings or numbers, also 1e3 (J8, J9); enums as
// numbers or names (J5); NaN and the infinities as strings (J10); ids in hex, other bytes in either base64 (J1-J4); null is unset (J11); of a
// scalar that comes twice the last counts, repeated fields go on (J14).
// WEIR_E_INVALID: no such JSON, or nested deeper than OTLP_DEPTH_MAX (J16); the text names the field's path and the place. WEIR_E_LIMIT: the
// request would have more than `max_bytes`. WEIR_E_NOMEM. `out` is as it was then.
int otlp_json_read(enum weir_signal signal, struct weir_slice json, const struct otlp_json_options *options,
                   struct weir_buf *out, struct weir_err *err);

#endif
