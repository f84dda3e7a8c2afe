// SPDX-License-Identifier: Apache-2.0
// A connection is two flows. A flow reads into a queue of chunks, each with the time it is due, and writes from it what is due and what
// its rate allows. All state is under one lock, which is free while the thread polls.
#include "tests/tools/chaos/proxy.h"

#include "tests/tools/chaos/answers.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINKS_MAX   1024
#define CHUNK_BYTES 16384
#define QUEUE_MAX   (512u * 1024) // of one flow; a delayed one may hold more than a window
#define TICK_MS     5             // how exact delays and rates are

struct chunk {
    struct chunk *next;
    uint64_t due_ns;
    size_t len, written;
    uint8_t bytes[CHUNK_BYTES];
};

struct flow {
    int from, to;
    struct chunk *first, **last;
    size_t queued;
    uint64_t moved, cut_at; // cut_at 0: never
    double allowance;       // bytes that may go now, when throttled
    uint64_t allowed_ns;    // when that was counted
    bool eof, ended;        // the sender is done; so is the receiver
};

struct link {
    int client, upstream;
    bool connecting, vanished, dead;
    struct flow up, down;
    struct answers answers;
};

struct proxy {
    int listener, wake;
    struct sockaddr_storage to;
    uint16_t port;
    pthread_mutex_t lock; // guards what follows
    struct proxy_modes modes;
    struct proxy_stats stats;
    uint64_t flapped_ns;
    struct link *links[LINKS_MAX];
    size_t count;
};

