// SPDX-License-Identifier: Apache-2.0
#include "relay/secrets.h"

#define TOKENS_LOOK_NS 10000000000u

int secrets_open(struct relay *relay, struct weir_err *err)
{
    static const char setting[] = "receiver.auth.bearer_token_file";
    int rc = certificates_open(relay->config, &relay->certificates, err);
    if (rc != WEIR_OK || relay->config->receiver.bearer_token_file[0] == '\0')
        return rc;
    rc = tokens_open(setting, relay->config->receiver.bearer_token_file, &relay->tokens, err);
    relay->tokens_due_ns = weir_now_ns() + TOKENS_LOOK_NS;
    return rc == WEIR_OK ? rc : weir_wrap(err, "%s", setting);
}

void secrets_look(struct relay *relay, bool at_once)
{
    uint64_t now_ns = weir_now_ns();
    certificates_look(relay->certificates, now_ns, at_once);
    for (size_t i = 0; i < relay->replay_count && at_once; i++)
        replay_look_at_secrets(relay->replays[i]);
    if (relay->tokens != NULL && (at_once || now_ns >= relay->tokens_due_ns)) {
        tokens_look(relay->tokens);
        relay->tokens_due_ns = now_ns + TOKENS_LOOK_NS;
    }
}

void secrets_reload_level(const struct config *config, const struct config_input *input)
{
    struct config fresh;
    struct config_errors errors = {0};
    if (config_load(input, &fresh, &errors) == WEIR_OK) {
        log_configure(fresh.log.level, config->log.format);
        log_event(LOG_INFO, "reloaded",
                  "SIGHUP: log.level, certificates, keys and tokens are read again; other keys need a restart",
                  LOG_STR("level", config_log_level_name(fresh.log.level)));
        config_free(&fresh);
    } else {
        log_event(LOG_ERROR, "reload_failed", "SIGHUP: the configuration is wrong now: log.level stays as it was",
                  LOG_STR("error", errors.texts[0] != NULL ? errors.texts[0] : "out of memory"),
                  LOG_U64("errors", errors.count));
    }
    config_errors_free(&errors);
}

void secrets_close(struct relay *relay)
{
    certificates_close(relay->certificates);
    tokens_close(relay->tokens);
}
