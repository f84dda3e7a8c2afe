// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/gen/gen.h"

#include "tests/tools/common/options.h"

#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static const char usage[] =
    "usage: weir-gen --grpc ADDR | --http ADDR [OPTION…]      weir-gen probe --help\n"
    "Sends numbered OTLP and prints a JSON summary. Every item carries the int attribute weir.test.id.\n"
    "  --signal traces|metrics|logs   [traces]      --items N              in all; 0: until the deadline [1000]\n"
    "  --items-per-request K          [10]          --first-id I           [0]\n"
    "  --in-flight D                  per connection [1]  --connections C  [1]\n"
    "  --rate R                       items/s, 0: flat out [0]\n"
    "  --encoding identity|gzip|zstd  [identity]    --payload-bytes B      size of a request; 0: as it comes [0]\n"
    "  --stream NAME                  [gen]         --seed S               [1]\n"
    "  --retry                        as an exporter does, until the deadline; no wait above --retry-max-ms [500]\n"
    "  --deadline-ms MS               of the run [60000]  --timeout-ms MS  of a request [10000]\n"
    "  --acked FILE                   appends \"first-last\" lines as acknowledgements come\n"
    "  --header NAME:VALUE            sent with each request\n"
    "  --tenants N                    request by request another of N streams tenant-0, tenant-1, …\n"
    "  --tenant-header NAME           a header with the stream's name as its value [x-scope-orgid]\n"
    "  --tls-ca FILE                  over TLS, trusting FILE; with --tls-cert and --tls-key FILE, --tls-name NAME, "
    "--tls-min 1.2|1.3\n"
    "Exit: 0 all acknowledged, 1 not all, 2 usage.\n";

static struct gen gen = {.acked_fd = -1, .lock = PTHREAD_MUTEX_INITIALIZER};

uint64_t gen_claim(struct gen *g, uint64_t *first_id, uint64_t *wait_ms)
{
    const struct gen_options *options = &g->options;
    uint64_t end = options->items ? options->first_id + options->items : UINT64_MAX;
    uint64_t next = atomic_load(&g->next_id), claim;
    do {
        if (next >= end || atomic_load(&g->stop))
            return 0;
        if (options->rate != 0) {
            uint64_t due_ns = (uint64_t)((double)(next - options->first_id) * 1e9 / (double)options->rate);
            uint64_t elapsed_ns = weir_now_ns() - g->start_ns;
            if (due_ns > elapsed_ns) {
                uint64_t ms = (due_ns - elapsed_ns) / 1000000 + 1;
                *wait_ms = ms < *wait_ms ? ms : *wait_ms;
                return 0;
            }
        }
        claim = end - next < options->items_per_request ? end - next : options->items_per_request;
    } while (!atomic_compare_exchange_weak(&g->next_id, &next, next + claim));
    *first_id = next;
    return claim;
}

void gen_count_status(struct gen_counts *counts, const char *code, uint64_t count)
{
    for (size_t i = 0; i < GEN_STATUSES; i++) {
        if (counts->statuses[i].count == 0)
            snprintf(counts->statuses[i].code, sizeof(counts->statuses[i].code), "%s", code);
        if (strcmp(counts->statuses[i].code, code) == 0 || i == GEN_STATUSES - 1) {
            counts->statuses[i].count += count;
            return;
        }
    }
}

void gen_acked(struct gen *g, uint64_t first_id, uint64_t items)
{
    char line[64];
    int len = snprintf(line, sizeof(line), "%" PRIu64 "-%" PRIu64 "\n", first_id, first_id + items - 1);
    if (g->acked_fd >= 0 && write(g->acked_fd, line, (size_t)len) != len) {
        perror("weir-gen: --acked");
        exit(1); // a list that lacks acknowledgements would hide a loss
    }
}

static void on_signal(int signal)
{
    atomic_store(&gen.stop, true);
}

