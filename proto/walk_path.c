// SPDX-License-Identifier: Apache-2.0
#include "proto/walk_path.h"

#include <stdio.h>

#include "proto/wire.h"

// How many fields `number` lie in the frame before its `at`.
static unsigned count_before(const struct walk_frame *frame, uint32_t number)
{
    struct wire_reader reader = {frame->begin, frame->at};
    struct wire_field field;
    unsigned count = 0;
    while (wire_next(&reader, &field) == 1)
        count += field.number == number;
    return count;
}

// One step of the path; its length, or what it would have been.
static int write_step(const struct walk_frame *frame, char *out, size_t cap)
{
    uint32_t tag;
    if (wire_tag(frame->at, frame->end, &tag) == NULL)
        return snprintf(out, cap, "(tag at byte %zu)", (size_t)(frame->at - frame->begin));
    uint32_t number = tag >> 3;
    const struct walk_field *field = number < WALK_FIELDS ? &frame->message->fields[number] : NULL;
    if (field == NULL || field->tag == 0)
        return snprintf(out, cap, "(field %u)", number);
    if (field->repeated)
        return snprintf(out, cap, "%s[%u]", field->name, count_before(frame, number));
    return snprintf(out, cap, "%s", field->name);
}

void walk_path_write(const struct walk_frame *frames, unsigned depth, char *out, size_t cap)
{
    static const char more[] = "...";
    assert(cap > 2 * sizeof(more));
    size_t used = 0;
    size_t room = cap - sizeof(more);
    out[0] = '\0';
    for (unsigned i = 0; i <= depth; i++) {
        char step[64];
        int len = write_step(&frames[i], step, sizeof(step));
        size_t dot = i > 0;
        if (len < 0 || used + dot + (size_t)len >= room) {
            memcpy(out + used, more, sizeof(more));
            return;
        }
        if (dot)
            out[used++] = '.';
        memcpy(out + used, step, (size_t)len + 1);
        used += (size_t)len;
    }
}
