// SPDX-License-Identifier: Apache-2.0
#include "tests/model/action.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

// How often an action is taken, and how many values each argument may have.
static const struct {
    const char *name;
    unsigned weight;
    unsigned values[ACTION_ARGS];
} table[ACTION_KINDS] = {
    [ACTION_CONFIG] = {"config", 0, {3, 3, 4, 3}},     // size; 1: evict_oldest; max_age; keep_delivered
    [ACTION_APPEND] = {"append", 30, {4, 12, 8, 4}},   // signal, size, blocks - 1, step of the signal
    [ACTION_DELIVER] = {"deliver", 22, {12, 8, 7, 3}}, // lane, blocks - 1, how, pending blocks to skip
    [ACTION_SETTLE] = {"settle", 8, {12, 64, 16, 5}},  // lane, first, length, how
    [ACTION_READ] = {"read", 8, {4, 64, 64, 2}},       // signal, from, length, keep the view
    [ACTION_DROP] = {"drop", 3, {0}},                  // the views that were kept
    [ACTION_LETTER] = {"letter", 4, {3, 8, 3, 3}},     // upstream, block, request, size
    [ACTION_SYNC] = {"sync", 5, {0}},                  //
    [ACTION_OPEN] = {"open", 4, {12, 2}},              // lane, from the oldest block
    [ACTION_REOPEN] = {"reopen", 5, {8, 2}},           // upstreams that there are then, new ones from the oldest block
    [ACTION_CRASH] = {"crash",
                      8,
                      {60, 6, 3, 24}}, // calls before it, doing what, 1 torn 2 power cut, calls before another one
    [ACTION_NO_SPACE] = {"no_space", 3, {2}},           // on, off
    [ACTION_FAIL_FLUSH] = {"fail_flush", 3, {3, 2, 2}}, // how many - 1, the meta page, not at all
    [ACTION_CLOCK] = {"clock", 3, {90}},                // minutes that go by
    [ACTION_REPLAY] = {"replay", 5, {12, 64, 64, 2}},   // lane, first, length, dry run
    [ACTION_FIND] = {"find", 3, {64, 64}},              // from and to when, in blocks
    [ACTION_NOTE] = {"note", 8, {8, 4, 4}},             // which, size, put, put durably or remove
    [ACTION_DISCARD] = {"discard", 3, {12}},            // lane that nobody has open
    [ACTION_LETTERS] = {"letters", 6, {12, 3, 2}},      // lane, which of its dead letters, purged or redriven
    [ACTION_IDLE] = {"idle", 2, {0}},                   // until the keeper has nothing left to do
};

static uint64_t next(uint64_t *x)
{
    *x += 0x9E3779B97F4A7C15ull; // splitmix64
    uint64_t z = *x;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ z >> 27) * 0x94D049BB133111EBull;
    return z ^ z >> 31;
}

void sequence_random(struct sequence *out, uint64_t seed, size_t n)
{
    uint64_t x = seed;
    unsigned all = 0;
    for (size_t i = 0; i < ACTION_KINDS; i++)
        all += table[i].weight;
    *out = (struct sequence){.n = n < ACTIONS_MAX ? n : ACTIONS_MAX};
    for (size_t i = 0; i < out->n; i++) {
        unsigned roll = (unsigned)(next(&x) % all), kind = 0;
        while (i > 0 && roll >= table[kind].weight)
            roll -= table[kind++].weight;
        out->at[i].kind = (enum action_kind)kind;
        for (unsigned j = 0; j < ACTION_ARGS; j++)
            out->at[i].arg[j] = table[kind].values[j] > 1 ? (unsigned)(next(&x) % table[kind].values[j]) : 0;
    }
}

void sequence_print(const struct sequence *sequence, FILE *out)
{
    for (size_t i = 0; i < sequence->n; i++) {
        const struct action *a = &sequence->at[i];
        unsigned args = ACTION_ARGS;
        while (args > 0 && a->arg[args - 1] == 0)
            args--;
        fprintf(out, "%s%s", i > 0 ? "; " : "", table[a->kind].name);
        for (unsigned j = 0; j < args; j++)
            fprintf(out, " %u", a->arg[j]);
    }
}

static const char *skip_spaces(const char *p)
{
    while (isspace((unsigned char)*p) || *p == ';')
        p++;
    return p;
}

int sequence_parse(struct sequence *out, const char *text)
{
    *out = (struct sequence){0};
    for (const char *p = skip_spaces(text); *p != '\0'; p = skip_spaces(p)) {
        size_t len = strcspn(p, " ;\n"), kind = 0;
        while (kind < ACTION_KINDS && (strlen(table[kind].name) != len || strncmp(p, table[kind].name, len) != 0))
            kind++;
        if (kind == ACTION_KINDS || out->n == ACTIONS_MAX || (kind == ACTION_CONFIG) != (out->n == 0))
            return 0;
        struct action *a = &out->at[out->n++];
        a->kind = (enum action_kind)kind;
        p += len;
        for (unsigned j = 0; j < ACTION_ARGS && *p == ' '; j++) {
            char *end;
            a->arg[j] = (unsigned)strtoul(p, &end, 10);
            p = end;
        }
    }
    return out->n > 0;
}
