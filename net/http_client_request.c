// SPDX-License-Identifier: Apache-2.0
// One request: what curl is told of it, what curl calls back for it, and what curl's result means.
#include "net/http_client_priv.h"
#include "net/tls_client.h"

#include <ctype.h>
#include <stdio.h>
#include <strings.h>

#define UPLOAD_BUFFER_BYTES (256 * 1024L)

// --- curl's callbacks -----------------------------------------------------------------------------------------------

static size_t on_body_wanted(char *buf, size_t size, size_t count, void *user)
{
    struct http_call *call = user;
    const struct client_call *request = call->record.call;
    size_t room = size * count, filled = 0;
    while (filled < room && call->range < request->body_count) {
        const struct weir_slice *range = &request->body[call->range];
        size_t left = range->len - call->offset;
        size_t take = left < room - filled ? left : room - filled;
        if (take > 0)
            memcpy(buf + filled, range->data + call->offset, take);
        filled += take;
        call->offset += take;
        if (call->offset == range->len) {
            call->range++;
            call->offset = 0;
        }
    }
    return filled;
}

// Only ever back to the start, when the request goes out again on a new connection.
static int on_body_seek(void *user, curl_off_t offset, int origin)
{
    struct http_call *call = user;
    if (origin != SEEK_SET || offset != 0)
        return CURL_SEEKFUNC_FAIL;
    call->range = call->offset = 0;
    return CURL_SEEKFUNC_OK;
}

static struct weir_slice trimmed(const char *text, size_t len)
{
    while (len > 0 && strchr(" \t\r\n", text[len - 1]) != NULL)
        len--;
    while (len > 0 && (*text == ' ' || *text == '\t')) {
        text++;
        len--;
    }
    return (struct weir_slice){.data = (const uint8_t *)text, .len = len};
}

static size_t on_header(char *line, size_t size, size_t count, void *user)
{
    struct http_call *call = user;
    size_t len = size * count;
    if (len >= 5 && memcmp(line, "HTTP/", 5) == 0) { // of an interim answer, or the final one
        client_headers_clear(&call->record.headers);
        call->final_headers = false;
        return len;
    }
    const char *colon = memchr(line, ':', len);
    if (colon == NULL) {
        call->final_headers = true;
        return len;
    }
    struct weir_slice name = trimmed(line, (size_t)(colon - line));
    struct weir_slice value = trimmed(colon + 1, len - (size_t)(colon + 1 - line));
    char lower[128];
    if (name.len > sizeof(lower)) // no header we ask for is as long
        return len;
    for (size_t i = 0; i < name.len; i++)
        lower[i] = (char)tolower(name.data[i]);
    name.data = (const uint8_t *)lower;
    client_headers_add(call->final_headers ? &call->record.trailers : &call->record.headers, name, value);
    return len;
}

static size_t on_body(char *data, size_t size, size_t count, void *user)
{
    struct http_call *call = user;
    size_t len = size * count;
    size_t max = call->client->base.options.max_response_bytes;
    if (len > max - call->record.body.len) {
        client_record_decide(&call->record, CLIENT_E_RESPONSE_TOO_LARGE, "the answer is larger than %zu bytes", max);
        return CURL_WRITEFUNC_ERROR;
    }
    if (!weir_buf_append(&call->record.body, data, len)) {
        client_record_decide(&call->record, CLIENT_E_RESET, "no memory for the answer");
        return CURL_WRITEFUNC_ERROR;
    }
    return len;
}

// Connected, the request comes next.
static int on_connected(void *user, char *peer_ip, char *local_ip, int peer_port, int local_port)
{
    struct http_call *call = user;
    call->record.call->connection = http_sockets_use(&call->client->sockets, local_port);
    call->record.call->bytes_sent = true;
    return CURL_PREREQFUNC_OK;
}

// --- one request ----------------------------------------------------------------------------------------------------

bool http_append_header(struct curl_slist **list, const char *line)
{
    struct curl_slist *longer = curl_slist_append(*list, line);
    if (longer == NULL)
        return false;
    *list = longer;
    return true;
}

static bool make_headers(struct http_call *call)
{
    const struct client_call *request = call->record.call;
    bool ok = http_append_header(&call->headers, "Expect:"); // curl waits a second for a 100 otherwise
    bool typed = false;
    for (size_t i = 0; i < request->header_count; i++) {
        const struct client_header *header = &request->headers[i];
        typed = typed || strcasecmp(header->name, "content-type") == 0;
        size_t len = strlen(header->name) + strlen(header->value) + 3;
        char *line = malloc(len);
        if (line == NULL)
            return false;
        if (header->value[0] == '\0')
            snprintf(line, len, "%s;", header->name); // curl's way to send an empty one
        else
            snprintf(line, len, "%s: %s", header->name, header->value);
        ok = http_append_header(&call->headers, line) && ok;
        free(line);
    }
    if (!typed)
        ok = http_append_header(&call->headers, "Content-Type:") && ok; // not curl's form type
    if (call->client->host_header[0] != '\0')
        ok = http_append_header(&call->headers, call->client->host_header) && ok;
    return ok;
}

