// SPDX-License-Identifier: Apache-2.0
// The walker beside protobuf-c's unpack into a bump arena, on the same requests in interleaved rounds: MB/s of each (median
// of the rounds) and their ratio.  usage: bench_walk [ROUNDS]
#include <stdio.h>

#include "proto/walk.h"
#include "tests/unit/random_otlp.h"

#define REQUESTS   100
#define ROUNDS_MAX 101

struct corpus {
    uint8_t *request[REQUESTS];
    size_t len[REQUESTS];
    size_t total;
};

static int compare_rates(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double walk_rate(enum weir_signal signal, const struct corpus *corpus)
{
    uint64_t start_ns = weir_now_ns();
    for (size_t i = 0; i < REQUESTS; i++) {
        struct otlp_summary summary;
        struct weir_err err;
        int code = otlp_walk(signal, corpus->request[i], corpus->len[i], NULL, &summary, &err);
        assert(code == WEIR_OK && summary.items > 0);
    }
    return (double)corpus->total * 1e3 / (double)(weir_now_ns() - start_ns);
}

static double unpack_rate(enum weir_signal signal, const struct corpus *corpus, struct arena *arena)
{
    ProtobufCAllocator allocator = {arena_alloc, arena_free, arena};
    uint64_t start_ns = weir_now_ns();
    for (size_t i = 0; i < REQUESTS; i++) {
        arena->used = 0;
        ProtobufCMessage *message =
            protobuf_c_message_unpack(random_otlp_descriptors[signal], &allocator, corpus->len[i], corpus->request[i]);
        assert(message != NULL);
    }
    return (double)corpus->total * 1e3 / (double)(weir_now_ns() - start_ns);
}

static void bench_signal(enum weir_signal signal, int rounds, struct random_otlp *rnd)
{
    struct corpus corpus = {.total = 0};
    for (size_t i = 0; i < REQUESTS; i++) {
        corpus.request[i] = random_otlp_request(rnd, signal, &corpus.len[i]);
        corpus.total += corpus.len[i];
    }
    double walk[ROUNDS_MAX], unpack[ROUNDS_MAX];
    for (int i = 0; i < rounds; i++) {
        walk[i] = walk_rate(signal, &corpus);
        unpack[i] = unpack_rate(signal, &corpus, &rnd->arena);
    }
    qsort(walk, (size_t)rounds, sizeof(double), compare_rates);
    qsort(unpack, (size_t)rounds, sizeof(double), compare_rates);
    printf("walk %-8s %6zu B/request  walker %6.0f MB/s  protobuf-c arena %5.0f MB/s  ratio %.1f\n",
           weir_signal_name(signal), corpus.total / REQUESTS, walk[rounds / 2], unpack[rounds / 2],
           walk[rounds / 2] / unpack[rounds / 2]);
    for (size_t i = 0; i < REQUESTS; i++)
        free(corpus.request[i]);
}

int main(int argc, char **argv)
{
    long rounds = argc > 1 ? strtol(argv[1], NULL, 10) : 51;
    if (rounds < 1 || rounds > ROUNDS_MAX) {
        fprintf(stderr, "usage: %s [ROUNDS, 1 to %d]\n", argv[0], ROUNDS_MAX);
        return 2;
    }
    struct random_otlp rnd = random_otlp_new(20240501, false);
    for (int signal = WEIR_TRACES; signal <= WEIR_LOGS; signal++)
        bench_signal((enum weir_signal)signal, (int)rounds, &rnd);
    random_otlp_free(&rnd);
    return 0;
}
