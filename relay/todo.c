// SPDX-License-Identifier: Apache-2.0
#include "relay/todo.h"

static void remove_at(struct todo *todo, size_t i)
{
    todo->count--;
    memmove(todo->at + i, todo->at + i + 1, (todo->count - i) * sizeof(todo->at[0]));
}

// At place i; the farthest gives way when there is no room.
static void insert_at(struct todo *todo, size_t i, uint64_t first, uint64_t end)
{
    if (todo->count == TODO_INTERVALS_MAX) {
        if (i == TODO_INTERVALS_MAX)
            return;
        todo->count--;
    }
    memmove(todo->at + i + 1, todo->at + i, (todo->count - i) * sizeof(todo->at[0]));
    todo->at[i] = (struct spool_interval){first, end};
    todo->count++;
}

void todo_take(struct todo *todo, uint64_t first, uint64_t end)
{
    assert(first < end);
    for (size_t i = 0; i < todo->count && todo->at[i].first < end;) {
        struct spool_interval had = todo->at[i];
        if (had.end <= first) {
            i++;
            continue;
        }
        remove_at(todo, i);
        if (had.first < first)
            insert_at(todo, i++, had.first, first);
        if (end < had.end)
            insert_at(todo, i++, end, had.end);
    }
}

bool todo_find(const struct todo *todo, uint64_t from, uint64_t to, struct spool_interval *out)
{
    size_t i = 0;
    while (i < todo->count && todo->at[i].end <= from)
        i++;
    if (i == todo->count || todo->at[i].first >= to)
        return false;
    *out = todo->at[i];
    if (out->first < from)
        out->first = from;
    if (out->end > to)
        out->end = to;
    return out->first < out->end;
}

void todo_put_back(struct todo *todo, uint64_t first, uint64_t end)
{
    assert(first < end);
    size_t i = 0;
    while (i < todo->count && todo->at[i].end < first)
        i++;
    // Joins every interval that it touches.
    while (i < todo->count && todo->at[i].first <= end) {
        first = todo->at[i].first < first ? todo->at[i].first : first;
        end = todo->at[i].end > end ? todo->at[i].end : end;
        remove_at(todo, i);
    }
    insert_at(todo, i, first, end);
}
