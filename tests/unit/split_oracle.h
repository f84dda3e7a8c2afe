// SPDX-License-Identifier: Apache-2.0
// protobuf-c as the oracle of otlp_split: each item of a request with all that is around it, as one number, in order. Header-only: the unit
// test and the fuzz target share it.
#ifndef WEIR_TESTS_SPLIT_ORACLE_H
#define WEIR_TESTS_SPLIT_ORACLE_H

#include <stdio.h>

#include "proto/otlp_split.h"
#include "proto/walk.h"
#include "tests/unit/walk_oracle.h"

struct split_seen {
    uint64_t *entries; // of an item: a hash of it and of what it lies in; of what holds no items: of that
    size_t count, cap;
    uint64_t items;
};

static inline uint64_t split_hash(uint64_t hash, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ data[i]) * UINT64_C(0x100000001b3);
    return (hash ^ len) * UINT64_C(0x100000001b3);
}

static inline void split_see(struct split_seen *seen, uint64_t hash)
{
    if (seen->count == seen->cap) {
        seen->cap = seen->cap * 2 + 64;
        seen->entries = (uint64_t *)realloc(seen->entries, seen->cap * sizeof(*seen->entries));
        assert(seen->entries != NULL);
    }
    seen->entries[seen->count++] = hash;
}

static inline uint64_t split_hash_message(uint64_t hash, const ProtobufCMessage *message)
{
    size_t len = protobuf_c_message_get_packed_size(message);
    uint8_t *bytes = (uint8_t *)malloc(len + 1);
    assert(bytes != NULL);
    protobuf_c_message_pack(message, bytes);
    hash = split_hash(hash, bytes, len);
    free(bytes);
    return hash;
}

// The message in a metric's oneof that is set, and its points. NULL: none is set.
static inline ProtobufCMessage *split_data(ProtobufCMessage *metric_)
{
    Opentelemetry__Proto__Metrics__V1__Metric *metric = (Opentelemetry__Proto__Metrics__V1__Metric *)(void *)metric_;
    return metric->data_case == 0 ? NULL : (ProtobufCMessage *)(void *)metric->gauge; // a oneof: any member's pointer
}

static inline void split_flatten(struct split_seen *seen, ProtobufCMessage *message, uint64_t hash)
{
    bool metric = message->descriptor == &opentelemetry__proto__metrics__v1__metric__descriptor;
    ProtobufCMessage *holder = metric ? split_data(message) : message;
    unsigned number =
        message->descriptor->name[0] != '\0' && strstr(message->descriptor->short_name, "Request") ? 1 : 2;
    if (metric)
        number = 1;
    if (holder == NULL) {
        split_see(seen, split_hash_message(hash, message));
        return;
    }
    const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field(holder->descriptor, number);
    size_t *count = (size_t *)(void *)((char *)holder + field->quantifier_offset), n = *count;
    ProtobufCMessage **children = *(ProtobufCMessage ***)(void *)((char *)holder + field->offset);
    *count = 0; // what is left is what every part has
    hash = split_hash_message(hash, message);
    *count = n;
    if (n == 0)
        split_see(seen, hash);
    const char *scope = strstr(message->descriptor->short_name, "Scope");
    bool leaf = metric || (scope == message->descriptor->short_name &&
                           strcmp(message->descriptor->short_name, "ScopeMetrics") != 0);
    for (size_t i = 0; i < n; i++) {
        if (!leaf) {
            split_flatten(seen, children[i], hash);
            continue;
        }
        seen->items++;
        split_see(seen, split_hash_message(hash, children[i]));
    }
}

// False: protobuf-c does not read it.
static inline bool split_look(struct arena *arena, enum weir_signal signal, const uint8_t *data, size_t len,
                              struct split_seen *seen)
{
    ProtobufCAllocator allocator = {arena_alloc, arena_free, arena};
    arena->used = 0;
    ProtobufCMessage *message = protobuf_c_message_unpack(random_otlp_descriptors[signal], &allocator, len, data);
    if (message == NULL)
        return false;
    split_flatten(seen, message, 1);
    return true;
}

// With an index of that grain the same is cut as without: [from, to), or what is broken is refused by both. NULL, or what differs.
static inline const char *split_index_complaint(enum weir_signal signal, struct weir_slice request, size_t grain,
                                                uint64_t from, uint64_t to, uint64_t slack)
{
    struct otlp_split_index *index = NULL;
    struct weir_buf plain = {0}, indexed = {0};
    const char *complaint = NULL;
    uint64_t items;
    int count = otlp_split_count(signal, request, &items, NULL);
    if (otlp_split_index_new(signal, request, grain, &index, NULL) != count)
        return "the index takes what the count does not, or the other way round";
    if (count != WEIR_OK)
        return NULL;
    if (otlp_split_index_items(index) != items)
        complaint = "the index has another count";
    else if (from < to && to <= items) {
        int rc = otlp_split_part(signal, request, from, to, &plain, NULL);
        if (otlp_split_index_part(index, from, to, &indexed, NULL) != rc)
            complaint = "one way cuts and the other does not";
        else if (indexed.len != plain.len || (plain.len > 0 && memcmp(indexed.data, plain.data, plain.len) != 0))
            complaint = "the part is another with an index";
        else if (otlp_split_index_boundary(index, from, slack) != otlp_split_boundary(signal, request, from, slack))
            complaint = "the boundary is another with an index";
    }
    otlp_split_index_free(index);
    weir_buf_free(&plain);
    weir_buf_free(&indexed);
    return complaint;
}

// Cuts the request at `cuts` (ascending, the first 0, the last its items). NULL, or what is wrong with the parts.
static inline const char *split_complaint(struct arena *arena, enum weir_signal signal, const uint8_t *data, size_t len,
                                          const uint64_t *cuts, size_t cut_count)
{
    struct split_seen whole = {0}, parts = {0};
    struct weir_buf part = {0};
    struct weir_slice request = {data, len};
    const char *complaint = NULL;
    if ((signal == WEIR_METRICS && repeats_a_member(request, 0)) || !split_look(arena, signal, data, len, &whole))
        goto out; // protobuf-c does not merge what must be merged
    uint64_t items = 0;
    if (otlp_split_count(signal, request, &items, NULL) != WEIR_OK || items != whole.items) {
        complaint = "counts items as protobuf-c does not";
        goto out;
    }
    for (size_t i = 0; i + 1 < cut_count && complaint == NULL; i++) {
        uint64_t before = parts.items;
        struct otlp_summary summary;
        struct otlp_walk_options options = {.pass_bad_utf8 = true};
        part.len = 0;
        if (otlp_split_part(signal, request, cuts[i], cuts[i + 1], &part, NULL) != WEIR_OK)
            complaint = "cannot cut";
        else if (part.len > len + 64) // lengths that were written in fewer bytes than they may be
            complaint = "a part is larger than the whole";
        else if (otlp_walk(signal, part.data, part.len, &options, &summary, NULL) != WEIR_OK)
            complaint = "a part is no request";
        else if (!split_look(arena, signal, part.data, part.len, &parts))
            complaint = "protobuf-c does not read a part";
        else if (parts.items - before != cuts[i + 1] - cuts[i])
            complaint = "a part has not so many items";
    }
    if (complaint == NULL && items > 0 &&
        (parts.count != whole.count || memcmp(parts.entries, whole.entries, whole.count * sizeof(*whole.entries)) != 0))
        complaint = "the parts do not hold what the whole did";
out:
    free(whole.entries);
    free(parts.entries);
    weir_buf_free(&part);
    return complaint;
}

#endif
