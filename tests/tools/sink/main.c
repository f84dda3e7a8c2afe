// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/common/options.h"
#include "tests/tools/sink/sink.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

static const char usage[] =
    "usage: weir-sink [--grpc ADDR] [--http ADDR] [--control ADDR] [--record FILE] [--max-request-bytes N]\n"
    "                 [--stream-header NAME]   its value must be the weir.test.stream of what is in the request: else "
    "misplaced\n"
    "                 [--tls-cert FILE --tls-key FILE [--tls-client-ca FILE] [--tls-min 1.2|1.3]]\n"
    "An OTLP upstream that records the weir.test.id of what it gets and misbehaves on command. ADDR is HOST:PORT (port "
    "0: any),\n"
    "127.0.0.1:0 without the option. One JSON line on stdout tells the addresses. Control:\n"
    "  GET  /stats            counts per signal        GET /ids/traces   \"0-99,105\"       GET /attempts   the last "
    "requests\n"
    "  POST /mode             e.g. signal=traces&status=14&retry_delay_ms=500&count=3; keys: transport signal ok "
    "status\n"
    "                         retry_delay_ms hang goaway cut delay_ms refuse partial limit_bytes poison_id count\n"
    "                         rate burst (requests a second, those beyond get `status`) one_in (so many, at random)\n"
    "                         service_ms slots (a queue)\n"
    "  POST /listen           on=0 closes the OTLP ports and all connections, on=1 opens the same ports again\n"
    "  POST /reset            forgets counts and modes\n";

struct endpoints {
    const char *grpc, *http, *control;
    struct tls_listen_options tls; // with a cert_file: both OTLP ports
};

// Binds without listening and keeps it: a closed port stays ours, and connections to it are refused. "off" stays as it is.
static void reserve(const char *option, const char *endpoint, char address[64])
{
    char host[256], port_text[8];
    uint16_t port;
    if (strcmp(endpoint, "off") == 0) {
        snprintf(address, 64, "off");
        return;
    }
    option_address(option, endpoint, host, &port);
    snprintf(port_text, sizeof(port_text), "%u", port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV}, *found;
    if (getaddrinfo(host, port_text, &hints, &found) != 0)
        usage_error("--%s: %s is no numeric address", option, host);
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    struct sockaddr_storage bound;
    socklen_t len = sizeof(bound);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
        bind(fd, found->ai_addr, found->ai_addrlen) != 0 || getsockname(fd, (struct sockaddr *)&bound, &len) != 0) {
        perror("weir-sink: bind");
        exit(1);
    }
    freeaddrinfo(found);
    // sin_port and sin6_port lie at the same place.
    port = ntohs(((struct sockaddr_in *)&bound)->sin_port);
    snprintf(address, 64, bound.ss_family == AF_INET6 ? "[%.40s]:%u" : "%.40s:%u", host, port);
}

static struct exchange_handler with_context(const struct exchange_handler *handler, void *ctx)
{
    struct exchange_handler with = *handler;
    with.ctx = ctx;
    return with;
}

int sink_open(struct sink *sink, struct weir_err *err)
{
    struct server_options options = {
        .loops = &sink->loop,
        .loop_count = 1,
        .grpc_endpoint = sink->grpc_address,
        .http_endpoint = sink->http_address,
        .grpc_tls = sink->grpc_tls,
        .http_tls = sink->http_tls,
        .limits = {.body_bytes = sink->max_request_bytes, .shutdown_ms = 1}, // a closed sink is gone, not polite
        .grpc = with_context(&sink_grpc_handler, sink),
        .http = with_context(&sink_http_handler, sink),
        .too_large = sink_too_large,
    };
    int code = server_new(&options, &sink->server, err);
    if (code == WEIR_OK)
        server_start(sink->server);
    return code;
}

static int open_tls(struct sink *sink, struct tls_listen_options *tls, struct weir_err *err)
{
    if (tls->cert_file == NULL)
        return WEIR_OK;
    int code = tls_listen_new(tls, &sink->http_tls, err);
    tls->http2 = true;
    return code == WEIR_OK ? tls_listen_new(tls, &sink->grpc_tls, err) : code;
}

