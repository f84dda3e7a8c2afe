// SPDX-License-Identifier: Apache-2.0
#include "relay/lookup.h"

#include "relay/log.h"

#include <netdb.h>
#include <pthread.h>
#include <sys/socket.h>

// The thread's own copies: it may outlive the configuration.
struct lookup {
    char *upstream, *host;
};

static void lookup_free(struct lookup *lookup)
{
    free(lookup->upstream);
    free(lookup->host);
    free(lookup);
}

static void *look_up(void *arg)
{
    struct lookup *lookup = arg;
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *addresses = NULL;
    int rc = getaddrinfo(lookup->host, NULL, &hints, &addresses);
    if (rc == 0)
        freeaddrinfo(addresses);
    else
        log_event(LOG_WARN, "upstream_unresolved",
                  "the upstream's host has no address now: data waits in the spool, each attempt looks it up anew",
                  LOG_STR("upstream", lookup->upstream), LOG_STR("host", lookup->host),
                  LOG_STR("error", gai_strerror(rc)));
    lookup_free(lookup);
    return NULL;
}

static void start(const struct config_upstream *upstream, const struct config_target *target,
                  const pthread_attr_t *detached)
{
    struct lookup *lookup = calloc(1, sizeof(*lookup));
    pthread_t thread;
    if (lookup == NULL)
        return;
    lookup->upstream = strdup(upstream->name);
    lookup->host = strdup(target->host);
    if (lookup->upstream == NULL || lookup->host == NULL || pthread_create(&thread, detached, look_up, lookup) != 0)
        lookup_free(lookup);
}

void lookup_upstreams(const struct config *config)
{
    pthread_attr_t detached;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    for (size_t i = 0; i < config->upstream_count; i++)
        for (size_t j = 0; j <= config->upstreams[i].alternate_count; j++)
            start(&config->upstreams[i],
                  j == 0 ? &config->upstreams[i].target : &config->upstreams[i].alternates[j - 1], &detached);
    pthread_attr_destroy(&detached);
}
