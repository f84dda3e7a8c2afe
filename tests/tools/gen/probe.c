// SPDX-License-Identifier: Apache-2.0
// One request exactly as asked for, through libcurl: a client that shares no code with weir's own. The answer is printed as JSON.
#include <curl/curl.h>
#include <getopt.h>
#include <stdio.h>

#include "proto/grpc.h"
#include "tests/tools/common/options.h"
#include "tests/tools/gen/gen.h"

static const char usage[] =
    "usage: weir-gen probe --grpc ADDR | --http ADDR --path PATH [OPTION…]\n"
    "  --method M         [POST]\n"
    "  --header NAME:VALUE  instead of the usual one of that name; NAME: alone leaves it out\n"
    "  --raw-file FILE    the body (default: none)\n"
    "  --flag N           gRPC: put the 5-byte prefix with this flag and the right length before the body\n"
    "  --timeout-ms MS    [10000]\n"
    "Prints {\"http_status\", \"headers\", \"trailers\", \"body_hex\", \"error\"}. Exit: 0 an answer came, 1 none, 2 "
    "usage.\n";

struct probe {
    bool grpc;
    const char *address, *path, *method, *file;
    int flag; // -1: no prefix
    long timeout_ms;
    struct curl_slist *headers;
    struct weir_buf request, response;
    json_t *response_headers, *trailers;
    bool headers_over;
};

static void fail_usage(void)
{
    fputs(usage, stderr);
    exit(2);
}

static size_t on_body(char *data, size_t size, size_t count, void *ctx)
{
    struct probe *probe = ctx;
    return weir_buf_append(&probe->response, data, size * count) ? size * count : 0;
}

static size_t on_header(char *data, size_t size, size_t count, void *ctx)
{
    struct probe *probe = ctx;
    size_t len = size * count, end = len;
    while (end > 0 && (data[end - 1] == '\r' || data[end - 1] == '\n'))
        end--;
    char *colon = memchr(data, ':', end);
    if (end == 0)
        probe->headers_over = true;
    if (strncmp(data, "HTTP/", 5) == 0) { // 100 Continue came before, perhaps
        json_object_clear(probe->response_headers);
        probe->headers_over = false;
    }
    if (colon == NULL || colon == data)
        return len;
    char name[128];
    snprintf(name, sizeof(name), "%.*s", (int)(colon - data), data);
    for (char *c = name; *c; c++)
        *c = *c >= 'A' && *c <= 'Z' ? (char)(*c + 32) : *c;
    char *value = colon + 1;
    while (value < data + end && *value == ' ')
        value++;
    json_object_set_new(probe->headers_over ? probe->trailers : probe->response_headers, name,
                        json_stringn(value, (size_t)(data + end - value)));
    return len;
}

static void read_body(struct probe *probe)
{
    uint8_t prefix[GRPC_PREFIX_LEN] = {0};
    if (probe->flag >= 0)
        weir_buf_append(&probe->request, prefix, sizeof(prefix));
    FILE *file = probe->file ? fopen(probe->file, "rb") : NULL;
    if (probe->file && file == NULL) {
        perror(probe->file);
        exit(2);
    }
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
            probe->address = optarg;
        } else if (c == 'p') {
            probe->path = optarg;
        } else if (c == 'm') {
            probe->method = optarg;
        } else if (c == 'H') {
            probe->headers = curl_slist_append(probe->headers, optarg);
        } else if (c == 'f') {
            probe->file = optarg;
        } else if (c == 'F') {
            probe->flag = (int)option_uint("flag", optarg, 255);
        } else if (c == 't') {
            probe->timeout_ms = (long)option_uint("timeout-ms", optarg, 3600000);
        } else {
            fail_usage();
        }
    }
    if (probe->address == NULL || probe->path == NULL || optind != argc)
        fail_usage();
}

static bool given(const struct probe *probe, const char *name)
{
    size_t len = strlen(name);
    for (const struct curl_slist *at = probe->headers; at != NULL; at = at->next) {
        if (strncasecmp(at->data, name, len) == 0 && at->data[len] == ':')
            return true;
    }
    return false;
}

static void add_usual(struct probe *probe, const char *name, const char *value)
{
    char line[128];
    snprintf(line, sizeof(line), "%s: %s", name, value);
    if (!given(probe, name))
        probe->headers = curl_slist_append(probe->headers, line);
}

static int print_answer(const struct probe *probe, CURL *curl, CURLcode result)
{
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    char *hex = malloc(probe->response.len * 2 + 1);
    if (hex == NULL)
        abort();
    for (size_t i = 0; i < probe->response.len; i++)
        snprintf(hex + 2 * i, 3, "%02x", probe->response.data[i]);
    hex[probe->response.len * 2] = '\0';
    json_t *out = json_pack("{s:I, s:O, s:O, s:s, s:s}", "http_status", (json_int_t)status, "headers",
                            probe->response_headers, "trailers", probe->trailers, "body_hex", hex, "error",
                            result == CURLE_OK ? "" : curl_easy_strerror(result));
    json_dumpf(out, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(out);
    free(hex);
    return status > 0 ? 0 : 1;
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
    char url[1024];
    snprintf(url, sizeof(url), "http://%s%s", probe.address, probe.path);
    add_usual(&probe, "content-type", probe.grpc ? "application/grpc" : "application/x-protobuf");
    if (probe.grpc)
        add_usual(&probe, "te", "trailers");
    add_usual(&probe, "expect", "");
    CURL *curl = curl_easy_init();
    if (curl == NULL)
        abort();
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION,
                     probe.grpc ? CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE : CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, probe.timeout_ms);
    if (strcmp(probe.method, "GET") != 0) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)probe.request.len);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, probe.request.data ? (char *)probe.request.data : "");
    }
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, probe.method);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, probe.headers);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &probe);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, &probe);
    int code = print_answer(&probe, curl, curl_easy_perform(curl));
    curl_easy_cleanup(curl);
    curl_slist_free_all(probe.headers);
    json_decref(probe.response_headers);
    json_decref(probe.trailers);
    weir_buf_free(&probe.request);
    weir_buf_free(&probe.response);
    return code;
}
