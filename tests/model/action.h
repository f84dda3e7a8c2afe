// SPDX-License-Identifier: Apache-2.0
// What is done to the spool and to the model: a list of numbers, so that it can be made from a seed, made smaller, printed and typed in.
#ifndef TESTS_MODEL_ACTION_H
#define TESTS_MODEL_ACTION_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define ACTION_ARGS 4u
#define ACTIONS_MAX 128u

enum action_kind {
    ACTION_CONFIG, // the first one, always
    ACTION_APPEND,
    ACTION_DELIVER,
    ACTION_SETTLE,
    ACTION_READ,
    ACTION_DROP,
    ACTION_LETTER,
    ACTION_SYNC,
    ACTION_OPEN,
    ACTION_REOPEN,
    ACTION_CRASH,
    ACTION_NO_SPACE,
    ACTION_FAIL_FLUSH,
    ACTION_CLOCK,
    ACTION_REPLAY,
    ACTION_FIND,
    ACTION_IDLE,
    ACTION_NOTE,
    ACTION_DISCARD,
    ACTION_LETTERS,
    ACTION_KINDS
};

struct action {
    enum action_kind kind;
    unsigned arg[ACTION_ARGS]; // taken modulo whatever there is, so that each is good at any time
};

struct sequence {
    size_t n;
    struct action at[ACTIONS_MAX];
};

void sequence_random(struct sequence *out, uint64_t seed, size_t n);
void sequence_print(const struct sequence *sequence, FILE *out);
// "append 0 1 2; sync": what sequence_print writes. False: it is not a sequence.
int sequence_parse(struct sequence *out, const char *text);

#endif
