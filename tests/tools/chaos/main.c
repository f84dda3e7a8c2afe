// SPDX-License-Identifier: Apache-2.0
// weir-chaos: a TCP proxy that misbehaves on command. The proxy polls in the main thread, the control port is a server on a loop.
#include "net/server.h"
#include "tests/tools/chaos/proxy.h"
#include "tests/tools/common/options.h"

#include <getopt.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <unistd.h>

static const char usage[] =
    "usage: weir-chaos --to ADDR [--listen ADDR] [--control ADDR]\n"
    "A TCP proxy that misbehaves on command. ADDR is HOST:PORT with a numeric host (port 0: any), 127.0.0.1:0 without "
    "the option.\n"
    "One JSON line on stdout tells the addresses. Control:\n"
    "  GET  /stats   connections, accepted, cuts, bytes_up, bytes_down, swallowed, answers,\n"
    "                cut_answers\n"
    "  POST /mode    e.g. delay_ms=50&throttle=100000; each stays until it is set to 0:\n"
    "                hold=1 (nothing is read), delay_ms, throttle (bytes a second), swallow=1 (peers have vanished),\n"
    "                refuse=1, cut_up and cut_down (new connections end after so many bytes), flap_ms,\n"
    "                cut_answers=N (each Nth answer is swallowed, and its connection reset)\n"
    "  POST /do      action=cut | reset | swallow (all connections there are now)\n";

static const struct {
    const char *name;
    size_t offset;
} modes[] = {
    {"hold", offsetof(struct proxy_modes, hold)},
    {"delay_ms", offsetof(struct proxy_modes, delay_ms)},
    {"throttle", offsetof(struct proxy_modes, throttle)},
    {"swallow", offsetof(struct proxy_modes, swallow)},
    {"refuse", offsetof(struct proxy_modes, refuse)},
    {"cut_up", offsetof(struct proxy_modes, cut_up)},
    {"cut_down", offsetof(struct proxy_modes, cut_down)},
    {"flap_ms", offsetof(struct proxy_modes, flap_ms)},
    {"cut_answers", offsetof(struct proxy_modes, cut_answers)},
};

// --- control --------------------------------------------------------------------------------------------------------

static void answer_text(struct exchange *exchange, int status, const char *type, const char *text)
{
    struct exchange_header headers[] = {{"content-type", 12, type, strlen(type)}};
    struct exchange_answer answer = {
        .http_status = status, .headers = headers, .header_count = 1, .body = {(const uint8_t *)text, strlen(text)}};
    exchange_answer(exchange, &answer);
}

static bool set_mode(struct proxy_modes *out, const char *name, const char *value)
{
    char *end;
    for (size_t i = 0; i < WEIR_COUNT(modes); i++)
        if (strcmp(modes[i].name, name) == 0) {
            *(uint64_t *)(void *)((char *)out + modes[i].offset) = strtoull(value, &end, 10);
            return *value != '\0' && *end == '\0';
        }
    return false;
}

static void post_mode(struct proxy *proxy, struct exchange *exchange, char *form)
{
    struct proxy_modes wanted;
    proxy_modes_get(proxy, &wanted);
    for (char *part; (part = strsep(&form, "&")) != NULL;) {
        char *value = strchr(part, '=');
        if (value != NULL)
            *value++ = '\0';
        if (value == NULL || !set_mode(&wanted, part, value)) {
            answer_text(exchange, 400, "text/plain", usage);
            return;
        }
    }
    proxy_modes_set(proxy, &wanted);
    answer_text(exchange, 200, "text/plain", "ok\n");
}

static void post_do(struct proxy *proxy, struct exchange *exchange, char *form)
{
    static const char *const actions[] = {"action=cut", "action=reset", "action=swallow"};
    for (size_t i = 0; i < WEIR_COUNT(actions); i++)
        if (strcmp(form, actions[i]) == 0) {
            proxy_do(proxy, (enum proxy_action)i);
            answer_text(exchange, 200, "text/plain", "ok\n");
            return;
        }
    answer_text(exchange, 400, "text/plain", usage);
}

static void get_stats(struct proxy *proxy, struct exchange *exchange, char *form)
{
    struct proxy_stats stats;
    char text[256];
    proxy_stats_get(proxy, &stats);
    snprintf(text, sizeof(text),
             "{\"connections\": %llu, \"accepted\": %llu, \"cuts\": %llu, \"bytes_up\": %llu, \"bytes_down\": %llu, "
             "\"swallowed\": %llu, \"answers\": %llu, \"cut_answers\": %llu}\n",
             (unsigned long long)stats.connections, (unsigned long long)stats.accepted, (unsigned long long)stats.cuts,
             (unsigned long long)stats.bytes_up, (unsigned long long)stats.bytes_down,
             (unsigned long long)stats.swallowed, (unsigned long long)stats.answers,
             (unsigned long long)stats.cut_answers);
    answer_text(exchange, 200, "application/json", text);
}

