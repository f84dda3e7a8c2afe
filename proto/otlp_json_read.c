// SPDX-License-Identifier: Apache-2.0
// JSON to wire in one pass. A message's length stands before its bytes and is known only behind them: room for as many length bytes as the
// last message at that depth took is left, and the message is moved when that was a wrong guess, which is seldom.
#include <stdio.h>

#include "proto/json_scan.h"
#include "proto/otlp_json.h"
#include "proto/otlp_schema.h"
#include "proto/utf8.h"
#include "proto/walk.h"
#include "proto/wire.h"

#define KEY_MAX      64 // of a key with escapes: longer ones are unknown
#define TRACE_ID_LEN 16
#define SPAN_ID_LEN  8

struct reader {
    struct json_scan scan;
    const struct otlp_json_options *options;
    struct weir_buf *out;
    size_t limit;   // out->len never passes it
    int code;       // other than a fault of the text: WEIR_E_LIMIT, WEIR_E_NOMEM
    unsigned depth; // fields that are being read, one within the other
    struct {
        const ProtobufCFieldDescriptor *field;
        uint64_t element; // of a repeated field; UINT64_MAX: not in one
    } path[OTLP_DEPTH_MAX + 1];
    uint8_t length_bytes[OTLP_DEPTH_MAX + 2];
};

// --- out ----------------------------------------------------------------------------------------------------------------

static bool stop(struct reader *r, int code)
{
    r->code = r->code == WEIR_OK ? code : r->code;
    return false;
}

// Room for `more` bytes behind out->len.
static inline bool room(struct reader *r, size_t more)
{
    if (more > r->limit - r->out->len)
        return stop(r, WEIR_E_LIMIT);
    return r->out->cap - r->out->len >= more || weir_buf_reserve(r->out, more) || stop(r, WEIR_E_NOMEM);
}

static inline size_t varint_bytes(uint64_t value)
{
    return ((unsigned)(63 - __builtin_clzll(value | 1)) * 9 + 73) / 64;
}

static inline void put_varint(struct weir_buf *out, uint64_t value)
{
    uint8_t *p = out->data + out->len;
    for (; value > 127; value >>= 7)
        *p++ = (uint8_t)(value | 0x80);
    *p++ = (uint8_t)value;
    out->len = (size_t)(p - out->data);
}

static void put_tag(struct weir_buf *out, const ProtobufCFieldDescriptor *field, uint8_t type)
{
    put_varint(out, WIRE_TAG(field->id, type));
}

// Begins something with a length. Returns where the room for its length is.
static bool begin_length(struct reader *r, const ProtobufCFieldDescriptor *field, unsigned depth, size_t *at)
{
    if (!room(r, WIRE_TAG_MAX + WIRE_TAG_MAX))
        return false;
    put_tag(r->out, field, WIRE_LEN);
    *at = r->out->len;
    r->out->len += r->length_bytes[depth];
    return true;
}

static bool end_length(struct reader *r, unsigned depth, size_t at)
{
    size_t guess = r->length_bytes[depth], len = r->out->len - at - guess, needed = varint_bytes(len);
    if (len > WIRE_LENGTH_MAX)
        return stop(r, WEIR_E_LIMIT);
    if (needed > guess && !room(r, needed - guess))
        return false;
    if (needed != guess)
        memmove(r->out->data + at + needed, r->out->data + at + guess, len);
    r->length_bytes[depth] = (uint8_t)needed;
    r->out->len = at;
    put_varint(r->out, len);
    r->out->len += len;
    return true;
}

// --- strings, bytes and ids -----------------------------------------------------------------------------------------------

static bool put_string(struct reader *r, const ProtobufCFieldDescriptor *field, const struct json_string *string)
{
    if (!string->ascii && !r->options->pass_bad_utf8 && !utf8_is_valid(string->raw.data, string->raw.len))
        return json_fault(&r->scan, "not UTF-8");
    if (!room(r, WIRE_TAG_MAX + WIRE_TAG_MAX + string->raw.len))
        return false;
    put_tag(r->out, field, WIRE_LEN);
    size_t at = r->out->len, guess = varint_bytes(string->raw.len), len = string->raw.len;
    uint8_t *to = r->out->data + at + guess;
    if (string->escaped)
        len = json_unescape(string, to);
    else if (len > 0)
        memcpy(to, string->raw.data, len);
    put_varint(r->out, len);
    if (r->out->len != at + guess) // escapes made it shorter
        memmove(r->out->data + r->out->len, to, len);
    r->out->len += len;
    return true;
}

