// SPDX-License-Identifier: Apache-2.0
// The outer messages of the signals are alike: request > resource > scope > item, with a metric and its oneof between scope and data point.
// A message that lies in the range as a whole is copied as it is; only those on the range's two edges are opened. With an index so is a stretch
// between two marks.
#include "proto/otlp_split_priv.h"

static const struct split_shape flat = {3, {1, 2, 2}, 2};
static const struct split_shape with_metrics = {5, {1, 2, 2, 0, 1}, 3};

const struct split_shape *split_shape_of(enum weir_signal signal)
{
    assert((unsigned)signal < WEIR_SIGNALS);
    return signal == WEIR_METRICS ? &with_metrics : &flat;
}

static bool is_member(uint32_t number)
{
    return number == 5 || number == 7 || (number >= 9 && number <= 11);
}

bool split_is_child(const struct split_shape *shape, unsigned level, const struct wire_field *field)
{
    if (field->type != WIRE_LEN)
        return false;
    return shape->child[level] == 0 ? is_member(field->number) : field->number == shape->child[level];
}

const uint8_t *split_member_run(struct weir_slice metric)
{
    struct wire_reader reader = wire_reader_of(metric);
    struct wire_field field;
    const uint8_t *run = reader.p, *at = run;
    uint32_t member = 0;
    int more;
    for (; (more = wire_next(&reader, &field)) == 1; at = reader.p) {
        if (field.type != WIRE_LEN || !is_member(field.number))
            continue;
        if (member != 0 && member != field.number)
            run = at;
        member = field.number;
    }
    return more == 0 ? run : NULL;
}

// What calls itself below does so once a level: at most five deep, whatever the request.
// NOLINTBEGIN(misc-no-recursion)

bool split_count(const struct split_shape *shape, unsigned level, struct weir_slice message, uint64_t *items)
{
    struct wire_reader reader = wire_reader_of(message);
    struct wire_field field;
    uint32_t member = 0;
    uint64_t here = 0;
    int more;
    while ((more = wire_next(&reader, &field)) == 1) {
        if (!split_is_child(shape, level, &field))
            continue;
        if (shape->child[level] == 0 && member != field.number)
            here = 0;
        member = field.number;
        if (level + 1 == shape->levels)
            here++;
        else if (!split_count(shape, level + 1, field.bytes, &here))
            return false;
    }
    *items += here;
    return more == 0;
}

int otlp_split_count(enum weir_signal signal, struct weir_slice request, uint64_t *items, struct weir_err *err)
{
    *items = 0;
    if (split_count(split_shape_of(signal), 0, request, items))
        return WEIR_OK;
    return weir_fail(err, WEIR_E_INVALID, "a message that is cut off");
}

// --- a part -----------------------------------------------------------------------------------------------------------

struct cutter {
    const struct split_shape *shape;
    uint64_t from, to;
    uint64_t at;                          // ordinal of the next item
    const struct otlp_split_index *index; // NULL: there is none
    struct weir_buf *out;
    bool no_memory;
};

static bool put(struct cutter *c, struct weir_slice bytes)
{
    c->no_memory = c->no_memory || !weir_buf_append(c->out, bytes.data, bytes.len);
    return !c->no_memory;
}

// Where a child with `items` items from `at` on lies: all of it in the range, none of it, or some. `last`: the last item of the message it is in;
// one without items goes with the item behind it in that message, or with the last.
enum where { OUTSIDE, INSIDE, ACROSS };
static enum where place(const struct cutter *c, uint64_t items, uint64_t last)
{
    uint64_t begin = items > 0 || c->at < last ? c->at : last;
    uint64_t end = begin + (items > 0 ? items : 1);
    if (end <= c->from || begin >= c->to)
        return OUTSIDE;
    return c->from <= begin && end <= c->to ? INSIDE : ACROSS;
}

// The length of a message that was opened stands before what was put since `start`.
static bool put_length(struct cutter *c, size_t start)
{
    uint8_t bytes[WIRE_VARINT_MAX];
    size_t n = 0, len = c->out->len - start;
    for (size_t left = len; n == 0 || left > 0; left >>= 7)
        bytes[n++] = (uint8_t)((left & 0x7f) | (left >= 0x80 ? 0x80 : 0));
    if (!weir_buf_reserve(c->out, n)) {
        c->no_memory = true;
        return false;
    }
    memmove(c->out->data + start + n, c->out->data + start, len);
    memcpy(c->out->data + start, bytes, n);
    c->out->len += n;
    return true;
}