static socklen_t address_len(const struct sockaddr_storage *address)
{
    return address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

int proxy_new(const struct sockaddr_storage *listen_at, const struct sockaddr_storage *to, struct proxy **out,
              struct weir_err *err)
{
    struct proxy *proxy = calloc(1, sizeof(*proxy));
    if (proxy == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "out of memory");
    int one = 1;
    struct sockaddr_storage bound;
    socklen_t len = sizeof(bound);
    proxy->to = *to;
    pthread_mutex_init(&proxy->lock, NULL);
    proxy->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    proxy->listener = socket(listen_at->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (proxy->wake < 0 || proxy->listener < 0 ||
        setsockopt(proxy->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
        bind(proxy->listener, (const struct sockaddr *)listen_at, address_len(listen_at)) != 0 ||
        listen(proxy->listener, 128) != 0 || getsockname(proxy->listener, (struct sockaddr *)&bound, &len) != 0) {
        free(proxy); // the process ends
        return weir_fail(err, WEIR_E_IO, "listen: %s", strerror(errno));
    }
    proxy->port = ntohs(((struct sockaddr_in *)&bound)->sin_port); // at the same place in both kinds
    *out = proxy;
    return WEIR_OK;
}

uint16_t proxy_port(const struct proxy *proxy)
{
    return proxy->port;
}

// --- one connection -------------------------------------------------------------------------------------------------

static void flow_free(struct flow *flow)
{
    while (flow->first != NULL) {
        struct chunk *chunk = flow->first;
        flow->first = chunk->next;
        free(chunk);
    }
}

static void link_close(struct proxy *proxy, struct link *link, bool reset)
{
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    int fds[] = {link->client, link->upstream};
    for (size_t i = 0; i < WEIR_COUNT(fds); i++) {
        if (reset)
            (void)setsockopt(fds[i], SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
        close(fds[i]);
    }
    flow_free(&link->up);
    flow_free(&link->down);
    link->dead = true;
    proxy->stats.connections--;
}

static void flow_init(struct flow *flow, int from, int to, uint64_t cut_at)
{
    *flow = (struct flow){.from = from, .to = to, .cut_at = cut_at, .allowed_ns = weir_now_ns()};
    flow->last = &flow->first;
}

// A head and a body that come one behind the other must not wait for each other's acknowledgement.
static void write_at_once(int fd)
{
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
}

static void accept_one(struct proxy *proxy)
{
    int client = accept4(proxy->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client < 0)
        return;
    struct link *link = calloc(1, sizeof(*link));
    int upstream = socket(proxy->to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (link == NULL || upstream < 0)
        abort();
    link->client = client;
    link->upstream = upstream;
    write_at_once(client);
    write_at_once(upstream);
    proxy->stats.connections++;
    bool refused = proxy->modes.refuse || proxy->count == LINKS_MAX;
    flow_init(&link->up, client, upstream, proxy->modes.cut_up);
    flow_init(&link->down, upstream, client, proxy->modes.cut_down);
    if (refused ||
        (connect(upstream, (struct sockaddr *)&proxy->to, address_len(&proxy->to)) != 0 && errno != EINPROGRESS)) {
        link_close(proxy, link, true);
        free(link);
        return;
    }
    link->connecting = true;
    proxy->stats.accepted++;
    proxy->links[proxy->count++] = link;
}

// False: the connection is broken.
static bool flow_read(struct proxy *proxy, struct flow *flow, bool vanished)
{
    struct chunk *chunk = malloc(sizeof(*chunk));
    if (chunk == NULL)
        abort();
    ssize_t n = read(flow->from, chunk->bytes, sizeof(chunk->bytes));
    if (n <= 0 || vanished) {
        bool broken = n < 0 && errno != EAGAIN && errno != EINTR;
        flow->eof = flow->eof || n == 0;
        proxy->stats.swallowed += n > 0 ? (uint64_t)n : 0;
        free(chunk);
        return !broken;
    }
    chunk->len = (size_t)n;
    chunk->written = 0;
    chunk->next = NULL;
    chunk->due_ns = weir_now_ns() + proxy->modes.delay_ms * 1000000;
    *flow->last = chunk;
    flow->last = &chunk->next;
    flow->queued += chunk->len;
    return true;
}

static size_t may_write(const struct proxy *proxy, struct flow *flow, size_t want, uint64_t now_ns)
{
    if (flow->cut_at > 0 && want > flow->cut_at - flow->moved)
        want = flow->cut_at - flow->moved;
    if (proxy->modes.throttle == 0)
        return want;
    double rate = (double)proxy->modes.throttle, burst = rate / 20 + 1;
    flow->allowance += rate * (double)(now_ns - flow->allowed_ns) / 1e9;
    flow->allowed_ns = now_ns;
    if (flow->allowance > burst)
        flow->allowance = burst;
    return (double)want < flow->allowance ? want : (size_t)flow->allowance;
}

// Writes what is due. False: the connection is broken, or is to be cut here.
static bool flow_write(struct proxy *proxy, struct flow *flow, uint64_t *counter)
{
    uint64_t now_ns = weir_now_ns();
    while (flow->first != NULL && flow->first->due_ns <= now_ns) {
        struct chunk *chunk = flow->first;
        size_t want = may_write(proxy, flow, chunk->len - chunk->written, now_ns);
        ssize_t n = want > 0 ? send(flow->to, chunk->bytes + chunk->written, want, MSG_NOSIGNAL) : 0;
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        if (n == 0)
            return true;
        flow->moved += (uint64_t)n;
        *counter += (uint64_t)n;
        flow->queued -= (size_t)n;
        flow->allowance -= (double)n;
        chunk->written += (size_t)n;
        if (chunk->written == chunk->len) {
            flow->first = chunk->next;
            if (flow->first == NULL)
                flow->last = &flow->first;
            free(chunk);
        }
        if (flow->cut_at > 0 && flow->moved >= flow->cut_at)
            return false;
    }
    if (flow->eof && flow->first == NULL && !flow->ended) {
        flow->ended = true;
        shutdown(flow->to, SHUT_WR);
    }
    return true;
}

// Whether what the upstream sent last holds an answer that is not to be passed on.
static bool holds_cut_answer(struct proxy *proxy, struct link *link, const struct chunk *last_before)
{
    const struct chunk *chunk = last_before != NULL ? last_before->next : link->down.first;
    bool cut = false;
    for (; chunk != NULL; chunk = chunk->next) {
        uint64_t before = proxy->stats.answers, every = proxy->modes.cut_answers;
        proxy->stats.answers += answers_count(&link->answers, chunk->bytes, chunk->len);
        cut = cut || (every > 0 && proxy->stats.answers / every > before / every);
    }
    proxy->stats.cut_answers += cut;
    return cut;
}

static const struct chunk *last_chunk(const struct flow *flow)
{
    return flow->first == NULL ? NULL : WEIR_CONTAINER_OF(flow->last, struct chunk, next);
}

static void link_turn(struct proxy *proxy, struct link *link, short client_events, short upstream_events)
{
    bool vanished = link->vanished || proxy->modes.swallow;
    bool sound = true;
    int error = 0;
    socklen_t len = sizeof(error);
    if (link->connecting && (upstream_events & (POLLOUT | POLLERR | POLLHUP)) != 0) {
        sound = getsockopt(link->upstream, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error == 0;
        link->connecting = false;
    }
    if (sound && !proxy->modes.hold && (client_events & (POLLIN | POLLHUP | POLLERR)) != 0 && !link->up.eof)
        sound = flow_read(proxy, &link->up, vanished);
    const struct chunk *last = last_chunk(&link->down);
    if (sound && !proxy->modes.hold && (upstream_events & (POLLIN | POLLHUP | POLLERR)) != 0 && !link->down.eof)
        sound = flow_read(proxy, &link->down, vanished) && !holds_cut_answer(proxy, link, last);
    if (!sound || vanished) {
        // A vanished peer does not even say that it is gone; ours may.
        if (!sound || link->up.eof)
            link_close(proxy, link, !sound);
        return;
    }
    bool whole = link->connecting || (flow_write(proxy, &link->up, &proxy->stats.bytes_up) &&
                                      flow_write(proxy, &link->down, &proxy->stats.bytes_down));
    if (!whole)
        proxy->stats.cuts++;
    if (!whole || (link->up.ended && link->down.ended))
        link_close(proxy, link, false);
}

// --- the thread -----------------------------------------------------------------------------------------------------

static short wanted(const struct proxy *proxy, const struct flow *reads, const struct flow *writes)
{
    short events = 0;
    if (!proxy->modes.hold && !reads->eof && reads->queued < QUEUE_MAX)
        events |= POLLIN;
    if (writes->first != NULL && proxy->modes.throttle == 0 && writes->first->due_ns <= weir_now_ns())
        events |= POLLOUT;
    return events;
}

static bool needs_ticks(const struct proxy *proxy)
{
    return proxy->modes.throttle > 0 || proxy->modes.delay_ms > 0 || proxy->modes.flap_ms > 0;
}

static size_t prepare(struct proxy *proxy, struct pollfd *fds)
{
    fds[0] = (struct pollfd){.fd = proxy->wake, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = proxy->listener, .events = POLLIN};
    for (size_t i = 0; i < proxy->count; i++) {
        const struct link *link = proxy->links[i];
        short client = link->connecting ? 0 : wanted(proxy, &link->up, &link->down);
        short upstream = link->connecting ? POLLOUT : wanted(proxy, &link->down, &link->up);
        // What nothing is wanted of is left out: poll reports a hang-up in any case, again and again.
        fds[2 + 2 * i] = (struct pollfd){.fd = client != 0 ? link->client : -1, .events = client};
        fds[3 + 2 * i] = (struct pollfd){.fd = upstream != 0 ? link->upstream : -1, .events = upstream};
    }
    return 2 + 2 * proxy->count;
}

static void forget_dead(struct proxy *proxy)
{
    size_t kept = 0;
    for (size_t i = 0; i < proxy->count; i++) {
        if (proxy->links[i]->dead)
            free(proxy->links[i]);
        else
            proxy->links[kept++] = proxy->links[i];
    }
    proxy->count = kept;
}

static void close_all(struct proxy *proxy, bool reset)
{
    for (size_t i = 0; i < proxy->count; i++)
        if (!proxy->links[i]->dead) {
            link_close(proxy, proxy->links[i], reset);
            proxy->stats.cuts++;
        }
}

static void flap(struct proxy *proxy)
{
    uint64_t now_ns = weir_now_ns();
    if (proxy->modes.flap_ms == 0 || now_ns - proxy->flapped_ns < proxy->modes.flap_ms * 1000000)
        return;
    proxy->flapped_ns = now_ns;
    close_all(proxy, true);
}

void proxy_run(struct proxy *proxy)
{
    static struct pollfd fds[2 + 2 * LINKS_MAX];
    for (;;) {
        pthread_mutex_lock(&proxy->lock);
        size_t count = prepare(proxy, fds), links = proxy->count;
        int timeout_ms = needs_ticks(proxy) ? TICK_MS : -1;
        pthread_mutex_unlock(&proxy->lock);
        (void)poll(fds, count, timeout_ms);
        uint64_t woken;
        (void)!read(proxy->wake, &woken, sizeof(woken));
        pthread_mutex_lock(&proxy->lock);
        for (size_t i = 0; i < links; i++)
            if (!proxy->links[i]->dead)
                link_turn(proxy, proxy->links[i], fds[2 + 2 * i].revents, fds[3 + 2 * i].revents);
        flap(proxy);
        forget_dead(proxy);
        if (fds[1].revents != 0)
            accept_one(proxy);
        pthread_mutex_unlock(&proxy->lock);
    }
}

// --- from outside ---------------------------------------------------------------------------------------------------

static void wake(struct proxy *proxy)
{
    uint64_t one = 1;
    (void)!write(proxy->wake, &one, sizeof(one));
}

void proxy_modes_get(struct proxy *proxy, struct proxy_modes *out)
{
    pthread_mutex_lock(&proxy->lock);
    *out = proxy->modes;
    pthread_mutex_unlock(&proxy->lock);
}

void proxy_modes_set(struct proxy *proxy, const struct proxy_modes *modes)
{
    pthread_mutex_lock(&proxy->lock);
    proxy->modes = *modes;
    proxy->flapped_ns = weir_now_ns();
    pthread_mutex_unlock(&proxy->lock);
    wake(proxy);
}

void proxy_do(struct proxy *proxy, enum proxy_action action)
{
    pthread_mutex_lock(&proxy->lock);
    if (action == PROXY_SWALLOW)
        for (size_t i = 0; i < proxy->count; i++)
            proxy->links[i]->vanished = true;
    else
        close_all(proxy, action == PROXY_RESET);
    pthread_mutex_unlock(&proxy->lock);
    wake(proxy);
}

void proxy_stats_get(struct proxy *proxy, struct proxy_stats *out)
{
    pthread_mutex_lock(&proxy->lock);
    *out = proxy->stats;
    pthread_mutex_unlock(&proxy->lock);
}