static bool put_bytes(struct reader *r, const ProtobufCFieldDescriptor *field, const struct json_string *string)
{
    struct weir_slice text = string->raw;
    struct weir_buf plain = {0};
    if (string->escaped) { // "\/" is a way to write base64's slash
        if (!weir_buf_reserve(&plain, text.len))
            return stop(r, WEIR_E_NOMEM);
        text = (struct weir_slice){plain.data, json_unescape(string, plain.data)};
    }
    size_t id_len =
        strcmp(field->name, "trace_id") == 0 || strcmp(field->name, "profile_id") == 0 ? TRACE_ID_LEN : SPAN_ID_LEN;
    bool hex = otlp_is_id(field) && (text.len == 2 * id_len || strcmp(field->name, "profile_id") != 0);
    bool good = room(r, 2 * WIRE_TAG_MAX + text.len);
    if (good) {
        size_t tag = varint_bytes(WIRE_TAG(field->id, WIRE_LEN)), len = text.len / 2;
        size_t length = varint_bytes(hex ? id_len : text.len / 4 * 3 + text.len % 4 * 3 / 4);
        uint8_t *to = r->out->data + r->out->len + tag + length; // padding may make it a little shorter
        if (hex)
            good = (text.len == 2 * id_len && json_decode_hex(text, to)) ||
                   json_fault(&r->scan, id_len == TRACE_ID_LEN ? "not 32 hex digits" : "not 16 hex digits");
        else
            good = json_decode_base64(text, to, &len) || json_fault(&r->scan, "not base64");
        if (good && otlp_is_id(field) && len != id_len) // of a profile, in base64 (J2)
            good = json_fault(&r->scan, "not 16 bytes");
        if (good) {
            put_tag(r->out, field, WIRE_LEN);
            put_varint(r->out, len);
            memmove(r->out->data + r->out->len, to, len);
            r->out->len += len;
        }
    }
    weir_buf_free(&plain);
    return good;
}

// --- numbers ------------------------------------------------------------------------------------------------------------

static bool enum_of(const ProtobufCFieldDescriptor *field, struct weir_slice name, uint64_t *bits)
{
    char text[KEY_MAX];
    if (name.len >= sizeof(text) || memchr(name.data, 0, name.len) != NULL)
        return false;
    memcpy(text, name.data, name.len);
    text[name.len] = '\0';
    const ProtobufCEnumValue *value =
        protobuf_c_enum_descriptor_get_value_by_name((const ProtobufCEnumDescriptor *)field->descriptor, text);
    *bits = value != NULL ? (uint64_t)(int64_t)value->value : 0;
    return value != NULL;
}

// A number as the wire has it. False: it is out of the type's range.
static bool bits_of(ProtobufCType type, const struct json_number *number, uint64_t *bits)
{
    int64_t value = 0;
    double real;
    switch (type) {
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return json_number_u64(number, bits);
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return json_number_u64(number, bits) && *bits <= UINT32_MAX;
    case PROTOBUF_C_TYPE_DOUBLE:
        if (!json_number_double(number, &real))
            return false;
        memcpy(bits, &real, sizeof(*bits));
        return true;
    default:
        break;
    }
    if (!json_number_i64(number, &value))
        return false;
    *bits = (uint64_t)value;
    bool wide = type == PROTOBUF_C_TYPE_INT64 || type == PROTOBUF_C_TYPE_SFIXED64;
    if (type == PROTOBUF_C_TYPE_SINT32) // zigzag
        *bits = (uint32_t)((uint32_t)value << 1 ^ (uint32_t)(value < 0 ? -1 : 0));
    return wide || (value >= INT32_MIN && value <= INT32_MAX);
}

// Any scalar that is no string and no bytes.
static bool read_bits(struct reader *r, const ProtobufCFieldDescriptor *field, uint64_t *bits)
{
    struct json_scan *scan = &r->scan;
    struct json_number number;
    struct json_string string;
    *bits = 0;
    if (field->type == PROTOBUF_C_TYPE_BOOL) {
        *bits = json_take_word(scan, "true");
        return *bits || json_take_word(scan, "false") || json_fault(scan, "not true or false");
    }
    if (json_peek(scan) != '"')
        return json_read_number(scan, &number) &&
               (bits_of(field->type, &number, bits) || json_fault(scan, "out of range, or no integer"));
    if (!json_read_string(scan, &string))
        return false;
    if (field->type == PROTOBUF_C_TYPE_ENUM)
        return enum_of(field, string.raw, bits) || json_fault(scan, "no number, and no name of this enum");
    double real;
    if (field->type == PROTOBUF_C_TYPE_DOUBLE && json_special_double(string.raw, &real)) {
        memcpy(bits, &real, sizeof(*bits));
        return true;
    }
    return (json_number_of(string.raw, &number) && bits_of(field->type, &number, bits)) ||
           json_fault(scan, "no number, or out of range");
}

