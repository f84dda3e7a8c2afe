// SPDX-License-Identifier: Apache-2.0
// The index of a request that is cut many times: marks in its outer messages, about a grain of bytes apart.
//
// It is made in one pass, message by message, those of a level before those of the next: of a message at least as long as a grain only the head
// is read with its parent, and its fields when its turn comes; what is shorter is counted at once. So the marks of a message stand side by side.
// Then its items are added up from the innermost outward, and counted on from the outermost inward.
//
// A message has a mark for each grain of it, and up to two more for each long child. So there are at most 3 * levels marks a grain.
#include "proto/otlp_split_priv.h"

#define GRAIN_MIN  ((size_t)16 * 1024)
#define GRAINS_MAX 2048 // of a request

static bool grow(void **array, size_t *cap, size_t count, size_t size)
{
    if (count < *cap)
        return true;
    size_t more = *cap > 0 ? *cap * 2 : 16;
    void *grown = realloc(*array, more * size);
    if (grown == NULL)
        return false;
    *array = grown;
    *cap = more;
    return true;
}

static int add_node(struct otlp_split_index *index, unsigned level, size_t begin, size_t end)
{
    if (!grow((void **)&index->nodes, &index->node_cap, index->node_count, sizeof(*index->nodes)))
        return WEIR_E_NOMEM;
    index->nodes[index->node_count++] = (struct split_node){.level = level, .begin = begin, .end = end};
    return WEIR_OK;
}

static int add_mark(struct otlp_split_index *index, const struct split_mark *mark)
{
    if (!grow((void **)&index->marks, &index->mark_cap, index->mark_count, sizeof(*index->marks)))
        return WEIR_E_NOMEM;
    index->marks[index->mark_count++] = *mark;
    return WEIR_OK;
}

// --- one message ----------------------------------------------------------------------------------------------------------

struct scan {
    struct otlp_split_index *index;
    const struct split_shape *shape;
    size_t grain;
    unsigned level;
    const uint8_t *run;
    struct split_mark mark; // of the stretch that is being read; its `item` is how many it has so far
};

static size_t offset_of(const struct scan *s, const uint8_t *p)
{
    return (size_t)(p - s->index->request.data);
}

// The stretch ends before `offset`, where the next one begins.
static int end_stretch(struct scan *s, size_t offset)
{
    int rc = s->mark.offset < offset ? add_mark(s->index, &s->mark) : WEIR_OK;
    s->mark = (struct split_mark){.offset = offset};
    return rc;
}

static int add_long_child(struct scan *s, const struct wire_field *field, size_t begin, size_t end)
{
    size_t at = offset_of(s, field->bytes.data);
    int rc = end_stretch(s, begin);
    s->mark.node = (uint32_t)s->index->node_count;
    s->mark.children = true;
    if (rc == WEIR_OK)
        rc = add_node(s->index, s->level + 1, at, at + field->bytes.len);
    return rc == WEIR_OK ? end_stretch(s, end) : rc;
}

// The field that lies in [begin, end).
static int add_field(struct scan *s, const struct wire_field *field, size_t begin, size_t end)
{
    bool child = split_is_child(s->shape, s->level, field);
    bool leaf = s->level + 1 == s->shape->levels;
    // One that is overwritten holds nothing, but it must not be broken either.
    if (child && s->run != NULL && begin < offset_of(s, s->run)) {
        uint64_t none = 0;
        return split_count(s->shape, s->level + 1, field->bytes, &none) ? WEIR_OK : WEIR_E_INVALID;
    }
    if (child && !leaf && field->bytes.len >= s->grain)
        return add_long_child(s, field, begin, end);
    s->mark.children = s->mark.children || child;
    s->mark.own = s->mark.own || !child;
    if (child && leaf)
        s->mark.item++;
    else if (child && !split_count(s->shape, s->level + 1, field->bytes, &s->mark.item))
        return WEIR_E_INVALID;
    return end - s->mark.offset < s->grain ? WEIR_OK : end_stretch(s, end);
}

static int scan_node(struct otlp_split_index *index, size_t n, size_t grain)
{
    struct split_node node = index->nodes[n]; // they move
    struct weir_slice message = {index->request.data + node.begin, node.end - node.begin};
    struct scan s = {.index = index, .shape = split_shape_of(index->signal), .grain = grain, .level = node.level};
    struct wire_reader reader = wire_reader_of(message);
    struct wire_field field;
    if (s.shape->child[s.level] == 0 && (s.run = split_member_run(message)) == NULL)
        return WEIR_E_INVALID;
    node.run = s.run;
    node.marks = index->mark_count;
    s.mark.offset = node.begin;
    size_t begin = node.begin;
    int rc = WEIR_OK, more = 1;
    while (rc == WEIR_OK && (more = wire_next(&reader, &field)) == 1) {
        size_t end = offset_of(&s, reader.p);
        rc = add_field(&s, &field, begin, end);
        begin = end;
    }
    if (rc == WEIR_OK)
        rc = more == 0 ? end_stretch(&s, node.end) : WEIR_E_INVALID;
    node.count = index->mark_count - node.marks;
    index->nodes[n] = node;
    return rc == WEIR_OK ? add_mark(index, &s.mark) : rc;
}

// --- all of them ----------------------------------------------------------------------------------------------------------

// From how many items each stretch has to the ordinals at which they begin.
static void number_items(struct otlp_split_index *index)
{
    for (size_t n = index->node_count; n-- > 0;) { // what lies in a message stands behind it
        struct split_node *node = &index->nodes[n];
        struct split_mark *marks = index->marks + node->marks;
        for (size_t i = 0; i < node->count; i++) {
            if (marks[i].node > 0)
                marks[i].item = index->nodes[marks[i].node].items;
            node->items += marks[i].item;
        }
    }
    for (size_t n = 0; n < index->node_count; n++) {
        struct split_node *node = &index->nodes[n];
        struct split_mark *marks = index->marks + node->marks;
        uint64_t at = node->first;
        for (size_t i = 0; i <= node->count; i++) {
            uint64_t items = marks[i].item;
            if (marks[i].node > 0)
                index->nodes[marks[i].node].first = at;
            marks[i].item = at;
            at += items;
        }
    }
}

int otlp_split_index_new(enum weir_signal signal, struct weir_slice request, size_t grain,
                         struct otlp_split_index **out, struct weir_err *err)
{
    struct otlp_split_index *index = calloc(1, sizeof(*index));
    if (index == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "out of memory");
    if (grain == 0)
        grain = request.len / GRAINS_MAX > GRAIN_MIN ? request.len / GRAINS_MAX : GRAIN_MIN;
    index->signal = signal;
    index->request = request;
    int rc = add_node(index, 0, 0, request.len);
    for (size_t n = 0; n < index->node_count && rc == WEIR_OK; n++)
        rc = scan_node(index, n, grain);
    if (rc != WEIR_OK) {
        otlp_split_index_free(index);
        return weir_fail(err, rc, rc == WEIR_E_NOMEM ? "out of memory" : "a message that is cut off");
    }
    number_items(index);
    *out = index;
    return WEIR_OK;
}

void otlp_split_index_free(struct otlp_split_index *index)
{
    if (index == NULL)
        return;
    free(index->nodes);
    free(index->marks);
    free(index);
}

uint64_t otlp_split_index_items(const struct otlp_split_index *index)
{
    return index->nodes[0].items;
}
