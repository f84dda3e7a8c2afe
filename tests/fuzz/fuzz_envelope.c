// SPDX-License-Identifier: Apache-2.0
// Kept headers, as a stored block has them. What is read is sound, and written again it is the same bytes.
#include "relay/envelope.h"
#include "relay/header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct envelope envelope;
    struct weir_buf again = {0};
    struct weir_slice bytes = {data, len};
    if (envelope_decode(bytes, &envelope, NULL) != WEIR_OK)
        return 0;
    CHECK(envelope.count <= ENVELOPE_HEADERS_MAX);
    for (size_t i = 0; i < envelope.count; i++) {
        const struct envelope_header *h = &envelope.headers[i];
        CHECK(header_name_is_token(h->name, true) && memchr(h->value.data, '\n', h->value.len) == NULL);
        CHECK(h->name.data > data && h->value.data + h->value.len <= data + len);
    }
    int rc = envelope_encode(&envelope, &again, NULL);
    CHECK(rc == WEIR_OK || (rc == WEIR_E_LIMIT && len > ENVELOPE_BYTES_MAX / 2));
    bool said_nothing = len == 1 && data[0] == 0;
    if (rc == WEIR_OK && !said_nothing)
        CHECK(again.len == len && (len == 0 || memcmp(again.data, data, len) == 0));
    weir_buf_free(&again);
    return 0;
}
