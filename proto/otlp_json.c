// SPDX-License-Identifier: Apache-2.0
// Wire to JSON, message by message with a stack of frames instead of recursion. Each message is read twice: first its tags alone, to learn
// where each field begins and ends (lengths are skipped, so this costs little), then field by field in the order of their numbers. So
// repeated fields that lie scattered become one array, and a field that was overwritten is never written.
#include "proto/otlp_json.h"

#include "proto/json_text.h"
#include "proto/otlp_schema.h"
#include "proto/walk.h"
#include "proto/wire.h"

#define MERGED_COPIES 4 // of the request, at a time: messages that come twice, in messages that come twice, …

// Where a field's occurrences lie in its message: their tags. NULL: there is none (any more).
struct slot {
    const uint8_t *first, *last;
};

struct frame {
    const ProtobufCMessageDescriptor *message;
    struct weir_slice body;
    uint8_t *merged; // the body's bytes when they are a copy of our own
    struct slot slots[OTLP_FIELDS_MAX];
    unsigned index;          // of the field at hand
    struct wire_reader rest; // of the repeated field at hand: what has not been looked at
    bool in_array;
    bool has_members; // a comma is due
};

struct writer {
    struct json_text text;
    struct otlp_json_account *account;
    struct weir_err *err;
    size_t copy_bytes; // that merged messages may still take together
    unsigned depth;    // frames that there are
    struct frame frames[OTLP_DEPTH_MAX + 1];
};

// --- the wire -------------------------------------------------------------------------------------------------------
static int broken(struct writer *w, const struct frame *frame, const char *field, const char *what)
{
    return weir_fail(w->err, WEIR_E_INVALID, "%s%s%s: %s", frame->message->short_name, *field ? "." : "", field, what);
}