static void put_bits(struct weir_buf *out, uint8_t type, uint64_t bits) // the room is there
{
    if (type == WIRE_VARINT) {
        put_varint(out, bits);
    } else if (type == WIRE_FIXED64) {
        weir_put_u64(out->data + out->len, bits);
        out->len += 8;
    } else {
        weir_put_u32(out->data + out->len, (uint32_t)bits);
        out->len += 4;
    }
}

// --- fields and messages --------------------------------------------------------------------------------------------------
// Messages and fields call each other, no deeper than OTLP_DEPTH_MAX messages.
// NOLINTBEGIN(misc-no-recursion)
static bool read_message(struct reader *r, const ProtobufCMessageDescriptor *message);

static bool read_child(struct reader *r, const ProtobufCFieldDescriptor *field)
{
    size_t at;
    unsigned depth = r->depth;
    if (depth > OTLP_DEPTH_MAX)
        return json_fault(&r->scan, "nested too deep");
    return begin_length(r, field, depth, &at) &&
           read_message(r, (const ProtobufCMessageDescriptor *)field->descriptor) && end_length(r, depth, at);
}

static bool read_text(struct reader *r, const ProtobufCFieldDescriptor *field, bool keep_empty)
{
    struct json_string string;
    if (!json_read_string(&r->scan, &string))
        return false;
    if (string.raw.len == 0 && !keep_empty)
        return true;
    if (field->type == PROTOBUF_C_TYPE_STRING)
        return put_string(r, field, &string);
    if (string.raw.len > 0)
        return put_bytes(r, field, &string);
    if (!room(r, 2 * WIRE_TAG_MAX))
        return false;
    put_tag(r->out, field, WIRE_LEN);
    put_varint(r->out, 0);
    return true;
}

// `keep_default`: it has presence, or overwrites an earlier value.
static bool read_single(struct reader *r, const ProtobufCFieldDescriptor *field, bool keep_default)
{
    uint64_t bits = 0;
    if (field->type == PROTOBUF_C_TYPE_MESSAGE)
        return json_take_word(&r->scan, "null") || read_child(r, field);
    bool unset = json_take_word(&r->scan, "null");
    if (unset && (!keep_default || otlp_has_presence(field)))
        return true;
    uint8_t type = otlp_wire_type(field->type);
    if (type == WIRE_LEN && !unset)
        return read_text(r, field, keep_default);
    if (!unset && type != WIRE_LEN && !read_bits(r, field, &bits))
        return false;
    if (bits == 0 && !keep_default)
        return true;
    if (!room(r, WIRE_TAG_MAX + WIRE_VARINT_MAX))
        return false;
    put_tag(r->out, field, type);
    put_bits(r->out, type == WIRE_LEN ? WIRE_VARINT : type, bits); // an empty string's length
    return true;
}

static bool read_elements(struct reader *r, const ProtobufCFieldDescriptor *field)
{
    uint8_t type = otlp_wire_type(field->type);
    uint64_t *element = &r->path[r->depth - 1].element;
    *element = 0;
    do {
        uint64_t bits = 0;
        if (field->type == PROTOBUF_C_TYPE_MESSAGE ? !read_child(r, field)
            : type == WIRE_LEN                     ? !read_text(r, field, true)
                                                   : !read_bits(r, field, &bits))
            return false;
        if (type != WIRE_LEN) {
            if (!room(r, WIRE_VARINT_MAX))
                return false;
            put_bits(r->out, type, bits);
        }
        (*element)++;
    } while (json_take(&r->scan, ','));
    return json_take(&r->scan, ']') || json_fault(&r->scan, "',' or ']' is needed");
}

static bool read_repeated(struct reader *r, const ProtobufCFieldDescriptor *field)
{
    size_t at = 0;
    bool packed = otlp_wire_type(field->type) != WIRE_LEN;
    if (json_take_word(&r->scan, "null"))
        return true;
    if (!json_take(&r->scan, '['))
        return json_fault(&r->scan, "an array is needed");
    if (json_take(&r->scan, ']'))
        return true;
    unsigned depth = r->depth;
    return (!packed || begin_length(r, field, depth, &at)) && read_elements(r, field) &&
           (!packed || end_length(r, depth, at));
}

