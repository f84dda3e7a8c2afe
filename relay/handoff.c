// SPDX-License-Identifier: Apache-2.0
#include "relay/handoff.h"

#include <inttypes.h>
#include <stdio.h>

#define PART "part/"

static bool skip(struct weir_slice *rest, char c)
{
    if (rest->len == 0 || rest->data[0] != (uint8_t)c)
        return false;
    rest->data++;
    rest->len--;
    return true;
}

// Digits without a sign or a needless zero.
static bool take_number(struct weir_slice *rest, uint64_t max, uint64_t *out)
{
    uint64_t value = 0;
    size_t n = 0;
    for (; n < rest->len && rest->data[n] >= '0' && rest->data[n] <= '9'; n++) {
        uint64_t digit = (uint64_t)(rest->data[n] - '0');
        if (value > (max - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    if (n == 0 || (n > 1 && rest->data[0] == '0'))
        return false;
    rest->data += n;
    rest->len -= n;
    *out = value;
    return true;
}

static int hex_digit(uint8_t c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool take_hex(struct weir_slice *rest, uint8_t *out, size_t bytes)
{
    if (rest->len < 2 * bytes)
        return false;
    for (size_t i = 0; i < bytes; i++) {
        int high = hex_digit(rest->data[2 * i]), low = hex_digit(rest->data[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    rest->data += 2 * bytes;
    rest->len -= 2 * bytes;
    return true;
}

// A UUID in small letters, as spool_instance has it.
static bool take_instance(struct weir_slice *rest, uint8_t out[16])
{
    static const uint8_t groups[] = {4, 2, 2, 2, 6};
    for (size_t i = 0; i < WEIR_COUNT(groups); i++) {
        if ((i > 0 && !skip(rest, '-')) || !take_hex(rest, out, groups[i]))
            return false;
        out += groups[i];
    }
    return true;
}

static bool take_position(struct weir_slice *rest, struct position *out)
{
    uint64_t item = 0;
    if (!take_number(rest, INT64_MAX, &out->block))
        return false;
    if (skip(rest, '.') && (!take_number(rest, UINT32_MAX, &item) || item == 0))
        return false;
    out->item = (uint32_t)item;
    return true;
}

// The rest of weir-batch: FIRST-LAST[/I0-I1].
static bool take_blocks(struct weir_slice rest)
{
    uint64_t first, last;
    if (!take_number(&rest, INT64_MAX, &first) || !skip(&rest, '-') || !take_number(&rest, INT64_MAX, &last))
        return false;
    if (skip(&rest, '/') &&
        (!take_number(&rest, UINT32_MAX, &first) || !skip(&rest, '-') || !take_number(&rest, UINT32_MAX, &last)))
        return false;
    return rest.len == 0;
}

bool handoff_parse(struct weir_slice batch, struct weir_slice text, enum weir_signal signal, struct handoff *out)
{
    const char *name = weir_signal_name(signal);
    size_t name_len = strlen(name);
    uint8_t scope[8];
    out->signal = signal;
    if (!take_instance(&batch, out->instance) || !skip(&batch, '/') || batch.len < name_len ||
        memcmp(batch.data, name, name_len) != 0)
        return false;
    batch.data += name_len;
    batch.len -= name_len;
    if (!skip(&batch, '/') || !take_blocks(batch))
        return false;
    if (!take_hex(&text, scope, sizeof(scope)) || !skip(&text, '/') || !take_position(&text, &out->span.from) ||
        !skip(&text, '/') || !take_position(&text, &out->span.to) || !skip(&text, '/') ||
        !take_number(&text, INT64_MAX, &out->low) || text.len > 0)
        return false;
    out->scope = weir_get_u64(scope);
    return position_before(out->span.from, out->span.to);
}

static size_t put_position(char *out, size_t room, struct position p)
{
    int n = p.item == 0 ? snprintf(out, room, "%" PRIu64, p.block)
                        : snprintf(out, room, "%" PRIu64 ".%" PRIu32, p.block, p.item);
    assert(n > 0 && (size_t)n < room);
    return (size_t)n;
}

void handoff_format(const struct handoff *handoff, char out[HANDOFF_TEXT_MAX])
{
    size_t n = 0;
    uint8_t scope[8];
    weir_put_u64(scope, handoff->scope);
    for (size_t i = 0; i < sizeof(scope); i++)
        n += (size_t)snprintf(out + n, HANDOFF_TEXT_MAX - n, "%02x", scope[i]);
    out[n++] = '/';
    n += put_position(out + n, HANDOFF_TEXT_MAX - n, handoff->span.from);
    out[n++] = '/';
    n += put_position(out + n, HANDOFF_TEXT_MAX - n, handoff->span.to);
    snprintf(out + n, HANDOFF_TEXT_MAX - n, "/%" PRIu64, handoff->low);
}

void handoff_format_part(struct position same_to, char out[HANDOFF_REPEAT_MAX])
{
    size_t n = (size_t)snprintf(out, HANDOFF_REPEAT_MAX, "%s", PART);
    put_position(out + n, HANDOFF_REPEAT_MAX - n, same_to);
}

bool handoff_parse_part(struct weir_slice repeat, struct position *same_to)
{
    for (const char *c = PART; *c != '\0'; c++)
        if (!skip(&repeat, *c))
            return false;
    return take_position(&repeat, same_to) && repeat.len == 0;
}

void handoff_put(const struct handoff *handoff, uint8_t out[HANDOFF_BYTES])
{
    memcpy(out, handoff->instance, 16);
    weir_put_u64(out + 16, handoff->scope);
    weir_put_u64(out + 24, handoff->span.from.block);
    weir_put_u32(out + 32, handoff->span.from.item);
    weir_put_u64(out + 36, handoff->span.to.block);
    weir_put_u32(out + 44, handoff->span.to.item);
    weir_put_u64(out + 48, handoff->low);
}

bool handoff_get(struct weir_slice bytes, enum weir_signal signal, struct handoff *out)
{
    const uint8_t *p = bytes.data;
    if (bytes.len != HANDOFF_BYTES)
        return false;
    memcpy(out->instance, p, 16);
    out->signal = signal;
    out->scope = weir_get_u64(p + 16);
    out->span.from = (struct position){weir_get_u64(p + 24), weir_get_u32(p + 32)};
    out->span.to = (struct position){weir_get_u64(p + 36), weir_get_u32(p + 44)};
    out->low = weir_get_u64(p + 48);
    return position_before(out->span.from, out->span.to);
}
