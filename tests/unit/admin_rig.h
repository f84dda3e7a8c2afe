// SPDX-License-Identifier: Apache-2.0
// The admin server on real sockets, over a relay with a real spool, one running ingest loop and no upstream; and a small client.
#ifndef WEIR_TESTS_ADMIN_RIG_H
#define WEIR_TESTS_ADMIN_RIG_H

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <ftw.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay/admin.h"
#include "relay/cli.h"

#define ADMIN_CONNECTIONS 64

static struct relay relay; // large
static struct config config;
static struct admin *admin;
static pthread_t loop_thread;
static char directory[4096];

static inline void *run_loop(void *loop)
{
    loop_run(loop);
    return NULL;
}

static inline void set_up(void)
{
    const char *base = getenv("TMPDIR");
    snprintf(directory, sizeof(directory), "%s/weir-test-admin-XXXXXX", base != NULL ? base : "/tmp");
    cr_assert_not_null(mkdtemp(directory));
    config.spool.directory = directory;
    static char endpoint[] = "127.0.0.1:0"; // a test may start again with it
    config.admin.endpoint = endpoint;
    relay.config = &config;
    snprintf(relay.instance, sizeof(relay.instance), "0b2c3d4e-0000-4000-8000-000000000001");
    relay.started_unix_ns = weir_now_unix_ns();
    relay.started_ns = weir_now_ns();
    relay.budget.max_bytes = 1 << 20;
    struct weir_err err = {0};
    struct spool_options spool = {
        .directory = directory, .max_bytes = 64u << 20, .segment_bytes = 1u << 20, .holder = "test"};
    struct spool_report report;
    cr_assert_eq(spool_open(&spool, &relay.spool, &report, &err), WEIR_OK, "%s", err.text);
    static struct loop *loop;
    static struct ingest *ingest;
    cr_assert_eq(loop_new(&loop, &err), WEIR_OK, "%s", err.text);
    struct ingest_options options = {.loop = loop,
                                     .spool = relay.spool,
                                     .budget = &relay.budget,
                                     .max_request_bytes = 1 << 20,
                                     .refusing = &relay.refusing};
    ingest = ingest_new(&options);
    cr_assert_not_null(ingest);
    relay.loops = &loop;
    relay.ingests = &ingest;
    relay.workers = 1;
    cr_assert_eq(pthread_create(&loop_thread, NULL, run_loop, loop), 0);
    cr_assert_eq(admin_start(&relay, &admin, &err), WEIR_OK, "%s", err.text);
}

static inline int remove_entry(const char *path, const struct stat *stat, int type, struct FTW *ftw)
{
    return remove(path);
}

static inline void tear_down(void)
{
    admin_stop(admin);
    loop_stop(relay.loops[0]);
    pthread_join(loop_thread, NULL);
    spool_close(relay.spool);
    ingest_free(relay.ingests[0]);
    loop_free(relay.loops[0]);
    nftw(directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

// --- a small client ---------------------------------------------------------------------------------------------------

static inline int dial(void)
{
    const char *address = admin_address(admin);
    cr_assert_eq(strncmp(address, "127.0.0.1:", 10), 0, "%s", address);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(address + 10))};
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

static inline void say(int fd, const char *text)
{
    cr_assert_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

struct reply {
    int status; // 0: closed without an answer
    char head[2048];
    char body[262144];
    size_t body_len;
};
static struct reply reply; // of the last hear()

// Reads one answer and no byte further. `bodiless`: to a HEAD, whose Content-Length announces what is not sent.
static inline void hear(int fd, bool bodiless)
{
    memset(&reply, 0, sizeof(reply));
    size_t len = 0;
    while (strstr(reply.head, "\r\n\r\n") == NULL) {
        cr_assert_lt(len, sizeof(reply.head) - 1);
        if (recv(fd, reply.head + len, 1, 0) != 1)
            return;
        len++;
    }
    cr_assert_eq(sscanf(reply.head, "HTTP/1.%*d %d ", &reply.status), 1, "%s", reply.head);
    const char *length = strcasestr(reply.head, "\r\ncontent-length:");
    cr_assert_not_null(length, "%s", reply.head);
    reply.body_len = bodiless ? 0 : strtoul(length + 17, NULL, 10);
    cr_assert_lt(reply.body_len, sizeof(reply.body));
    if (reply.body_len > 0)
        cr_assert_eq(recv(fd, reply.body, reply.body_len, MSG_WAITALL), (ssize_t)reply.body_len);
}

static inline void ask_on(int fd, const char *method, const char *path, const char *headers)
{
    char request[1024];
    snprintf(request, sizeof(request), "%s %s HTTP/1.1\r\nHost: weir\r\n%s\r\n", method, path, headers);
    say(fd, request);
    hear(fd, strcmp(method, "HEAD") == 0);
}

static inline void ask(const char *method, const char *path, const char *headers)
{
    int fd = dial();
    ask_on(fd, method, path, headers);
    close(fd);
}

static inline bool has_header(const char *line)
{
    return strcasestr(reply.head, line) != NULL;
}

#endif
