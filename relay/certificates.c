// SPDX-License-Identifier: Apache-2.0
#include "relay/certificates.h"

#include <time.h>

#define EXPIRY_AGAIN_NS (86400 * UINT64_C(1000000000))

const char *const certificate_listener_names[CERTIFICATE_LISTENERS] = {"receiver.grpc", "receiver.http", "admin"};

struct certificates {
    struct {
        struct tls_listen *tls; // NULL: plaintext
        uint64_t interval_ns, due_ns;
        struct certificate_watch watch;
    } listeners[CERTIFICATE_LISTENERS];
};

// --- what is told of one --------------------------------------------------------------------------------------------------

void certificate_watch_open(struct certificate_watch *watch, const char *owner, struct tls_validity validity)
{
    *watch =
        (struct certificate_watch){.state = {.used = true, .validity = validity, .loaded_unix_ns = weir_now_unix_ns()}};
    snprintf(watch->owner, sizeof(watch->owner), "%s", owner);
    pthread_mutex_init(&watch->lock, NULL);
}

void certificate_watch_close(struct certificate_watch *watch)
{
    pthread_mutex_destroy(&watch->lock);
}

static const char *date_text(int64_t unix_seconds, char out[32])
{
    time_t time = (time_t)unix_seconds;
    struct tm utc;
    if (gmtime_r(&time, &utc) == NULL || strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &utc) == 0)
        out[0] = '\0';
    return out;
}

void certificate_watch_note(struct certificate_watch *watch, int code, bool changed, struct tls_validity validity,
                            const struct weir_err *err)
{
    char until[32];
    bool was_wrong, news = false;
    pthread_mutex_lock(&watch->lock);
    was_wrong = watch->state.error[0] != '\0';
    if (code != WEIR_OK) {
        news = strncmp(watch->state.error, err->text, sizeof(watch->state.error) - 1) != 0;
        snprintf(watch->state.error, sizeof(watch->state.error), "%.255s", err->text);
    } else {
        watch->state.error[0] = '\0';
    }
    if (code == WEIR_OK && changed) {
        watch->state.validity = validity;
        watch->state.loaded_unix_ns = weir_now_unix_ns();
        watch->expiry_told_ns = 0;
    }
    pthread_mutex_unlock(&watch->lock);
    if (news)
        log_event(LOG_ERROR, "certificate_refused", "the TLS files have changed and cannot be used: the last ones hold",
                  LOG_STR("owner", watch->owner), LOG_ERR(err));
    else if (code == WEIR_OK && changed)
        log_event(LOG_INFO, "certificate_changed", "the TLS files have changed: new connections use them",
                  LOG_STR("owner", watch->owner), LOG_STR("not_after", date_text(validity.not_after_unix, until)));
    else if (code == WEIR_OK && was_wrong)
        log_event(LOG_INFO, "certificate_kept", "the TLS files are again as they were", LOG_STR("owner", watch->owner));
}

enum certificate_age certificate_age(struct tls_validity validity, int64_t now_unix)
{
    int64_t warn_seconds = (validity.not_after_unix - validity.not_before_unix) / 3;
    if (warn_seconds > CERTIFICATE_WARN_SECONDS)
        warn_seconds = CERTIFICATE_WARN_SECONDS;
    if (validity.not_after_unix == 0)
        return CERTIFICATE_GOOD;
    if (validity.not_after_unix <= now_unix)
        return CERTIFICATE_EXPIRED;
    if (validity.not_before_unix > now_unix)
        return CERTIFICATE_TOO_EARLY;
    return validity.not_after_unix - now_unix <= warn_seconds ? CERTIFICATE_EXPIRES_SOON : CERTIFICATE_GOOD;
}

void certificate_watch_expiry(struct certificate_watch *watch, uint64_t now_ns, int64_t now_unix)
{
    struct tls_validity validity = watch->state.validity; // written by this thread alone
    enum certificate_age age = certificate_age(validity, now_unix);
    char until[32];
    if (age == CERTIFICATE_GOOD)
        return;
    if (watch->expiry_told_ns != 0 && now_ns - watch->expiry_told_ns < EXPIRY_AGAIN_NS)
        return;
    watch->expiry_told_ns = now_ns;
    log_event(age == CERTIFICATE_EXPIRES_SOON ? LOG_WARN : LOG_ERROR, "certificate_expires",
              age == CERTIFICATE_EXPIRED     ? "the certificate has expired: peers will refuse it"
              : age == CERTIFICATE_TOO_EARLY ? "the certificate is not valid yet: peers will refuse it"
                                             : "the certificate expires soon",
              LOG_STR("owner", watch->owner), LOG_STR("not_after", date_text(validity.not_after_unix, until)));
}

