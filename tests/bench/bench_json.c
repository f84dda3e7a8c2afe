// SPDX-License-Identifier: Apache-2.0
// OTLP/JSON to protobuf, beside jansson's parsing of the same text into a tree, in interleaved rounds: MB/s of JSON (median of the
// rounds).  usage: bench_json [ROUNDS]
#include <jansson.h>
#include <stdio.h>

#include "proto/otlp_json.h"
#include "tests/unit/random_otlp.h"

#define REQUESTS   100
#define ROUNDS_MAX 101

struct corpus {
    struct weir_buf json[REQUESTS];
    size_t total;
};

static int compare_rates(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double read_rate(enum weir_signal signal, const struct corpus *corpus, struct weir_buf *wire)
{
    struct otlp_json_options options = {.max_bytes = SIZE_MAX};
    uint64_t start_ns = weir_now_ns();
    for (size_t i = 0; i < REQUESTS; i++) {
        wire->len = 0;
        struct weir_slice json = {corpus->json[i].data, corpus->json[i].len};
        int code = otlp_json_read(signal, json, &options, wire, NULL);
        assert(code == WEIR_OK);
    }
    return (double)corpus->total * 1e3 / (double)(weir_now_ns() - start_ns);
}

static double tree_rate(const struct corpus *corpus)
{
    uint64_t start_ns = weir_now_ns();
    for (size_t i = 0; i < REQUESTS; i++) {
        json_error_t error;
        json_t *tree = json_loadb((const char *)corpus->json[i].data, corpus->json[i].len, 0, &error);
        assert(tree != NULL);
        json_decref(tree);
    }
    return (double)corpus->total * 1e3 / (double)(weir_now_ns() - start_ns);
}

static void bench_signal(enum weir_signal signal, int rounds, struct random_otlp *rnd)
{
    struct corpus corpus = {.total = 0};
    struct weir_buf wire = {0};
    for (size_t i = 0; i < REQUESTS; i++) {
        struct otlp_json_account account = {0};
        size_t len;
        uint8_t *request = random_otlp_request(rnd, signal, &len);
        int code =
            otlp_json_write(signal, (struct weir_slice){request, len}, SIZE_MAX, &corpus.json[i], &account, NULL);
        assert(code == WEIR_OK);
        corpus.total += corpus.json[i].len;
        free(request);
    }
    double read[ROUNDS_MAX], tree[ROUNDS_MAX];
    for (int i = 0; i < rounds; i++) {
        read[i] = read_rate(signal, &corpus, &wire);
        tree[i] = tree_rate(&corpus);
    }
    qsort(read, (size_t)rounds, sizeof(double), compare_rates);
    qsort(tree, (size_t)rounds, sizeof(double), compare_rates);
    printf("json %-8s %6zu B/request  to protobuf %5.0f MB/s  jansson's tree %4.0f MB/s  ratio %.1f\n",
           weir_signal_name(signal), corpus.total / REQUESTS, read[rounds / 2], tree[rounds / 2],
           read[rounds / 2] / tree[rounds / 2]);
    for (size_t i = 0; i < REQUESTS; i++)
        weir_buf_free(&corpus.json[i]);
    weir_buf_free(&wire);
}

int main(int argc, char **argv)
{
    long rounds = argc > 1 ? strtol(argv[1], NULL, 10) : 31;
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
