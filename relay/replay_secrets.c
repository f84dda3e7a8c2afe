// SPDX-License-Identifier: Apache-2.0
// What an upstream is shown and trusted by: its token and TLS files, read again while the relay runs. What is bad or missing for a moment
// changes nothing. A lane that is held because the upstream refuses us goes on as soon as there is something new to show.
#include "relay/replay_priv.h"

#include "relay/log.h"
#include "relay/tokens.h"

#define LOOK_NS       10000000000u
#define LOOK_AGAIN_NS 1000000000u // after a refusal: its file may be about to change

// A token under way stays until its last export has ended. One thread's.
struct secret {
    uint32_t users;
    size_t len;
    char text[]; // "Bearer …"
};

struct secret *secret_use(struct secret *secret)
{
    if (secret != NULL)
        secret->users++;
    return secret;
}

void secret_release(struct secret *secret)
{
    if (secret == NULL || --secret->users > 0)
        return;
    explicit_bzero(secret->text, secret->len);
    free(secret);
}

const char *secret_text(const struct secret *secret)
{
    return secret->text;
}

// Some answers repeat what they refuse.
void secret_mask(const struct secret *secret, char *text)
{
    static const char bearer[] = "Bearer ";
    if (secret == NULL)
        return;
    const char *token = secret->text + strlen(bearer);
    size_t len = strlen(token);
    for (char *at; (at = strstr(text, token)) != NULL;)
        memset(at, '*', len);
}

static int read_secret(const char *file, struct secret **out, struct weir_err *err)
{
    char token[TOKEN_BYTES_MAX + 1];
    int rc = token_read(file, token, err);
    size_t size = strlen(token) + sizeof("Bearer ");
    struct secret *secret = rc == WEIR_OK ? malloc(sizeof(*secret) + size) : NULL;
    if (secret != NULL) {
        secret->users = 1;
        secret->len = size;
        snprintf(secret->text, size, "Bearer %s", token);
        *out = secret;
    } else if (rc == WEIR_OK) {
        rc = weir_fail(err, WEIR_E_NOMEM, "out of memory");
    }
    explicit_bzero(token, sizeof(token));
    return rc;
}

static void note_token(struct replay *replay, int rc, bool changed, const struct weir_err *err)
{
    const char *text = rc == WEIR_OK ? "" : err->text;
    pthread_mutex_lock(&replay->lock);
    char *told = replay->stats.token_error;
    bool news = strncmp(told, text, sizeof(replay->stats.token_error) - 1) != 0;
    snprintf(told, sizeof(replay->stats.token_error), "%.255s", text);
    pthread_mutex_unlock(&replay->lock);
    if (rc != WEIR_OK && news)
        log_event(LOG_ERROR, "token_file", "the token file cannot be read again: the last token holds",
                  LOG_STR("upstream", replay->upstream->name), LOG_ERR(err));
    else if (rc == WEIR_OK && (changed || news))
        log_event(LOG_INFO, "token_file", changed ? "the token has changed" : "the token file can be read again",
                  LOG_STR("upstream", replay->upstream->name));
}

// True: there is a new token.
static bool look_at_token(struct replay *replay)
{
    struct secrets *secrets = &replay->secrets;
    struct secret *secret = NULL;
    struct weir_err err = {0};
    if (secrets->token == NULL)
        return false;
    int rc = read_secret(replay->upstream->bearer_token_file, &secret, &err);
    bool changed = secret != NULL && strcmp(secret->text, secrets->token->text) != 0;
    if (changed) {
        secret_release(secrets->token);
        secrets->token = secret;
    } else {
        secret_release(secret);
    }
    note_token(replay, rc, changed, &err);
    return changed;
}

static bool look_at_tls(struct replay *replay)
{
    struct weir_err err = {0};
    bool any = false;
    int rc = WEIR_OK;
    if (!replay->upstream->target.use_tls)
        return false;
    for (size_t i = 0; i < replay->endpoints.count && rc == WEIR_OK; i++) {
        bool changed = false;
        rc = client_reload(replay->endpoints.clients[i], &changed, &err);
        any = any || changed;
    }
    uint64_t now_ns = weir_now_ns();
    certificate_watch_note(&replay->secrets.watch, rc, any, client_certificate(replay->endpoints.clients[0]), &err);
    certificate_watch_expiry(&replay->secrets.watch, now_ns, (int64_t)(weir_now_unix_ns() / 1000000000));
    return any;
}

static void try_at_once(struct replay *replay)
{
    flow_hurry(replay);
    for (int i = 0; i < WEIR_SIGNALS; i++)
        if (replay->lanes[i].held)
            replay->lanes[i].backoff.until_ns = 0;
}

void replay_secrets_look(struct replay *replay)
{
    uint64_t now_ns = weir_now_ns();
    if (!atomic_exchange(&replay->secrets.at_once, false) && now_ns < replay->secrets.due_ns)
        return;
    replay->secrets.due_ns = now_ns + LOOK_NS;
    bool token = look_at_token(replay), tls = look_at_tls(replay);
    if (token || tls)
        try_at_once(replay);
}

void replay_secrets_refused(struct replay *replay, const struct export *export)
{
    struct secrets *secrets = &replay->secrets;
    uint64_t now_ns = weir_now_ns();
    if (export->token != secrets->token) // which was replaced meanwhile: what was refused is the old one
        secrets->fresh = true;
    if (now_ns - secrets->refused_ns > LOOK_AGAIN_NS)
        secrets->due_ns = 0;
    secrets->refused_ns = now_ns;
}

void replay_secrets_turn(struct replay *replay)
{
    replay_secrets_look(replay);
    if (replay->secrets.fresh)
        try_at_once(replay);
    replay->secrets.fresh = false;
}

int replay_secrets_open(struct replay *replay, struct weir_err *err)
{
    const struct config_upstream *upstream = replay->upstream;
    char owner[96];
    snprintf(owner, sizeof(owner), "upstream %s", upstream->name);
    certificate_watch_open(&replay->secrets.watch, owner, client_certificate(replay->endpoints.clients[0]));
    replay->secrets.watch.state.used = upstream->target.use_tls;
    replay->secrets.due_ns = weir_now_ns() + LOOK_NS;
    if (upstream->bearer_token_file == NULL || upstream->bearer_token_file[0] == '\0')
        return WEIR_OK;
    int rc = read_secret(upstream->bearer_token_file, &replay->secrets.token, err);
    return rc == WEIR_OK ? rc : weir_wrap(err, "bearer_token_file");
}

void replay_secrets_close(struct replay *replay)
{
    secret_release(replay->secrets.token);
    if (replay->secrets.watch.owner[0] != '\0')
        certificate_watch_close(&replay->secrets.watch);
}