// A new connection: it shows and trusts what was read and found good, not what the files hold in this moment.
static CURLcode on_tls(CURL *easy, void *ctx, void *user)
{
    const struct http_client *client = user;
    return tls_client_share(&client->base, ctx) ? CURLE_OK : CURLE_SSL_CERTPROBLEM;
}

static CURLcode set_tls(CURL *easy, struct http_client *client)
{
    const struct client_tls *tls = &client->base.options.tls;
    bool newest = tls->min_version != NULL && strcmp(tls->min_version, "1.3") == 0;
    CURLcode code =
        curl_easy_setopt(easy, CURLOPT_SSLVERSION, newest ? CURL_SSLVERSION_TLSv1_3 : CURL_SSLVERSION_TLSv1_2);
    if (code == CURLE_OK && tls->ca_file != NULL) // that file alone
        code = curl_easy_setopt(easy, CURLOPT_CAINFO, NULL);
    if (code == CURLE_OK && tls->ca_file != NULL)
        code = curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, on_tls);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, client);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, tls->insecure_skip_verify ? 0L : 1L);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, tls->insecure_skip_verify ? 0L : 2L);
    return code;
}

// A proxy could not lead back to this machine's own addresses, whatever the environment says for others.
static bool is_loopback(const char *host)
{
    return strcasecmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0;
}

static CURLcode set_proxy(CURL *easy, const struct client_options *options)
{
    if (is_loopback(options->host))
        return curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    // What the proxy says to CONNECT is not the answer.
    CURLcode code = curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    if (code == CURLE_OK && !options->use_tls && options->http_proxy != NULL)
        code = curl_easy_setopt(easy, CURLOPT_PROXY, options->http_proxy);
    return code;
}

static CURLcode set_texts(struct http_call *call)
{
    const struct client_options *options = &call->client->base.options;
    size_t len = strlen(call->client->url_base) + strlen(call->record.call->path) + 1;
    char *url = malloc(len);
    if (url == NULL)
        return CURLE_OUT_OF_MEMORY;
    snprintf(url, len, "%s%s", call->client->url_base, call->record.call->path);
    CURLcode code = curl_easy_setopt(call->easy, CURLOPT_URL, url);
    free(url);
    if (code == CURLE_OK)
        code = curl_easy_setopt(call->easy, CURLOPT_PROTOCOLS_STR, options->use_tls ? "https" : "http");
    if (code == CURLE_OK)
        code = set_proxy(call->easy, options);
    if (code == CURLE_OK && options->user_agent != NULL)
        code = curl_easy_setopt(call->easy, CURLOPT_USERAGENT, options->user_agent);
    if (code == CURLE_OK && options->use_tls)
        code = set_tls(call->easy, call->client);
    return code;
}

static void set_numbers(struct http_call *call, uint64_t now_ns)
{
    CURL *easy = call->easy;
    uint64_t left_ms = call->deadline_ns > now_ns ? (call->deadline_ns - now_ns + 999999) / 1000000 : 1;
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)(left_ms < INT32_MAX ? left_ms : INT32_MAX));
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)call->client->base.options.connect_timeout_ms);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);        // a look-up that was given up must not hold up the others
    curl_easy_setopt(easy, CURLOPT_DNS_CACHE_TIMEOUT, 0L); // each new connection asks anew: the name may have moved
    // curl begins with the first address each time; where that one accepts and says nothing, only another order gets past it.
    curl_easy_setopt(easy, CURLOPT_DNS_SHUFFLE_ADDRESSES, call->client->failed ? 1L : 0L);
    curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, UPLOAD_BUFFER_BYTES);
    size_t len = 0;
    for (size_t i = 0; i < call->record.call->body_count; i++)
        len += call->record.call->body[i].len;
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)len);
}

static void set_callbacks(struct http_call *call)
{
    CURL *easy = call->easy;
    curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_body_wanted);
    curl_easy_setopt(easy, CURLOPT_READDATA, call);
    curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_body_seek);
    curl_easy_setopt(easy, CURLOPT_SEEKDATA, call);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, call);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
    curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_connected);
    curl_easy_setopt(easy, CURLOPT_PREREQDATA, call);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->error_text);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, call);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, call->headers);
    curl_easy_setopt(easy, CURLOPT_CONNECT_TO, call->client->connect_to);
    http_sockets_watch(&call->client->sockets, easy);
}