// Finds every field of the message. Of a oneof only the last member's unbroken run stays (a run of messages is merged).
static int find_fields(struct writer *w, struct frame *frame)
{
    const ProtobufCMessageDescriptor *message = frame->message;
    struct wire_reader reader = wire_reader_of(frame->body);
    struct wire_field found;
    int more;
    assert(message->n_fields <= OTLP_FIELDS_MAX);
    memset(frame->slots, 0, message->n_fields * sizeof(frame->slots[0]));
    for (const uint8_t *at = reader.p; (more = wire_next(&reader, &found)) == 1; at = reader.p) {
        int index = otlp_field_index(message, found.number);
        if (index < 0) {
            w->account->unknown_fields++;
            continue;
        }
        const ProtobufCFieldDescriptor *field = &message->fields[index];
        bool packed = field->label == PROTOBUF_C_LABEL_REPEATED && found.type == WIRE_LEN;
        if (found.type != otlp_wire_type(field->type) && !packed)
            return broken(w, frame, field->name, "wrong wire type");
        for (unsigned i = 0; i < message->n_fields && (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0; i++)
            if ((int)i != index && otlp_same_oneof(field, &message->fields[i]))
                frame->slots[i].first = NULL;
        struct slot *slot = &frame->slots[index];
        slot->first = slot->first != NULL ? slot->first : at;
        slot->last = at;
    }
    return more == 0 ? WEIR_OK : broken(w, frame, "", "cut off, overlong or a group");
}

// The next occurrence of the field at hand in frame->rest. find_fields has seen every byte of it: nothing can be broken any more.
static bool next_occurrence(struct frame *frame, struct wire_field *found)
{
    while (frame->rest.p <= frame->slots[frame->index].last && wire_next(&frame->rest, found) == 1)
        if (found->number == frame->message->fields[frame->index].id)
            return true;
    return false;
}

static void read_from(struct frame *frame, const uint8_t *at)
{
    frame->rest = (struct wire_reader){at, frame->body.data + frame->body.len};
}

// --- values ---------------------------------------------------------------------------------------------------------
static int64_t zigzag32(uint32_t value)
{
    return (int32_t)(value >> 1 ^ (~(value & 1) + 1));
}

static double double_of(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static void put_quoted(struct json_text *text, uint64_t value, bool is_signed)
{
    json_put_char(text, '"');
    if (is_signed)
        json_put_i64(text, (int64_t)value);
    else
        json_put_u64(text, value);
    json_put_char(text, '"');
}

// OTLP has no float, no sint64 and no sfixed32 (the test goes through all its fields).
static void put_number(struct json_text *text, ProtobufCType type, uint64_t value)
{
    switch (type) {
    case PROTOBUF_C_TYPE_BOOL:
        json_put(text, value ? "true" : "false", value ? 4 : 5);
        break;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_ENUM:
        json_put_i64(text, (int32_t)value);
        break;
    case PROTOBUF_C_TYPE_SINT32:
        json_put_i64(text, zigzag32((uint32_t)value));
        break;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        json_put_u64(text, (uint32_t)value);
        break;
    case PROTOBUF_C_TYPE_DOUBLE:
        json_put_double(text, double_of(value));
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        put_quoted(text, value, true);
        break;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        put_quoted(text, value, false);
        break;
    default:
        assert(!"a type that OTLP does not have");
    }
}

// Whether a field of 32 bits or a bool is nothing but its default: more bits may stand on the wire.
static bool is_default(const ProtobufCFieldDescriptor *field, const struct wire_field *found)
{
    if (found->type == WIRE_LEN)
        return found->bytes.len == 0;
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_ENUM:
        return (uint32_t)found->value == 0;
    default:
        return found->value == 0;
    }
}

static void put_value(struct writer *w, const ProtobufCFieldDescriptor *field, const struct wire_field *found)
{
    if (found->type != WIRE_LEN)
        put_number(&w->text, field->type, found->value);
    else if (field->type == PROTOBUF_C_TYPE_STRING)
        w->account->bad_bytes += json_put_string(&w->text, found->bytes);
    else if (otlp_is_id(field))
        json_put_hex(&w->text, found->bytes);
    else
        json_put_base64(&w->text, found->bytes);
}

// ,"lowerCamelCase":
static void put_key(struct writer *w, struct frame *frame)
{
    char key[64];
    size_t len = 0;
    if (frame->has_members)
        key[len++] = ',';
    frame->has_members = true;
    key[len++] = '"';
    for (const char *p = frame->message->fields[frame->index].name; *p != '\0'; p++) {
        bool upper = p[0] == '_' && p[1] >= 'a' && p[1] <= 'z';
        p += upper;
        assert(len < sizeof(key) - 2);
        key[len++] = (char)(upper ? *p - 'a' + 'A' : *p);
    }
    key[len++] = '"';
    key[len++] = ':';
    json_put(&w->text, key, len);
}

// The next element of an array: the key before the first one, so that an array without elements leaves no trace.
static void put_separator(struct writer *w, struct frame *frame)
{
    if (frame->in_array) {
        json_put_char(&w->text, ',');
        return;
    }
    put_key(w, frame);
    json_put_char(&w->text, '[');
    frame->in_array = true;
}

static int put_packed(struct writer *w, struct frame *frame, struct weir_slice packed)
{
    const ProtobufCFieldDescriptor *field = &frame->message->fields[frame->index];
    const uint8_t *p = packed.data, *end = p + packed.len;
    bool fixed = otlp_wire_type(field->type) == WIRE_FIXED64;
    while (p < end && w->text.code == WEIR_OK) {
        uint64_t value;
        if (fixed && end - p < 8)
            return broken(w, frame, field->name, "packed length is no multiple of 8");
        if (fixed) {
            value = wire_load64(p);
            p += 8;
        } else if ((p = wire_varint(p, end, &value)) == NULL) {
            return broken(w, frame, field->name, "packed varint cut off or above 64 bits");
        }
        put_separator(w, frame);
        put_number(&w->text, field->type, value);
    }
    return WEIR_OK;
}

// --- messages -------------------------------------------------------------------------------------------------------
static int push(struct writer *w, const ProtobufCMessageDescriptor *message, struct weir_slice body, uint8_t *merged)
{
    if (w->depth > OTLP_DEPTH_MAX) {
        free(merged);
        return weir_fail(w->err, WEIR_E_LIMIT, "nested deeper than %d messages", OTLP_DEPTH_MAX);
    }
    struct frame *frame = &w->frames[w->depth++];
    frame->message = message;
    frame->body = body;
    frame->merged = merged;
    frame->index = 0;
    frame->in_array = frame->has_members = false;
    json_put_char(&w->text, '{');
    return find_fields(w, frame);
}

static void pop(struct writer *w)
{
    struct frame *frame = &w->frames[--w->depth];
    if (frame->merged != NULL)
        w->copy_bytes += frame->body.len;
    free(frame->merged);
}

// A message that comes twice is what its occurrences are one behind the other.
static int push_merged(struct writer *w, struct frame *frame, const ProtobufCMessageDescriptor *child)
{
    const struct slot *slot = &frame->slots[frame->index];
    struct wire_field found;
    struct weir_buf body = {0};
    read_from(frame, slot->first);
    while (next_occurrence(frame, &found)) {
        if (found.bytes.len > w->copy_bytes || !weir_buf_append(&body, found.bytes.data, found.bytes.len)) {
            int code = found.bytes.len > w->copy_bytes ? WEIR_E_LIMIT : WEIR_E_NOMEM;
            weir_buf_free(&body);
            return weir_fail(w->err, code, "%s.%s: no memory for messages that come twice within each other",
                             frame->message->short_name, frame->message->fields[frame->index].name);
        }
        w->copy_bytes -= found.bytes.len;
    }
    return push(w, child, (struct weir_slice){body.data, body.len}, body.data);
}

// A field that is not repeated. One that is a message opens its frame.
static int write_single(struct writer *w, struct frame *frame)
{
    const ProtobufCFieldDescriptor *field = &frame->message->fields[frame->index];
    const struct slot *slot = &frame->slots[frame->index];
    struct wire_field found;
    read_from(frame, slot->last);
    bool there = next_occurrence(frame, &found);
    assert(there);
    if (!otlp_has_presence(field) && is_default(field, &found)) {
        frame->index++;
        return WEIR_OK;
    }
    put_key(w, frame);
    if (field->type != PROTOBUF_C_TYPE_MESSAGE) {
        put_value(w, field, &found);
        frame->index++;
        return WEIR_OK;
    }
    int code = slot->first == slot->last ? push(w, field->descriptor, found.bytes, NULL)
                                         : push_merged(w, frame, field->descriptor);
    frame->index++;
    return code;
}

// All elements of a repeated field; of messages one, and the rest when that one is written.
static int write_repeated(struct writer *w, struct frame *frame)
{
    const ProtobufCFieldDescriptor *field = &frame->message->fields[frame->index];
    struct wire_field found;
    if (!frame->in_array)
        read_from(frame, frame->slots[frame->index].first);
    while (w->text.code == WEIR_OK && next_occurrence(frame, &found)) {
        if (found.type == WIRE_LEN && otlp_wire_type(field->type) != WIRE_LEN) {
            int code = put_packed(w, frame, found.bytes);
            if (code != WEIR_OK)
                return code;
            continue;
        }
        put_separator(w, frame);
        if (field->type == PROTOBUF_C_TYPE_MESSAGE)
            return push(w, field->descriptor, found.bytes, NULL);
        put_value(w, field, &found);
    }
    if (frame->in_array)
        json_put_char(&w->text, ']');
    frame->in_array = false;
    frame->index++;
    return WEIR_OK;
}

static int write_all(struct writer *w)
{
    while (w->depth > 0 && w->text.code == WEIR_OK) {
        struct frame *frame = &w->frames[w->depth - 1];
        int code = WEIR_OK;
        if (frame->index == frame->message->n_fields) {
            json_put_char(&w->text, '}');
            pop(w);
        } else if (frame->slots[frame->index].first == NULL) {
            frame->index++;
        } else if (frame->message->fields[frame->index].label == PROTOBUF_C_LABEL_REPEATED) {
            code = write_repeated(w, frame);
        } else {
            code = write_single(w, frame);
        }
        if (code != WEIR_OK)
            return code;
    }
    return w->text.code;
}

int otlp_json_write(enum weir_signal signal, struct weir_slice request, size_t max_bytes, struct weir_buf *out,
                    struct otlp_json_account *account, struct weir_err *err)
{
    assert((unsigned)signal < WEIR_SIGNALS);
    size_t before = out->len;
    struct writer w; // the frames are left as they are: only those below `depth` are ever read
    w.text = (struct json_text){.out = out, .limit = max_bytes > SIZE_MAX - before ? SIZE_MAX : before + max_bytes};
    w.account = account;
    w.err = err;
    w.copy_bytes = request.len > SIZE_MAX / MERGED_COPIES ? SIZE_MAX : MERGED_COPIES * request.len;
    w.depth = 0;
    int code = push(&w, otlp_requests[signal], request, NULL);
    if (code == WEIR_OK)
        code = write_all(&w);
    if (w.text.code == WEIR_E_LIMIT)
        code = weir_fail(err, WEIR_E_LIMIT, "more than %zu bytes of JSON", max_bytes);
    else if (w.text.code == WEIR_E_NOMEM)
        code = weir_fail(err, WEIR_E_NOMEM, "out of memory");
    if (code == WEIR_OK)
        return WEIR_OK;
    while (w.depth > 0)
        pop(&w);
    out->len = before;
    return code;
}