static bool is(struct weir_slice slice, const char *text)
{
    return slice.len == strlen(text) && memcmp(slice.data, text, slice.len) == 0;
}

static void begin(void *ctx, struct exchange *exchange)
{
    exchange->user = calloc(1, sizeof(struct weir_buf));
    if (exchange->user == NULL)
        abort();
}

static void data(void *ctx, struct exchange *exchange, struct weir_slice bytes)
{
    if (!weir_buf_append(exchange->user, bytes.data, bytes.len))
        abort();
}

static void free_form(struct exchange *exchange)
{
    if (exchange->user != NULL)
        weir_buf_free(exchange->user);
    free(exchange->user);
    exchange->user = NULL;
}

static void end(void *ctx, struct exchange *exchange)
{
    static const struct {
        const char *method, *path;
        void (*run)(struct proxy *proxy, struct exchange *exchange, char *form);
    } routes[] = {{"GET", "/stats", get_stats}, {"POST", "/mode", post_mode}, {"POST", "/do", post_do}};
    char form[512] = "";
    const struct weir_buf *body = exchange->user;
    if (body->len > 0 && body->len < sizeof(form))
        memcpy(form, body->data, body->len);
    free_form(exchange);
    for (size_t i = 0; i < WEIR_COUNT(routes); i++)
        if (is(exchange->method, routes[i].method) && is(exchange->path, routes[i].path)) {
            routes[i].run(ctx, exchange, form);
            return;
        }
    answer_text(exchange, 404, "text/plain", usage);
}

static void gone(void *ctx, struct exchange *exchange)
{
    free_form(exchange);
}

static void too_large(enum exchange_transport transport, const struct exchange *exchange,
                      struct exchange_answer *answer)
{
    answer->http_status = 413;
}

// --- life -----------------------------------------------------------------------------------------------------------

static struct sockaddr_storage address_of(const char *option, const char *text)
{
    char host[256], port_text[8];
    uint16_t port;
    struct sockaddr_storage out = {0};
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV}, *found;
    option_address(option, text, host, &port);
    snprintf(port_text, sizeof(port_text), "%u", port);
    if (getaddrinfo(host, port_text, &hints, &found) != 0)
        usage_error("--%s: %s is no numeric address", option, host);
    memcpy(&out, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return out;
}

static void *run_loop(void *loop)
{
    loop_run(loop);
    return NULL;
}

static const char *open_control(struct proxy *proxy, const char *endpoint)
{
    struct weir_err err;
    static struct loop *loop;
    struct server *server;
    struct server_options options = {
        .loops = &loop,
        .loop_count = 1,
        .http_endpoint = endpoint,
        .limits = {.body_bytes = 4096, .receive_timeout_ms = 600000},
        .http = {.ctx = proxy, .begin = begin, .data = data, .end = end, .gone = gone},
        .too_large = too_large,
    };
    pthread_t thread;
    if (loop_new(&loop, &err) != WEIR_OK || server_new(&options, &server, &err) != WEIR_OK) {
        fprintf(stderr, "weir-chaos: %s\n", err.text);
        exit(1);
    }
    server_start(server);
    if (pthread_create(&thread, NULL, run_loop, loop) != 0)
        abort();
    return server_http_address(server);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"to", required_argument, NULL, 't'},
        {"listen", required_argument, NULL, 'l'},
        {"control", required_argument, NULL, 'c'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    const char *to = NULL, *listen_at = "127.0.0.1:0", *control = "127.0.0.1:0";
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 'h') {
            fputs(usage, stdout);
            return 0;
        }
        if (c == '?')
            usage_error("%s", usage);
        *(c == 't' ? &to : c == 'l' ? &listen_at : &control) = optarg;
    }
    if (to == NULL || optind != argc)
        usage_error("%s", usage);
    struct sockaddr_storage here = address_of("listen", listen_at), there = address_of("to", to);
    struct proxy *proxy;
    struct weir_err err;
    signal(SIGPIPE, SIG_IGN);
    if (proxy_new(&here, &there, &proxy, &err) != WEIR_OK) {
        fprintf(stderr, "weir-chaos: %s\n", err.text);
        return 1;
    }
    const char *control_address = open_control(proxy, control);
    bool ipv6 = here.ss_family == AF_INET6;
    char host[64] = "";
    getnameinfo((struct sockaddr *)&here, sizeof(here), host, sizeof(host), NULL, 0, NI_NUMERICHOST);
    printf("{\"event\": \"ready\", \"address\": \"%s%s%s:%u\", \"control\": \"%s\", \"pid\": %d}\n", ipv6 ? "[" : "",
           host, ipv6 ? "]" : "", proxy_port(proxy), control_address, (int)getpid());
    fflush(stdout);
    proxy_run(proxy);
}
