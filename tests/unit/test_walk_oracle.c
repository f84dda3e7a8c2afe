// SPDX-License-Identifier: Apache-2.0
// protobuf-c as the oracle: real requests of all signals and tens of thousands of mutations of them.
#include <criterion/criterion.h>

#include "proto/walk_tables.h"
#include "tests/unit/walk_oracle.h"

#define SEED      UINT64_C(20240607)
#define MUTATIONS 160000

// --- mutation -------------------------------------------------------------------------------------------------------
static void mutate_once(struct random_otlp *rnd, struct weir_buf *bytes)
{
    static const uint8_t telling[] = {0x00, 0x01, 0x02, 0x7f, 0x80, 0xff, 0x0a, 0x12, 0x1a, 0x2a, 0x3a, 0x4a};
    if (bytes->len == 0)
        return;
    size_t at = rnd_below(rnd, bytes->len), len = 1 + rnd_below(rnd, 24);
    if (len > bytes->len - at)
        len = bytes->len - at;
    uint8_t *p = bytes->data + at;
    switch (rnd_below(rnd, 8)) {
    case 0:
        *p ^= (uint8_t)(1u << rnd_below(rnd, 8));
        break;
    case 1:
        *p = (uint8_t)rnd_u64(rnd);
        break;
    case 2:
        *p = telling[rnd_below(rnd, WEIR_COUNT(telling))];
        break;
    case 3:
        bytes->len = at;
        break;
    case 4: // cut out
        memmove(p, p + len, bytes->len - at - len);
        bytes->len -= len;
        break;
    case 5: // repeat
        cr_assert(weir_buf_reserve(bytes, len));
        p = bytes->data + at;
        memmove(p + len, p, bytes->len - at);
        bytes->len += len;
        break;
    case 6: // copy elsewhere
        memmove(bytes->data + rnd_below(rnd, bytes->len - len + 1), p, len);
        break;
    default:
        *p = (uint8_t)(*p + (rnd_below(rnd, 2) ? 1 : -1));
        break;
    }
}

static void compare(struct oracle *oracle, enum weir_signal signal, const uint8_t *data, size_t len)
{
    uint8_t *copy = (uint8_t *)malloc(len ? len : 1); // exact size, for the sanitizers
    cr_assert_not_null(copy);
    if (len > 0)
        memcpy(copy, data, len);
    bool agrees = oracle_agrees(oracle, signal, copy, len);
    free(copy);
    cr_assert(agrees, "%s", oracle->complaint);
}

Test(walk_oracle, agrees_with_protobuf_c_on_mutated_requests_M1_M2_M3)
{
    const char *seed_text = getenv("WEIR_TEST_SEED");
    uint64_t seed = seed_text != NULL ? strtoull(seed_text, NULL, 0) : SEED;
    printf("walk_oracle: WEIR_TEST_SEED=%llu\n", (unsigned long long)seed);
    struct random_otlp rnd = random_otlp_new(seed, true);
    struct oracle oracle = {.arena = &rnd.arena};
    struct weir_buf bytes = {0};
    for (int i = 0; i < MUTATIONS / 8; i++) {
        enum weir_signal signal = (enum weir_signal)(i % WEIR_SIGNALS);
        size_t len;
        uint8_t *request = random_otlp_request(&rnd, signal, &len);
        unsigned both = oracle.both;
        compare(&oracle, signal, request, len);
        cr_assert_eq(oracle.both, both + 1, "an unchanged request is accepted");
        for (int k = 0; k < 8; k++) {
            bytes.len = 0;
            cr_assert(weir_buf_append(&bytes, request, len));
            for (size_t n = 1 + rnd_below(&rnd, 3); n > 0; n--)
                mutate_once(&rnd, &bytes);
            compare(&oracle, signal, bytes.data, bytes.len);
        }
        free(request);
    }
    printf("walk_oracle: %u accepted by both, %u by neither, %u refused by the walker alone, %u with merged members, "
           "%u that protobuf-c cannot merge\n",
           oracle.both, oracle.neither, oracle.walker_refused, oracle.merged_members, oracle.merge_failed);
    cr_assert_gt(oracle.both, MUTATIONS / 4);
    cr_assert_lt(oracle.merge_failed, MUTATIONS / 1000);
    cr_assert_gt(oracle.neither, MUTATIONS / 8);
    weir_buf_free(&bytes);
    random_otlp_free(&rnd);
}

// --- the walker's tables against the schema -------------------------------------------------------------------------
static enum walk_kind expected_kind(const ProtobufCFieldDescriptor *field)
{
    bool repeated = field->label == PROTOBUF_C_LABEL_REPEATED;
    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING:
        return WALK_STRING;
    case PROTOBUF_C_TYPE_BYTES:
        return WALK_BYTES;
    case PROTOBUF_C_TYPE_MESSAGE:
        return strstr(((const ProtobufCMessageDescriptor *)field->descriptor)->name, ".KeyValue") != NULL &&
                       strstr(((const ProtobufCMessageDescriptor *)field->descriptor)->name, ".KeyValueList") == NULL &&
                       strstr(((const ProtobufCMessageDescriptor *)field->descriptor)->name, "AndUnit") == NULL
                   ? WALK_ATTRIBUTE
                   : WALK_MESSAGE;
    case PROTOBUF_C_TYPE_FIXED32:
        return WALK_FIXED32;
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return repeated ? WALK_PACKED_FIXED64 : WALK_FIXED64;
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return WALK_UNKNOWN; // OTLP has none, and the tables no kind for them
    default:
        return repeated ? WALK_PACKED_VARINT : WALK_VARINT;
    }
}

static void compare_table(const struct walk_message *table, const ProtobufCMessageDescriptor *descriptor, int depth)
{
    unsigned rows = 0;
    for (uint32_t n = 1; n < WALK_FIELDS; n++)
        rows += table->fields[n].tag != 0;
    cr_expect_eq(rows, descriptor->n_fields, "%s: %u rows, %u fields", descriptor->name, rows, descriptor->n_fields);
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
        cr_assert_lt(field->id, WALK_FIELDS, "%s.%s", descriptor->name, field->name);
        const struct walk_field *row = &table->fields[field->id];
        enum walk_kind kind = row->kind == WALK_TIME ? WALK_FIXED64 : (enum walk_kind)row->kind;
        cr_expect_eq(row->tag >> 3, field->id, "%s.%s", descriptor->name, field->name);
        cr_assert_not_null(row->name, "%s.%s", descriptor->name, field->name);
        cr_expect_str_eq(row->name, field->name, "%s", descriptor->name);
        cr_expect_eq(kind, expected_kind(field), "%s.%s: kind %d", descriptor->name, field->name, kind);
        cr_expect_eq(row->repeated, field->label == PROTOBUF_C_LABEL_REPEATED, "%s.%s", descriptor->name, field->name);
        bool id = strstr(field->name, "trace_id") != NULL || strstr(field->name, "span_id") != NULL;
        if (kind == WALK_BYTES)
            cr_expect_eq(row->size,
                         !id                               ? 0
                         : strstr(field->name, "trace_id") ? 16
                                                           : 8,
                         "%s.%s", descriptor->name, field->name);
        if (field->type == PROTOBUF_C_TYPE_MESSAGE && depth > 0)
            compare_table(row->child, (const ProtobufCMessageDescriptor *)field->descriptor, depth - 1);
    }
}

Test(walk_oracle, tables_hold_what_the_schema_says)
{
    for (int signal = 0; signal < WEIR_SIGNALS; signal++)
        compare_table(walk_requests[signal], random_otlp_descriptors[signal], 10);
}
