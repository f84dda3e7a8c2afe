// SPDX-License-Identifier: Apache-2.0
#include "relay/todo.h"

static void remove_at(struct todo *todo, size_t i)
{
    todo->count--;
    memmove(todo->at + i, todo->at + i + 1, (todo->count - i) * sizeof(todo->at[0]));
}

void todo_take(struct todo *todo, uint64_t end)
{
    assert(todo->count > 0 && end > todo->at[0].first && end <= todo->at[0].end);
    todo->at[0].first = end;
    if (todo->at[0].first == todo->at[0].end)
        remove_at(todo, 0);
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
    if (todo->count == TODO_INTERVALS_MAX) {
        if (i == TODO_INTERVALS_MAX)
            return;
        todo->count--;
    }
    memmove(todo->at + i + 1, todo->at + i, (todo->count - i) * sizeof(todo->at[0]));
    todo->at[i] = (struct spool_interval){first, end};
    todo->count++;
}