static int open_control(struct sink *sink, const char *endpoint, struct weir_err *err)
{
    struct server_options options = {
        .loops = &sink->loop,
        .loop_count = 1,
        .http_endpoint = endpoint,
        .limits = {.body_bytes = 4096, .receive_timeout_ms = 600000},
        .http = with_context(&sink_control_handler, sink),
        .too_large = sink_too_large,
    };
    int code = server_new(&options, &sink->control, err);
    if (code == WEIR_OK)
        server_start(sink->control);
    return code;
}

static void *run_loop(void *arg)
{
    struct sink *sink = arg;
    loop_run(sink->loop);
    return NULL;
}

static void parse(int argc, char **argv, struct sink *sink, struct endpoints *endpoints)
{
    static const struct option options[] = {
        {"grpc", required_argument, NULL, 'g'},
        {"http", required_argument, NULL, 'h'},
        {"control", required_argument, NULL, 'c'},
        {"record", required_argument, NULL, 'r'},
        {"stream-header", required_argument, NULL, 's'},
        {"help", no_argument, NULL, 'u'},
        {"max-request-bytes", required_argument, NULL, 'm'},
        {"tls-cert", required_argument, NULL, 'C'},
        {"tls-key", required_argument, NULL, 'K'},
        {"tls-client-ca", required_argument, NULL, 'A'},
        {"tls-min", required_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    int c;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 'g':
            endpoints->grpc = optarg;
            break;
        case 'h':
            endpoints->http = optarg;
            break;
        case 'c':
            endpoints->control = optarg;
            break;
        case 'm':
            sink->max_request_bytes = option_uint("max-request-bytes", optarg, UINT32_MAX);
            break;
        case 'r':
            sink->bodies = fopen(optarg, "ab");
            if (sink->bodies == NULL)
                usage_error("--record %s: %m", optarg);
            break;
        case 's':
            sink->stream_header = optarg;
            break;
        case 'C':
            endpoints->tls.cert_file = optarg;
            break;
        case 'K':
            endpoints->tls.key_file = optarg;
            break;
        case 'A':
            endpoints->tls.client_ca_file = optarg;
            break;
        case 'V':
            endpoints->tls.min_version = optarg;
            break;
        case 'u':
            fputs(usage, stdout);
            exit(0);
        default:
            usage_error("%s", usage);
        }
    }
    if (optind != argc)
        usage_error("%s", usage);
}

int main(int argc, char **argv)
{
    static struct sink sink = {.max_request_bytes = 64u << 20};
    struct endpoints endpoints = {"127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", {.cert_file = NULL}};
    parse(argc, argv, &sink, &endpoints);
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    reserve("grpc", endpoints.grpc, sink.grpc_address);
    reserve("http", endpoints.http, sink.http_address);
    struct weir_err err;
    if (loop_new(&sink.loop, &err) != WEIR_OK || open_tls(&sink, &endpoints.tls, &err) != WEIR_OK ||
        sink_open(&sink, &err) != WEIR_OK || open_control(&sink, endpoints.control, &err) != WEIR_OK) {
        fprintf(stderr, "weir-sink: %s\n", err.text);
        return 1;
    }
    pthread_t thread;
    if (pthread_create(&thread, NULL, run_loop, &sink) != 0) {
        fputs("weir-sink: cannot start its thread\n", stderr);
        return 1;
    }
    printf("{\"event\": \"ready\", \"grpc\": \"%s\", \"http\": \"%s\", \"control\": \"%s\", \"pid\": %d}\n",
           sink.grpc_address, sink.http_address, server_http_address(sink.control), (int)getpid());
    fflush(stdout);
    int signal;
    sigwait(&signals, &signal);
    // A test ends it; whoever still has a connection sees it cut, as with any upstream that is stopped.
    if (sink.bodies != NULL)
        fflush(sink.bodies);
    _exit(0);
}