enum {
    GRPC,
    HTTP,
    SIGNAL,
    ITEMS,
    PER_REQUEST,
    FIRST_ID,
    IN_FLIGHT,
    CONNECTIONS,
    RATE,
    ENCODING,
    PAYLOAD,
    STREAM,
    RETRY,
    RETRY_MAX,
    DEADLINE,
    TIMEOUT,
    ACKED,
    SEED,
    HEADER,
    TENANTS,
    TENANT_HEADER,
    TLS_CA,
    TLS_CERT,
    TLS_KEY,
    TLS_NAME,
    TLS_MIN,
    HELP
};
static const struct option long_options[] = {
    [GRPC] = {"grpc", required_argument, NULL, GRPC},
    [HTTP] = {"http", required_argument, NULL, HTTP},
    [SIGNAL] = {"signal", required_argument, NULL, SIGNAL},
    [ITEMS] = {"items", required_argument, NULL, ITEMS},
    [PER_REQUEST] = {"items-per-request", required_argument, NULL, PER_REQUEST},
    [FIRST_ID] = {"first-id", required_argument, NULL, FIRST_ID},
    [IN_FLIGHT] = {"in-flight", required_argument, NULL, IN_FLIGHT},
    [CONNECTIONS] = {"connections", required_argument, NULL, CONNECTIONS},
    [RATE] = {"rate", required_argument, NULL, RATE},
    [ENCODING] = {"encoding", required_argument, NULL, ENCODING},
    [PAYLOAD] = {"payload-bytes", required_argument, NULL, PAYLOAD},
    [STREAM] = {"stream", required_argument, NULL, STREAM},
    [RETRY] = {"retry", no_argument, NULL, RETRY},
    [RETRY_MAX] = {"retry-max-ms", required_argument, NULL, RETRY_MAX},
    [DEADLINE] = {"deadline-ms", required_argument, NULL, DEADLINE},
    [TIMEOUT] = {"timeout-ms", required_argument, NULL, TIMEOUT},
    [ACKED] = {"acked", required_argument, NULL, ACKED},
    [SEED] = {"seed", required_argument, NULL, SEED},
    [HEADER] = {"header", required_argument, NULL, HEADER},
    [TENANTS] = {"tenants", required_argument, NULL, TENANTS},
    [TENANT_HEADER] = {"tenant-header", required_argument, NULL, TENANT_HEADER},
    [TLS_CA] = {"tls-ca", required_argument, NULL, TLS_CA},
    [TLS_CERT] = {"tls-cert", required_argument, NULL, TLS_CERT},
    [TLS_KEY] = {"tls-key", required_argument, NULL, TLS_KEY},
    [TLS_NAME] = {"tls-name", required_argument, NULL, TLS_NAME},
    [TLS_MIN] = {"tls-min", required_argument, NULL, TLS_MIN},
    [HELP] = {"help", no_argument, NULL, HELP},
    {NULL, 0, NULL, 0},
};

static void set_encoding(struct gen_options *options, const char *text)
{
    if (!encoding_by_name(ENCODING_OF_HTTP, text, strlen(text), &options->encoding) ||
        options->encoding >= ENCODINGS_SENT)
        usage_error("--encoding: identity, gzip or zstd is needed, not \"%s\"", text);
}

static void add_header(struct gen_options *options, char *text)
{
    char *colon = strchr(text, ':');
    if (colon == NULL || options->header_count == GEN_HEADERS)
        usage_error("--header: NAME:VALUE is needed, %d at most", GEN_HEADERS);
    *colon = '\0';
    options->headers[options->header_count++] = (struct client_header){text, colon + 1};
}

// The options that are numbers: where they go and how large they may be.
static bool set_number(struct gen_options *options, int option, const char *text)
{
    const struct {
        uint64_t *wide;
        uint32_t *narrow;
        uint64_t max;
    } numbers[HELP + 1] = {
        [ITEMS] = {&options->items, NULL, UINT32_MAX},
        [PER_REQUEST] = {&options->items_per_request, NULL, 1000000},
        [FIRST_ID] = {&options->first_id, NULL, UINT32_MAX},
        [IN_FLIGHT] = {NULL, &options->in_flight, 4096},
        [CONNECTIONS] = {NULL, &options->connections, 256},
        [RATE] = {&options->rate, NULL, 1000000000},
        [PAYLOAD] = {&options->payload_bytes, NULL, 256u << 20},
        [RETRY_MAX] = {NULL, &options->retry_max_ms, 3600000},
        [DEADLINE] = {&options->deadline_ms, NULL, 86400000},
        [TIMEOUT] = {NULL, &options->timeout_ms, 3600000},
        [SEED] = {&options->seed, NULL, UINT32_MAX},
        [TENANTS] = {NULL, &options->tenants, 1000000},
    };
    if (numbers[option].max == 0)
        return false;
    uint64_t value = option_uint(long_options[option].name, text, numbers[option].max);
    if (numbers[option].wide)
        *numbers[option].wide = value;
    else
        *numbers[option].narrow = (uint32_t)value;
    return true;
}