// The same of a stretch of a message, as far as its mark says: ACROSS may be wrong.
static enum where place_stretch(const struct cutter *c, const struct split_mark *mark, uint64_t last)
{
    uint64_t first = mark->item < last ? mark->item : last, end = mark[1].item;
    uint64_t end_of_empty = (end < last ? end : last) + 1; // of a child without items behind them
    if (!mark->children)
        return INSIDE;
    if (first >= c->to || end_of_empty <= c->from)
        return OUTSIDE;
    return c->from <= first && end <= c->to && end_of_empty <= c->to ? INSIDE : ACROSS;
}

// Where the bytes that are cut lie: fields of a message at that level.
struct piece {
    unsigned level;
    struct weir_slice bytes;
    const uint8_t *run;            // of a metric
    uint64_t last;                 // item of the message
    const struct split_node *node; // the message's own, or of the child that the bytes are; NULL: none
};

static bool cut_message(struct cutter *c, const struct piece *message);

static bool open_child(struct cutter *c, const struct piece *in, const struct wire_field *field, uint64_t last)
{
    uint8_t tag = WIRE_TAG((uint8_t)field->number, WIRE_LEN); // of all children: below 16
    if (!put(c, (struct weir_slice){&tag, 1}))
        return false;
    size_t start = c->out->len;
    struct piece child = {.level = in->level + 1, .bytes = field->bytes, .last = last, .node = in->node};
    return cut_message(c, &child) && put_length(c, start);
}

// A child message, which is `bytes` with its tag.
static bool cut_child(struct cutter *c, const struct piece *in, const struct wire_field *field, struct weir_slice bytes)
{
    // Each member of a metric's oneof: they are merged, and what they hold besides the points belongs to every part.
    if (c->shape->child[in->level] == 0)
        return open_child(c, in, field, in->last);
    uint64_t items = 0;
    if (in->level + 1 == c->shape->levels)
        items = 1;
    else if (in->node != NULL)
        items = in->node->items;
    else if (!split_count(c->shape, in->level + 1, field->bytes, &items))
        return false;
    enum where where = place(c, items, in->last);
    if (where == ACROSS)
        return open_child(c, in, field, c->at + items - 1);
    c->at += items;
    return where == OUTSIDE || put(c, bytes);
}

// Puts what the fields hold of the range. False: broken, or out of memory.
static bool cut_fields(struct cutter *c, const struct piece *in)
{
    struct wire_reader reader = wire_reader_of(in->bytes);
    struct wire_field field;
    const uint8_t *at = reader.p;
    int more;
    for (; (more = wire_next(&reader, &field)) == 1; at = reader.p) {
        struct weir_slice bytes = {at, (size_t)(reader.p - at)};
        bool child = split_is_child(c->shape, in->level, &field);
        if (child && in->run != NULL && at < in->run)
            continue;
        if (!(child ? cut_child(c, in, &field, bytes) : put(c, bytes)))
            return false;
    }
    return more == 0;
}

// Stretch by stretch: what lies in the range goes as it is, and what lies outside is not looked at, but for fields that every part has.
static bool cut_stretches(struct cutter *c, const struct piece *message)
{
    const struct split_mark *marks = c->index->marks + message->node->marks;
    struct piece stretch = *message;
    stretch.run = message->node->run;
    for (size_t i = 0; i < message->node->count; i++) {
        const struct split_mark *mark = &marks[i];
        assert(mark->item == c->at);
        stretch.bytes = (struct weir_slice){c->index->request.data + mark->offset, mark[1].offset - mark->offset};
        stretch.node = mark->node > 0 ? &c->index->nodes[mark->node] : NULL;
        bool known = stretch.node == NULL && c->shape->child[message->level] != 0;
        enum where where = known ? place_stretch(c, mark, message->last) : ACROSS;
        if (where == ACROSS || (where == OUTSIDE && mark->own)) {
            if (!cut_fields(c, &stretch))
                return false;
            continue;
        }
        c->at = mark[1].item;
        if (where == INSIDE && !put(c, stretch.bytes))
            return false;
    }
    return true;
}

static bool cut_message(struct cutter *c, const struct piece *message)
{
    struct piece all = *message;
    if (message->node != NULL)
        return cut_stretches(c, message);
    if (c->shape->child[message->level] == 0 && (all.run = split_member_run(message->bytes)) == NULL)
        return false;
    return cut_fields(c, &all);
}

static int cut_request(struct cutter *c, struct weir_slice request, uint64_t items, struct weir_err *err)
{
    size_t before = c->out->len;
    struct piece all = {.bytes = request, .last = items - 1, .node = c->index != NULL ? c->index->nodes : NULL};
    assert(c->from < c->to && c->to <= items);
    if (cut_message(c, &all))
        return WEIR_OK;
    c->out->len = before;
    return c->no_memory ? weir_fail(err, WEIR_E_NOMEM, "out of memory")
                        : weir_fail(err, WEIR_E_INVALID, "a message that is cut off");
}