struct certificate_state certificate_watch_get(struct certificate_watch *watch)
{
    pthread_mutex_lock(&watch->lock);
    struct certificate_state state = watch->state;
    pthread_mutex_unlock(&watch->lock);
    return state;
}

// --- the listeners --------------------------------------------------------------------------------------------------------

static int open_one(struct certificates *all, enum certificate_listener which, const char *endpoint,
                    const struct config_listen_tls *config, struct weir_err *err)
{
    if (config->cert_file[0] == '\0' || strcmp(endpoint, "off") == 0)
        return WEIR_OK;
    struct tls_listen_options options = {.cert_file = config->cert_file,
                                         .key_file = config->key_file,
                                         .client_ca_file = config->client_ca_file,
                                         .min_version = config_tls_version_name(config->min_version),
                                         .http2 = which == CERTIFICATE_GRPC,
                                         // h2o's server would wait for the peer's answer without a time limit.
                                         .quiet_shutdown = which == CERTIFICATE_ADMIN};
    struct tls_listen **tls = &all->listeners[which].tls;
    int rc = tls_listen_new(&options, tls, err);
    if (rc != WEIR_OK)
        return weir_wrap(err, "%s", certificate_listener_names[which]);
    all->listeners[which].interval_ns = config->reload_interval_ms * 1000000;
    all->listeners[which].due_ns = weir_now_ns() + all->listeners[which].interval_ns;
    certificate_watch_open(&all->listeners[which].watch, certificate_listener_names[which], tls_listen_validity(*tls));
    return WEIR_OK;
}

int certificates_open(const struct config *config, struct certificates **out, struct weir_err *err)
{
    *out = NULL;
    struct certificates *all = calloc(1, sizeof(*all));
    if (all == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "out of memory");
    int rc = open_one(all, CERTIFICATE_GRPC, config->receiver.grpc_endpoint, &config->receiver.grpc_tls, err);
    if (rc == WEIR_OK)
        rc = open_one(all, CERTIFICATE_HTTP, config->receiver.http_endpoint, &config->receiver.http_tls, err);
    if (rc == WEIR_OK)
        rc = open_one(all, CERTIFICATE_ADMIN, config->admin.endpoint, &config->admin.tls, err);
    if (rc == WEIR_OK)
        *out = all;
    else
        certificates_close(all);
    return rc;
}

struct tls_listen *certificates_of(struct certificates *certificates, enum certificate_listener listener)
{
    return certificates != NULL ? certificates->listeners[listener].tls : NULL;
}

void certificates_look(struct certificates *certificates, uint64_t now_ns, bool all)
{
    for (int i = 0; i < CERTIFICATE_LISTENERS; i++) {
        struct tls_listen *tls = certificates->listeners[i].tls;
        struct certificate_watch *watch = &certificates->listeners[i].watch;
        struct weir_err err = {0};
        bool changed = false;
        if (tls == NULL)
            continue;
        certificate_watch_expiry(watch, now_ns, (int64_t)(weir_now_unix_ns() / 1000000000));
        if (!all && now_ns < certificates->listeners[i].due_ns)
            continue;
        int rc = tls_listen_reload(tls, &changed, &err);
        certificate_watch_note(watch, rc, changed, tls_listen_validity(tls), &err);
        certificates->listeners[i].due_ns = now_ns + certificates->listeners[i].interval_ns;
    }
}

struct certificate_state certificates_get(struct certificates *certificates, enum certificate_listener listener)
{
    if (certificates_of(certificates, listener) == NULL)
        return (struct certificate_state){0};
    return certificate_watch_get(&certificates->listeners[listener].watch);
}

void certificates_close(struct certificates *certificates)
{
    for (int i = 0; certificates != NULL && i < CERTIFICATE_LISTENERS; i++) {
        if (certificates->listeners[i].tls != NULL)
            certificate_watch_close(&certificates->listeners[i].watch);
        tls_listen_free(certificates->listeners[i].tls);
    }
    free(certificates);
}
