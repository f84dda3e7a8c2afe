// SPDX-License-Identifier: Apache-2.0
// One request exactly as asked for; the answer is printed as JSON.
#include "tests/tools/gen/probe.h"

#include <getopt.h>
#include <stdio.h>

#include "proto/grpc.h"
#include "tests/tools/common/options.h"
#include "tests/tools/gen/gen.h"

static const char usage[] =
    "usage: weir-gen probe --grpc ADDR | --http ADDR --path PATH [OPTION…]\n"
    "  --method M           [POST]\n"
    "  --header NAME:VALUE  instead of the usual one of that name; NAME: alone leaves it out\n"
    "  --raw-file FILE      the body (default: none)\n"
    "  --flag N             gRPC: put the 5-byte prefix with this flag and the right length before the body\n"
    "  --timeout-ms MS      [10000]\n"
    "Prints {\"http_status\", \"headers\", \"trailers\", \"body_hex\", \"error\"}. Exit: 0 an answer came, 1 none, 2 "
    "usage.\n";

static void read_body(struct probe *probe)
{
    uint8_t prefix[GRPC_PREFIX_LEN] = {0};
    if (probe->flag >= 0 && !weir_buf_append(&probe->request, prefix, sizeof(prefix)))
        abort();
    FILE *file = probe->file ? fopen(probe->file, "rb") : NULL;
    if (probe->file && file == NULL)
        usage_error("--raw-file %s: %m", probe->file);
    char block[65536];
    size_t got;
    while (file && (got = fread(block, 1, sizeof(block), file)) > 0) {
        if (!weir_buf_append(&probe->request, block, got))
            abort();
    }
    if (file)
        fclose(file);
    if (probe->flag >= 0) {
        grpc_prefix_write(probe->request.data, false, (uint32_t)(probe->request.len - GRPC_PREFIX_LEN));
        probe->request.data[0] = (uint8_t)probe->flag;
    }
}

static void add_header(struct probe *probe, const char *text)
{
    const char *colon = strchr(text, ':');
    if (colon == NULL || probe->header_count == PROBE_HEADERS)
        usage_error("--header: NAME:VALUE is needed, %d at most", PROBE_HEADERS);
    struct probe_header *header = &probe->headers[probe->header_count++];
    snprintf(header->name, sizeof(header->name), "%.*s", (int)(colon - text), text);
    snprintf(header->value, sizeof(header->value), "%s", colon + 1 + strspn(colon + 1, " "));
}

static void add_usual(struct probe *probe, const char *name, const char *value)
{
    for (size_t i = 0; i < probe->header_count; i++) {
        if (strcmp(probe->headers[i].name, name) == 0)
            return;
    }
    char line[128];
    snprintf(line, sizeof(line), "%s:%s", name, value);
    add_header(probe, line);
}

// A header given without a value is left out; libcurl takes an empty value for just that.
static void drop_empty(struct probe *probe)
{
    size_t kept = 0;
    for (size_t i = 0; i < probe->header_count; i++) {
        if (!probe->grpc || probe->headers[i].value[0] != '\0')
            probe->headers[kept++] = probe->headers[i];
    }
    probe->header_count = kept;
}

static void parse(int argc, char **argv, struct probe *probe)
{
    static const struct option options[] = {
        {"grpc", required_argument, NULL, 'g'},
        {"http", required_argument, NULL, 'h'},
        {"path", required_argument, NULL, 'p'},
        {"method", required_argument, NULL, 'm'},
        {"header", required_argument, NULL, 'H'},
        {"raw-file", required_argument, NULL, 'f'},
        {"flag", required_argument, NULL, 'F'},
        {"timeout-ms", required_argument, NULL, 't'},
        {NULL, 0, NULL, 0},
    };
    int c;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 'g' || c == 'h') {
            probe->grpc = c == 'g';
            option_address(c == 'g' ? "grpc" : "http", optarg, probe->host, &probe->port);
        } else if (c == 'p') {
            probe->path = optarg;
        } else if (c == 'm') {
            probe->method = optarg;
        } else if (c == 'H') {
            add_header(probe, optarg);
        } else if (c == 'f') {
            probe->file = optarg;
        } else if (c == 'F') {
            probe->flag = (int)option_uint("flag", optarg, 255);
        } else if (c == 't') {
            probe->timeout_ms = option_uint("timeout-ms", optarg, 3600000);
        } else {
            usage_error("%s", usage);
        }
    }
    if (probe->host[0] == '\0' || probe->path == NULL || optind != argc)
        usage_error("%s", usage);
}

static void print_answer(const struct probe *probe)
{
    char *hex = malloc(probe->response.len * 2 + 1);
    if (hex == NULL)
        abort();
    for (size_t i = 0; i < probe->response.len; i++)
        snprintf(hex + 2 * i, 3, "%02x", probe->response.data[i]);
    hex[probe->response.len * 2] = '\0';
    json_t *out =
        json_pack("{s:I, s:O, s:O, s:s, s:s}", "http_status", (json_int_t)probe->status, "headers",
                  probe->response_headers, "trailers", probe->trailers, "body_hex", hex, "error", probe->error);
    if (out == NULL || json_dumpf(out, stdout, JSON_COMPACT) != 0)
        abort();
    putchar('\n');
    json_decref(out);
    free(hex);
}

int probe_main(int argc, char **argv)
{
    struct probe probe = {.method = "POST",
                          .flag = -1,
                          .timeout_ms = 10000,
                          .response_headers = json_object(),
                          .trailers = json_object()};
    parse(argc, argv, &probe);
    read_body(&probe);
    add_usual(&probe, "content-type", probe.grpc ? "application/grpc" : "application/x-protobuf");
    if (probe.grpc)
        add_usual(&probe, "te", "trailers");
    drop_empty(&probe);
    (probe.grpc ? probe_grpc : probe_http)(&probe);
    print_answer(&probe);
    json_decref(probe.response_headers);
    json_decref(probe.trailers);
    weir_buf_free(&probe.request);
    weir_buf_free(&probe.response);
    return probe.status > 0 ? 0 : 1;
}