int otlp_split_part(enum weir_signal signal, struct weir_slice request, uint64_t from, uint64_t to,
                    struct weir_buf *out, struct weir_err *err)
{
    struct cutter c = {.shape = split_shape_of(signal), .from = from, .to = to, .out = out};
    uint64_t items;
    int code = otlp_split_count(signal, request, &items, err);
    return code == WEIR_OK ? cut_request(&c, request, items, err) : code;
}

int otlp_split_index_part(const struct otlp_split_index *index, uint64_t from, uint64_t to, struct weir_buf *out,
                          struct weir_err *err)
{
    struct cutter c = {.shape = split_shape_of(index->signal), .from = from, .to = to, .index = index, .out = out};
    return cut_request(&c, index->request, index->nodes[0].items, err);
}

// --- where to cut --------------------------------------------------------------------------------------------------------

struct finder {
    const struct split_shape *shape;
    const struct otlp_split_index *index;
    uint64_t wanted, slack;
    uint64_t at;
    unsigned level; // of the best one so far
    uint64_t best;
};

static uint64_t distance(uint64_t a, uint64_t b)
{
    return a > b ? a - b : b - a;
}

static bool is_better(const struct finder *s, unsigned level, uint64_t at)
{
    uint64_t far = distance(at, s->wanted), best = distance(s->best, s->wanted);
    if (far > s->slack || level != s->level)
        return far <= s->slack && level < s->level;
    return far < best; // of two as far, the first: they are looked at in this order
}

static void look_at(struct finder *s, unsigned level)
{
    if (!is_better(s, level, s->at))
        return;
    s->level = level;
    s->best = s->at;
}

// Looks at where the children in these fields begin, down to the metrics.
static bool find(struct finder *s, unsigned level, struct weir_slice fields)
{
    struct wire_reader reader = wire_reader_of(fields);
    struct wire_field field;
    int more;
    while ((more = wire_next(&reader, &field)) == 1) {
        if (!split_is_child(s->shape, level, &field))
            continue;
        uint64_t items = 0;
        if (!split_count(s->shape, level + 1, field.bytes, &items))
            return false;
        look_at(s, level);
        bool near = s->at <= s->wanted + s->slack && s->at + items + s->slack >= s->wanted;
        uint64_t end = s->at + items;
        if (near && level + 1 < s->shape->bounds && !find(s, level + 1, field.bytes))
            return false;
        s->at = end;
    }
    return more == 0;
}

// Whether at that level, or further in, something better may begin in the stretch.
static bool may_hold(const struct finder *s, unsigned level, const struct split_mark *mark)
{
    uint64_t nearest = s->wanted;
    if (nearest < mark->item)
        nearest = mark->item;
    if (nearest > mark[1].item)
        nearest = mark[1].item;
    return is_better(s, level, nearest);
}

static void find_marked(struct finder *s, const struct split_node *node);
static void find_in_stretch(struct finder *s, unsigned level, const struct split_mark *mark)
{
    s->at = mark->item;
    if (mark->node == 0) {
        find(s, level, (struct weir_slice){s->index->request.data + mark->offset, mark[1].offset - mark->offset});
        return;
    }
    look_at(s, level);
    if (level + 1 < s->shape->bounds && may_hold(s, level + 1, mark))
        find_marked(s, &s->index->nodes[mark->node]);
}

// From the stretch with the wanted place outward, as long as there may be something better.
static void find_marked(struct finder *s, const struct split_node *node)
{
    const struct split_mark *marks = s->index->marks + node->marks;
    size_t low = 0, high = node->count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (marks[middle].item <= s->wanted)
            low = middle;
        else
            high = middle;
    }
    for (size_t i = node->count > 0 ? low + 1 : 0; i-- > 0 && may_hold(s, node->level, &marks[i]);)
        if (marks[i].children)
            find_in_stretch(s, node->level, &marks[i]);
    for (size_t i = low + 1; i < node->count && may_hold(s, node->level, &marks[i]); i++)
        if (marks[i].children)
            find_in_stretch(s, node->level, &marks[i]);
}

// NOLINTEND(misc-no-recursion)

static struct finder finder_of(enum weir_signal signal, uint64_t wanted, uint64_t slack)
{
    return (struct finder){
        .shape = split_shape_of(signal), .wanted = wanted, .slack = slack, .level = UINT32_MAX, .best = wanted};
}

uint64_t otlp_split_boundary(enum weir_signal signal, struct weir_slice request, uint64_t wanted, uint64_t slack)
{
    struct finder s = finder_of(signal, wanted, slack);
    return find(&s, 0, request) ? s.best : wanted;
}

uint64_t otlp_split_index_boundary(const struct otlp_split_index *index, uint64_t wanted, uint64_t slack)
{
    struct finder s = finder_of(index->signal, wanted, slack);
    s.index = index;
    find_marked(&s, index->nodes);
    return s.best;
}
