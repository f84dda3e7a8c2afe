// SPDX-License-Identifier: Apache-2.0
#include <curl/curl.h>
#include <stdio.h>

#include "tests/tools/gen/probe.h"

struct transfer {
    struct probe *probe;
    bool headers_over;
};

static size_t on_body(char *data, size_t size, size_t count, void *ctx)
{
    struct transfer *transfer = ctx;
    return weir_buf_append(&transfer->probe->response, data, size * count) ? size * count : 0;
}

static size_t on_header(char *data, size_t size, size_t count, void *ctx)
{
    struct transfer *transfer = ctx;
    struct probe *probe = transfer->probe;
    size_t len = size * count, end = len;
    while (end > 0 && (data[end - 1] == '\r' || data[end - 1] == '\n'))
        end--;
    char *colon = memchr(data, ':', end);
    if (end == 0)
        transfer->headers_over = true;
    if (len >= 5 && strncmp(data, "HTTP/", 5) == 0) { // 100 Continue came before, perhaps
        json_object_clear(probe->response_headers);
        transfer->headers_over = false;
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
    json_object_set_new(transfer->headers_over ? probe->trailers : probe->response_headers, name,
                        json_stringn(value, (size_t)(data + end - value)));
    return len;
}

static struct curl_slist *header_list(const struct probe *probe)
{
    struct curl_slist *list = curl_slist_append(NULL, "Expect:"); // no waiting for 100 Continue
    for (size_t i = 0; i < probe->header_count; i++) {
        char line[400];
        snprintf(line, sizeof(line), "%s: %s", probe->headers[i].name, probe->headers[i].value);
        list = curl_slist_append(list, line);
    }
    return list;
}

void probe_http(struct probe *probe)
{
    struct transfer transfer = {.probe = probe};
    struct curl_slist *headers = header_list(probe);
    CURL *curl = curl_easy_init();
    if (curl == NULL)
        abort();
    char url[1024];
    snprintf(url, sizeof(url), "http://%s:%u%s", probe->host, probe->port, probe->path);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)probe->timeout_ms);
    if (strcmp(probe->method, "GET") != 0) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)probe->request.len);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, probe->request.data ? (char *)probe->request.data : "");
    }
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, probe->method);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &transfer);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, &transfer);
    CURLcode result = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &probe->status);
    if (result != CURLE_OK)
        snprintf(probe->error, sizeof(probe->error), "%s", curl_easy_strerror(result));
    curl_easy_cleanup(curl);
    curl_slist_free_all(headers);
}
