// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/sink/record.h"

static struct record_stream *stream_of(struct record *record, const char *name)
{
    for (size_t i = 0; i < record->stream_count; i++) {
        if (strcmp(record->streams[i].name, name) == 0)
            return &record->streams[i];
    }
    struct record_stream *streams = realloc(record->streams, (record->stream_count + 1) * sizeof(*streams));
    if (streams == NULL)
        return NULL;
    record->streams = streams;
    struct record_stream *stream = &streams[record->stream_count];
    *stream = (struct record_stream){.name = strdup(name), .last_id = -1};
    if (stream->name == NULL)
        return NULL;
    record->stream_count++;
    return stream;
}

void record_item(void *ctx, const char *stream_name, int64_t id)
{
    struct record *record = ctx;
    record->items++;
    if (id < 0) {
        record->without_id++;
        return;
    }
    enum idset_added added = idset_add(&record->ids, (uint64_t)id);
    if (added == IDSET_REFUSED)
        record->refused_ids++;
    if (added == IDSET_DUPLICATE)
        record->duplicates++;
    if (added != IDSET_NEW)
        return;
    struct record_stream *stream = stream_of(record, stream_name);
    if (stream == NULL) {
        record->refused_ids++;
        return;
    }
    if (id < stream->last_id)
        record->order_violations++;
    else
        stream->last_id = id;
}

void record_request(struct record *record, const struct record_request *request)
{
    record->requests++;
    record->raw_bytes += request->raw_bytes;
    record->wire_bytes += request->wire_bytes;
    record->encodings[request->encoding]++;
    if (request->raw_bytes > record->max_raw_bytes)
        record->max_raw_bytes = request->raw_bytes;
    if (request->frames > record->max_frames)
        record->max_frames = request->frames;
    record->last_unix_ns = weir_now_unix_ns();
    if (record->first_unix_ns == 0)
        record->first_unix_ns = record->last_unix_ns;
}

json_t *record_json(const struct record *record)
{
    const struct {
        const char *key;
        uint64_t value;
    } counters[] = {
        {"items", record->items},
        {"distinct", record->ids.count},
        {"duplicates", record->duplicates},
        {"without_id", record->without_id},
        {"refused_ids", record->refused_ids},
        {"order_violations", record->order_violations},
        {"streams", record->stream_count},
        {"misplaced", record->misplaced},
        {"requests", record->requests},
        {"refused_requests", record->refused_requests},
        {"rejected_items", record->rejected_items},
        {"raw_bytes", record->raw_bytes},
        {"wire_bytes", record->wire_bytes},
        {"max_raw_bytes", record->max_raw_bytes},
        {"max_frames", record->max_frames},
        {"first_unix_ns", record->first_unix_ns},
        {"last_unix_ns", record->last_unix_ns},
    };
    json_t *out = json_object(), *encodings = json_object();
    for (size_t i = 0; i < WEIR_COUNT(counters); i++)
        json_object_set_new(out, counters[i].key, json_integer((json_int_t)counters[i].value));
    for (int i = 0; i < ENCODINGS_SENT; i++)
        json_object_set_new(encodings, encoding_name((enum encoding)i), json_integer((json_int_t)record->encodings[i]));
    json_object_set_new(out, "encodings", encodings);
    return out;
}

void record_clear(struct record *record)
{
    for (size_t i = 0; i < record->stream_count; i++)
        free(record->streams[i].name);
    free(record->streams);
    idset_clear(&record->ids);
    *record = (struct record){0};
}