bool http_request_prepare(struct http_call *call, uint64_t now_ns)
{
    set_numbers(call, now_ns);
    bool ok = set_texts(call) == CURLE_OK && make_headers(call);
    set_callbacks(call);
    return ok;
}

// --- the outcome ----------------------------------------------------------------------------------------------------

static const struct {
    CURLcode code;
    enum client_error error;
} curl_errors[] = {
    {CURLE_URL_MALFORMAT, CLIENT_E_RESOLVE},
    {CURLE_COULDNT_RESOLVE_HOST, CLIENT_E_RESOLVE},
    {CURLE_COULDNT_CONNECT, CLIENT_E_CONNECT},
    {CURLE_SSL_CONNECT_ERROR, CLIENT_E_TLS},
    {CURLE_PEER_FAILED_VERIFICATION, CLIENT_E_TLS},
    {CURLE_SSL_CERTPROBLEM, CLIENT_E_TLS},
    {CURLE_SSL_CIPHER, CLIENT_E_TLS},
    {CURLE_SSL_CACERT_BADFILE, CLIENT_E_TLS},
    {CURLE_SSL_ISSUER_ERROR, CLIENT_E_TLS},
    {CURLE_SSL_CLIENTCERT, CLIENT_E_TLS},
    {CURLE_WEIRD_SERVER_REPLY, CLIENT_E_PROTOCOL},
    {CURLE_UNSUPPORTED_PROTOCOL, CLIENT_E_PROTOCOL}, // an answer that does not begin with HTTP/1
    {CURLE_BAD_CONTENT_ENCODING, CLIENT_E_PROTOCOL},
    {CURLE_OPERATION_TIMEDOUT, CLIENT_E_TIMEOUT},
};

static enum client_error error_of(const struct http_call *call, CURLcode code)
{
    bool sent = call->record.call->bytes_sent;
    enum client_error error = sent ? CLIENT_E_RESET : CLIENT_E_CONNECT;
    for (size_t i = 0; i < WEIR_COUNT(curl_errors); i++) {
        if (curl_errors[i].code == code)
            error = curl_errors[i].error;
    }
    // Under TLS 1.3 a server refuses our certificate only after the handshake, where our request is under way already.
    if (code == CURLE_RECV_ERROR && strstr(call->error_text, "alert") != NULL)
        error = CLIENT_E_TLS;
    // The connection's timeout, not the call's.
    if (error == CLIENT_E_TIMEOUT && !sent && weir_now_ns() < call->deadline_ns)
        error = CLIENT_E_CONNECT;
    return error;
}

static void decide_failed(struct http_call *call, CURLcode code)
{
    const char *peer = call->client->base.peer;
    enum client_error error = error_of(call, code);
    long system_error = 0;
    curl_easy_getinfo(call->easy, CURLINFO_OS_ERRNO, &system_error);
    const char *reason = call->error_text[0] != '\0' ? call->error_text : curl_easy_strerror(code);
    if (error == CLIENT_E_CONNECT && code == CURLE_COULDNT_CONNECT && system_error != 0)
        client_record_decide(&call->record, error, "connect to %s: %s", peer, strerror((int)system_error));
    else if (error == CLIENT_E_CONNECT)
        client_record_decide(&call->record, error, "connect to %s: %s", peer, reason);
    else if (error == CLIENT_E_RESOLVE)
        client_record_decide(&call->record, error, "look up %s: %s", call->client->base.options.host, reason);
    else if (error == CLIENT_E_TIMEOUT)
        client_record_decide(&call->record, error, "no answer from %s within %llu ms", peer,
                             (unsigned long long)(call->record.call->timeout_ns / 1000000));
    else if (code == CURLE_UNSUPPORTED_PROTOCOL)
        client_record_decide(&call->record, error, "%s does not answer in HTTP/1: is this an OTLP/gRPC port? (%s)",
                             peer, reason);
    else
        client_record_decide(&call->record, error, "%s %s: %s", error == CLIENT_E_TLS ? "TLS with" : "POST to", peer,
                             reason);
}

void http_request_decide(struct http_call *call, CURLcode code)
{
    long status = 0;
    curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
    call->record.call->http_status = (int)status;
    // A peer that refuses a request while it is being sent may end the connection at once: what it said counts all the same.
    bool refused = status >= 400 && call->final_headers && code != CURLE_OPERATION_TIMEDOUT;
    bool no_status = status < 100 || status > 999; // libcurl takes fewer digits, too
    call->client->failed = (code != CURLE_OK && !refused) || no_status;
    if (code == CURLE_OK && no_status)
        client_record_decide(&call->record, CLIENT_E_PROTOCOL, "%s answers with the HTTP status %ld, which is none",
                             call->client->base.peer, status);
    else if (code == CURLE_OK || refused)
        client_record_decide(&call->record, CLIENT_OK, "%s", "");
    else
        decide_failed(call, code);
}
