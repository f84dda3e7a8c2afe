// SPDX-License-Identifier: Apache-2.0
#include "relay/envelope.h"

#include "relay/header.h"

#define LENGTH_BYTES_MAX 3 // 64 KiB, the most that the spool takes, needs no more

static bool put_text(struct weir_buf *out, struct weir_slice text)
{
    uint8_t length[LENGTH_BYTES_MAX];
    size_t n = 0, rest = text.len;
    for (; rest >= 0x80; rest >>= 7)
        length[n++] = (uint8_t)(rest | 0x80);
    length[n++] = (uint8_t)rest;
    return weir_buf_append(out, length, n) && weir_buf_append(out, text.data, text.len);
}

// Whether such a header can be stored and sent on.
static bool is_sound(const struct envelope_header *header)
{
    return header_name_is_token(header->name, true) && header_may_be_kept(header->name) &&
           header_value_is_sound(header->value);
}

int envelope_encode(const struct envelope *envelope, struct weir_buf *out, struct weir_err *err)
{
    size_t begin = out->len, bytes = 1;
    uint8_t flags = (uint8_t)((envelope->alone ? ENVELOPE_ALONE : 0) | (envelope->count > 0 ? ENVELOPE_HEADERS : 0) |
                              (envelope->handoff.data != NULL ? ENVELOPE_HANDOFF : 0));
    if (envelope->count > ENVELOPE_HEADERS_MAX)
        return weir_fail(err, WEIR_E_LIMIT, "more than %u headers are to be kept", ENVELOPE_HEADERS_MAX);
    for (size_t i = 0; i < envelope->count; i++) {
        const struct envelope_header *header = &envelope->headers[i];
        if (!is_sound(header))
            return weir_fail(err, WEIR_E_INVALID, "the header %.*s holds a character that cannot be sent on",
                             (int)(header->name.len < 64 ? header->name.len : 64), (const char *)header->name.data);
        bytes += header->name.len + header->value.len + 4; // lengths of two bytes each, at most
        if (bytes > ENVELOPE_BYTES_MAX)
            return weir_fail(err, WEIR_E_LIMIT, "the headers to be kept are larger than %u bytes", ENVELOPE_BYTES_MAX);
    }
    if (flags == 0)
        return WEIR_OK;
    bool good = weir_buf_append(out, &flags, 1);
    if (envelope->handoff.data != NULL) {
        assert(envelope->handoff.len == HANDOFF_BYTES);
        good = good && weir_buf_append(out, envelope->handoff.data, HANDOFF_BYTES);
    }
    for (size_t i = 0; i < envelope->count && good; i++)
        good = put_text(out, envelope->headers[i].name) && put_text(out, envelope->headers[i].value);
    if (good)
        return WEIR_OK;
    out->len = begin;
    return weir_fail(err, WEIR_E_NOMEM, "out of memory");
}

static bool take_text(struct weir_slice *rest, struct weir_slice *text)
{
    size_t length = 0, n = 0;
    for (bool more = true; more; n++) {
        if (n == rest->len || n == LENGTH_BYTES_MAX)
            return false;
        length |= (size_t)(rest->data[n] & 0x7f) << (7 * n);
        more = (rest->data[n] & 0x80) != 0;
        if (!more && n > 0 && rest->data[n] == 0)
            return false; // could be shorter
    }
    if (length > rest->len - n)
        return false;
    *text = (struct weir_slice){rest->data + n, length};
    *rest = (struct weir_slice){rest->data + n + length, rest->len - n - length};
    return true;
}

int envelope_decode(struct weir_slice bytes, struct envelope *out, struct weir_err *err)
{
    out->alone = false;
    out->handoff = (struct weir_slice){NULL, 0};
    out->count = 0;
    if (bytes.len == 0)
        return WEIR_OK;
    uint8_t flags = bytes.data[0];
    struct weir_slice rest = {bytes.data + 1, bytes.len - 1};
    if ((flags & ~(ENVELOPE_ALONE | ENVELOPE_HEADERS | ENVELOPE_HANDOFF)) != 0)
        return weir_fail(err, WEIR_E_FORMAT, "an envelope with flags 0x%02x: a newer weir wrote it", flags);
    if ((flags & ENVELOPE_HANDOFF) != 0) {
        if (rest.len < HANDOFF_BYTES)
            return weir_fail(err, WEIR_E_CORRUPT, "an envelope of %zu bytes with flags 0x%02x", bytes.len, flags);
        out->handoff = (struct weir_slice){rest.data, HANDOFF_BYTES};
        rest = (struct weir_slice){rest.data + HANDOFF_BYTES, rest.len - HANDOFF_BYTES};
    }
    if (((flags & ENVELOPE_HEADERS) != 0) != (rest.len > 0))
        return weir_fail(err, WEIR_E_CORRUPT, "an envelope of %zu bytes with flags 0x%02x", bytes.len, flags);
    out->alone = (flags & ENVELOPE_ALONE) != 0;
    while (rest.len > 0) {
        struct envelope_header *header = &out->headers[out->count];
        if (out->count == ENVELOPE_HEADERS_MAX || !take_text(&rest, &header->name) ||
            !take_text(&rest, &header->value) || !is_sound(header))
            return weir_fail(err, WEIR_E_CORRUPT, "an envelope whose header %zu cannot be", out->count);
        out->count++;
    }
    return WEIR_OK;
}