static bool read_key(struct reader *r, const ProtobufCMessageDescriptor *message, unsigned *guess,
                     const ProtobufCFieldDescriptor **field)
{
    struct json_string key;
    uint8_t plain[KEY_MAX];
    if (!json_read_string(&r->scan, &key))
        return false;
    if (!json_take(&r->scan, ':'))
        return json_fault(&r->scan, "':' is needed");
    struct weir_slice name = key.raw;
    if (key.escaped && name.len <= sizeof(plain))
        name = (struct weir_slice){plain, json_unescape(&key, plain)};
    *field = otlp_field_by_json_name(message, name, guess);
    return true;
}

static bool read_message(struct reader *r, const ProtobufCMessageDescriptor *message)
{
    uint32_t seen = 0; // a bit a field
    unsigned guess = 0;
    assert(message->n_fields <= OTLP_FIELDS_MAX);
    if (!json_take(&r->scan, '{'))
        return json_fault(&r->scan, "an object is needed");
    if (json_take(&r->scan, '}'))
        return true;
    do {
        const ProtobufCFieldDescriptor *field;
        if (!read_key(r, message, &guess, &field))
            return false;
        if (field == NULL) {
            if (!json_skip(&r->scan))
                return false;
            continue;
        }
        uint32_t bit = 1u << (field - message->fields);
        bool repeated = field->label == PROTOBUF_C_LABEL_REPEATED;
        r->path[r->depth].field = field;
        r->path[r->depth++].element = UINT64_MAX;
        bool good = repeated ? read_repeated(r, field) : read_single(r, field, otlp_has_presence(field) || seen & bit);
        if (!good)
            return false; // the path stays as it is, for the error
        r->depth--;
        seen |= bit;
    } while (json_take(&r->scan, ','));
    return json_take(&r->scan, '}') || json_fault(&r->scan, "',' or '}' is needed");
}
// NOLINTEND(misc-no-recursion)

// Where it went wrong: "resourceSpans[0].scopeSpans[1].spans[4].traceId".
static void path_text(const struct reader *r, char *out, size_t cap)
{
    size_t len = 0;
    out[0] = '\0';
    for (unsigned i = 0; i < r->depth && len < cap - 32; i++) {
        if (i > 0)
            out[len++] = '.';
        for (const char *p = r->path[i].field->name; *p != '\0' && len < cap - 32; p++) {
            bool folded = *p == '_';
            p += folded;
            out[len++] = (char)(folded ? *p - 'a' + 'A' : *p);
        }
        if (r->path[i].element != UINT64_MAX)
            len += (size_t)snprintf(out + len, cap - len, "[%llu]", (unsigned long long)r->path[i].element);
        out[len] = '\0';
    }
}

static int tell(const struct reader *r, struct weir_err *err)
{
    if (r->code == WEIR_E_NOMEM)
        return weir_fail(err, WEIR_E_NOMEM, "out of memory");
    if (r->code == WEIR_E_LIMIT)
        return weir_fail(err, WEIR_E_LIMIT, "the request has more than %zu bytes as protobuf", r->options->max_bytes);
    char path[192];
    path_text(r, path, sizeof(path));
    return weir_fail(err, WEIR_E_INVALID, "JSON: %s%s%s (at byte %zu)", path, path[0] != '\0' ? ": " : "",
                     r->scan.fault, (size_t)(r->scan.p - r->scan.begin));
}

int otlp_json_read(enum weir_signal signal, struct weir_slice json, const struct otlp_json_options *options,
                   struct weir_buf *out, struct weir_err *err)
{
    assert((unsigned)signal < WEIR_SIGNALS);
    static const uint8_t nothing[1];
    if (json.data == NULL)
        json.data = nothing;
    size_t before = out->len;
    struct reader r;
    r.scan = json_scan_of(json);
    r.options = options;
    r.out = out;
    r.limit = options->max_bytes > SIZE_MAX - before ? SIZE_MAX : before + options->max_bytes;
    r.code = WEIR_OK;
    r.depth = 0;
    memset(r.length_bytes, 1, sizeof(r.length_bytes));
    bool good = read_message(&r, otlp_requests[signal]);
    json_peek(&r.scan); // blanks
    if (good && r.scan.p != r.scan.end)
        good = json_fault(&r.scan, "something follows the object");
    if (good)
        return WEIR_OK;
    out->len = before;
    return tell(&r, err);
}
