// SPDX-License-Identifier: Apache-2.0
// The outer messages of the signals are alike: request > resource > scope > item, with a metric and its oneof between scope and data point.
// A message that lies in the range as a whole is copied as it is; only those on the range's two edges are opened.
#include "proto/otlp_split.h"

#include "proto/wire.h"

// Which field of a message at each level holds its children. The children of the last level are items.
struct shape {
    unsigned levels;
    uint32_t child[5]; // 0: those of a metric, the members of a oneof (M3)
};
static const struct shape flat = {3, {1, 2, 2}};
static const struct shape with_metrics = {5, {1, 2, 2, 0, 1}};

static const struct shape *shape_of(enum weir_signal signal)
{
    assert((unsigned)signal < WEIR_SIGNALS);
    return signal == WEIR_METRICS ? &with_metrics : &flat;
}

static bool is_member(uint32_t number)
{
    return number == 5 || number == 7 || (number >= 9 && number <= 11);
}

static bool is_child(const struct shape *shape, unsigned level, const struct wire_field *field)
{
    if (field->type != WIRE_LEN)
        return false;
    return shape->child[level] == 0 ? is_member(field->number) : field->number == shape->child[level];
}

// Where the oneof's value begins: members before a member of another name are overwritten and hold nothing. NULL: broken.
static const uint8_t *member_run(struct weir_slice metric)
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

// Counts the items in `message`. False: broken.
static bool count(const struct shape *shape, unsigned level, struct weir_slice message, uint64_t *items)
{
    struct wire_reader reader = wire_reader_of(message);
    struct wire_field field;
    uint32_t member = 0;
    uint64_t here = 0;
    int more;
    while ((more = wire_next(&reader, &field)) == 1) {
        if (!is_child(shape, level, &field))
            continue;
        if (shape->child[level] == 0 && member != field.number)
            here = 0;
        member = field.number;
        if (level + 1 == shape->levels)
            here++;
        else if (!count(shape, level + 1, field.bytes, &here))
            return false;
    }
    *items += here;
    return more == 0;
}

int otlp_split_count(enum weir_signal signal, struct weir_slice request, uint64_t *items, struct weir_err *err)
{
    *items = 0;
    if (count(shape_of(signal), 0, request, items))
        return WEIR_OK;
    return weir_fail(err, WEIR_E_INVALID, "a message that is cut off");
}

// --- a part -----------------------------------------------------------------------------------------------------------

struct cutter {
    const struct shape *shape;
    uint64_t from, to;
    uint64_t at; // ordinal of the next item
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

static bool cut(struct cutter *c, unsigned level, struct weir_slice message, uint64_t last);
static bool open_child(struct cutter *c, unsigned level, const struct wire_field *field, uint64_t last)
{
    uint8_t tag = WIRE_TAG((uint8_t)field->number, WIRE_LEN); // of all children: below 16
    if (!put(c, (struct weir_slice){&tag, 1}))
        return false;
    size_t start = c->out->len;
    return cut(c, level + 1, field->bytes, last) && put_length(c, start);
}

// A child message, which is `bytes` with its tag; `last` is its parent's.
static bool cut_child(struct cutter *c, unsigned level, const struct wire_field *field, uint64_t last,
                      struct weir_slice bytes)
{
    // Each member of a metric's oneof: they are merged, and what they hold besides the points belongs to every part.
    if (c->shape->child[level] == 0)
        return open_child(c, level, field, last);
    uint64_t items = 0;
    if (level + 1 == c->shape->levels)
        items = 1;
    else if (!count(c->shape, level + 1, field->bytes, &items))
        return false;
    enum where where = place(c, items, last);
    if (where == ACROSS)
        return open_child(c, level, field, c->at + items - 1);
    c->at += items;
    return where == OUTSIDE || put(c, bytes);
}

// Puts what `message` holds of the range; its last item is `last`. False: broken, or out of memory.
static bool cut(struct cutter *c, unsigned level, struct weir_slice message, uint64_t last)
{
    struct wire_reader reader = wire_reader_of(message);
    struct wire_field field;
    const uint8_t *at = reader.p, *run = NULL;
    int more;
    if (c->shape->child[level] == 0 && (run = member_run(message)) == NULL)
        return false;
    for (; (more = wire_next(&reader, &field)) == 1; at = reader.p) {
        struct weir_slice bytes = {at, (size_t)(reader.p - at)};
        bool child = is_child(c->shape, level, &field);
        if (child && run != NULL && at < run)
            continue;
        if (!(child ? cut_child(c, level, &field, last, bytes) : put(c, bytes)))
            return false;
    }
    return more == 0;
}

int otlp_split_part(enum weir_signal signal, struct weir_slice request, uint64_t from, uint64_t to,
                    struct weir_buf *out, struct weir_err *err)
{
    size_t before = out->len;
    struct cutter c = {.shape = shape_of(signal), .from = from, .to = to, .out = out};
    uint64_t items;
    int code = otlp_split_count(signal, request, &items, err);
    if (code != WEIR_OK)
        return code;
    assert(from < to && to <= items);
    if (cut(&c, 0, request, items - 1))
        return WEIR_OK;
    out->len = before;
    return c.no_memory ? weir_fail(err, WEIR_E_NOMEM, "out of memory")
                       : weir_fail(err, WEIR_E_INVALID, "a message that is cut off");
}

// --- where to cut --------------------------------------------------------------------------------------------------------

struct finder {
    const struct shape *shape;
    uint64_t wanted, slack;
    uint64_t at;
    unsigned level; // of the best one so far
    uint64_t best;
};

static uint64_t distance(uint64_t a, uint64_t b)
{
    return a > b ? a - b : b - a;
}

static void look_at(struct finder *s, unsigned level)
{
    uint64_t far = distance(s->at, s->wanted);
    if (far <= s->slack && (level < s->level || (level == s->level && far < distance(s->best, s->wanted)))) {
        s->level = level;
        s->best = s->at;
    }
}

// Looks at where the children of `message` begin, down to the metrics.
static bool find(struct finder *s, unsigned level, struct weir_slice message)
{
    struct wire_reader reader = wire_reader_of(message);
    struct wire_field field;
    int more;
    while ((more = wire_next(&reader, &field)) == 1) {
        if (!is_child(s->shape, level, &field))
            continue;
        uint64_t items = 0;
        if (!count(s->shape, level + 1, field.bytes, &items))
            return false;
        look_at(s, level);
        bool near = s->at <= s->wanted + s->slack && s->at + items + s->slack >= s->wanted;
        uint64_t end = s->at + items;
        // Below a scope are items, or metrics: of these only where they begin.
        if (near && level + 1 < s->shape->levels - (s->shape == &with_metrics ? 2 : 1) &&
            !find(s, level + 1, field.bytes))
            return false;
        s->at = end;
    }
    return more == 0;
}

// NOLINTEND(misc-no-recursion)

uint64_t otlp_split_boundary(enum weir_signal signal, struct weir_slice request, uint64_t wanted, uint64_t slack)
{
    struct finder s = {
        .shape = shape_of(signal), .wanted = wanted, .slack = slack, .level = UINT32_MAX, .best = wanted};
    return find(&s, 0, request) ? s.best : wanted;
}