static void parse(int argc, char **argv, struct gen_options *options)
{
    int c;
    while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (c == '?' || c == HELP) {
            fputs(usage, c == HELP ? stdout : stderr);
            exit(c == HELP ? 0 : 2);
        } else if (c == GRPC || c == HTTP) {
            options->grpc = c == GRPC;
            option_address(long_options[c].name, optarg, options->host, &options->port);
        } else if (c == SIGNAL) {
            options->signal = option_signal("signal", optarg);
        } else if (c == ENCODING) {
            set_encoding(options, optarg);
        } else if (c == HEADER) {
            add_header(options, optarg);
        } else if (c == RETRY) {
            options->retry = true;
        } else if (c == TENANT_HEADER) {
            options->tenant_header = optarg;
        } else if (c == STREAM) {
            options->stream = optarg;
        } else if (c == ACKED) {
            options->acked_path = optarg;
        } else if (c >= TLS_CA && c <= TLS_MIN) {
            const char **texts[] = {&options->tls.ca_file, &options->tls.cert_file, &options->tls.key_file,
                                    &options->tls.server_name, &options->tls.min_version};
            *texts[c - TLS_CA] = optarg;
        } else if (!set_number(options, c, optarg)) {
            usage_error("%s", usage);
        }
    }
    if (optind != argc || options->host[0] == '\0')
        usage_error("%s", usage);
    if (options->signal == WEIR_PROFILES)
        usage_error("--signal: profiles are not generated");
    if (options->items_per_request == 0 || options->in_flight == 0 || options->connections == 0)
        usage_error("--items-per-request, --in-flight and --connections are at least 1");
}

static bool print_summary(const struct gen *g)
{
    const struct gen_options *options = &g->options;
    const struct gen_counts *total = &g->total;
    double seconds = (double)(weir_now_ns() - g->start_ns) / 1e9;
    json_t *refused = json_object();
    for (size_t i = 0; i < GEN_STATUSES && total->statuses[i].count > 0; i++)
        json_object_set_new(refused, total->statuses[i].code, json_integer((json_int_t)total->statuses[i].count));
    const struct histogram *latency = &total->latency_us;
    const struct {
        const char *key;
        uint64_t value;
    } counters[] = {
        {"sent_items", total->sent_items},      {"acked_items", total->acked_items},
        {"failed_items", total->failed_items},  {"uncertain_items", total->uncertain_items},
        {"requests", total->requests},          {"retries", total->retries},
        {"refused_with_delay", total->delayed}, {"raw_bytes", total->raw_bytes},
        {"wire_bytes", total->wire_bytes},
    };
    json_t *out = json_pack(
        "{s:s, s:s, s:s, s:o, s:f, s:f, s:f, s:{s:I, s:I, s:I, s:I}}", "signal", weir_signal_name(options->signal),
        "transport", options->grpc ? "grpc" : "http", "encoding", encoding_name(options->encoding), "refused", refused,
        "seconds", seconds, "items_per_second", (double)total->acked_items / seconds, "requests_per_second",
        (double)latency->count / seconds, "latency_us", "p50", (json_int_t)histogram_percentile(latency, 50), "p90",
        (json_int_t)histogram_percentile(latency, 90), "p99", (json_int_t)histogram_percentile(latency, 99), "max",
        (json_int_t)latency->max);
    for (size_t i = 0; out && i < WEIR_COUNT(counters); i++)
        json_object_set_new(out, counters[i].key, json_integer((json_int_t)counters[i].value));
    char *text = out ? json_dumps(out, JSON_COMPACT) : NULL;
    if (text == NULL)
        abort();
    puts(text);
    free(text);
    json_decref(out);
    uint64_t wanted = options->items ? options->items : total->sent_items;
    return total->acked_items == wanted;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "probe") == 0)
        return probe_main(argc - 1, argv + 1);
    gen.options = (struct gen_options){.items = 1000,
                                       .items_per_request = 10,
                                       .in_flight = 1,
                                       .connections = 1,
                                       .stream = "gen",
                                       .tenant_header = "x-scope-orgid",
                                       .retry_max_ms = 500,
                                       .deadline_ms = 60000,
                                       .timeout_ms = 10000,
                                       .seed = 1};
    parse(argc, argv, &gen.options);
    if (gen.options.acked_path) {
        gen.acked_fd = open(gen.options.acked_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        if (gen.acked_fd < 0)
            usage_error("--acked %s: %m", gen.options.acked_path);
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    gen.start_ns = weir_now_ns();
    gen.base_unix_ns = weir_now_unix_ns();
    atomic_store(&gen.next_id, gen.options.first_id);
    struct worker_start *workers = calloc(gen.options.connections, sizeof(*workers));
    for (uint32_t i = 0; workers && i < gen.options.connections; i++) {
        workers[i] = (struct worker_start){.gen = &gen, .index = i};
        if (pthread_create(&workers[i].thread, NULL, worker_run, &workers[i]) != 0)
            usage_error("cannot start %u threads", gen.options.connections);
    }
    for (uint32_t i = 0; workers && i < gen.options.connections; i++)
        pthread_join(workers[i].thread, NULL);
    free(workers);
    return print_summary(&gen) ? 0 : 1;
}
