// SPDX-License-Identifier: Apache-2.0
// The JSON writer for check_otlp_json.py, which compares it with protobuf's own.
//   dump_otlp_json COUNT SEED    COUNT random requests of each signal to stdout, half of them wild: u8 signal, u32 length, bytes
//   dump_otlp_json               reads such records from stdin and writes of each u8 error code, u32 length, the JSON or the error's text
#include <stdio.h>

#include "proto/otlp_json.h"
#include "tests/unit/random_otlp.h"

#define RECORD_MAX ((size_t)64 << 20)

static void put_record(uint8_t kind, const void *data, size_t len)
{
    uint8_t head[5] = {kind};
    weir_put_u32(head + 1, (uint32_t)len);
    if (fwrite(head, sizeof(head), 1, stdout) != 1 || fwrite(data, 1, len, stdout) != len) {
        perror("dump_otlp_json: stdout");
        exit(1);
    }
}

static void dump_random(unsigned long count, unsigned long seed)
{
    for (unsigned long i = 0; i < count * WEIR_SIGNALS; i++) {
        struct random_otlp rnd = random_otlp_new(seed + i, i / WEIR_SIGNALS % 2 == 0);
        size_t len;
        uint8_t *request = random_otlp_request(&rnd, (enum weir_signal)(i % WEIR_SIGNALS), &len);
        put_record((uint8_t)(i % WEIR_SIGNALS), request, len);
        free(request);
        random_otlp_free(&rnd);
    }
}

static void translate(void)
{
    struct weir_buf request = {0}, json = {0};
    uint8_t head[5];
    while (fread(head, sizeof(head), 1, stdin) == 1) {
        size_t len = weir_get_u32(head + 1);
        request.len = json.len = 0;
        if (head[0] >= WEIR_SIGNALS || len > RECORD_MAX || !weir_buf_reserve(&request, len + 1) ||
            fread(request.data, 1, len, stdin) != len) {
            fputs("dump_otlp_json: no record\n", stderr);
            exit(1);
        }
        struct otlp_json_account account = {0};
        struct weir_err err;
        int code = otlp_json_write((enum weir_signal)head[0], (struct weir_slice){request.data, len}, RECORD_MAX, &json,
                                   &account, &err);
        if (code == WEIR_OK)
            put_record(0, json.data, json.len);
        else
            put_record((uint8_t)code, err.text, strlen(err.text));
    }
    weir_buf_free(&request);
    weir_buf_free(&json);
}

int main(int argc, char **argv)
{
    if (argc == 3)
        dump_random(strtoul(argv[1], NULL, 10), strtoul(argv[2], NULL, 10));
    else
        translate();
    return fflush(stdout) != 0;
}
