// SPDX-License-Identifier: Apache-2.0
#include "relay/tokens.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <strings.h>
#include <unistd.h>

#include "relay/log.h"

#define FILE_BYTES_MAX (256 * 1024)

// Tokens are kept and compared as digests: equal length whatever was shown, and nothing to find in memory.
struct token_digest {
    uint8_t bytes[SHA256_DIGEST_LENGTH];
};

struct tokens {
    const char *setting, *file;
    pthread_rwlock_t lock; // guards what follows
    struct token_digest digests[TOKENS_MAX];
    size_t count;
    char error[256];
};

// --- files ----------------------------------------------------------------------------------------------------------------

static int read_file(const char *file, struct weir_buf *text, struct weir_err *err)
{
    if (!weir_buf_reserve(text, FILE_BYTES_MAX))
        return weir_fail(err, WEIR_E_NOMEM, "out of memory");
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return weir_fail(err, WEIR_E_IO, "%s: %s", file, strerror(errno));
    ssize_t n = 0;
    while (text->len < FILE_BYTES_MAX && (n = read(fd, text->data + text->len, FILE_BYTES_MAX - text->len)) > 0)
        text->len += (size_t)n;
    int saved = errno;
    close(fd);
    if (n < 0)
        return weir_fail(err, WEIR_E_IO, "%s: %s", file, strerror(saved));
    return text->len < FILE_BYTES_MAX
               ? WEIR_OK
               : weir_fail(err, WEIR_E_INVALID, "%s: is larger than %d bytes", file, FILE_BYTES_MAX);
}

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

// Takes the next line's token from *text; empty at the end.
static struct weir_slice next_token(struct weir_slice *text)
{
    while (text->len > 0 && is_space(text->data[0])) {
        text->data++;
        text->len--;
    }
    struct weir_slice line = {text->data, 0};
    while (line.len < text->len && text->data[line.len] != '\n')
        line.len++;
    text->data += line.len;
    text->len -= line.len;
    while (line.len > 0 && is_space(line.data[line.len - 1]))
        line.len--;
    return line;
}

static int check_token(const char *file, struct weir_slice token, struct weir_err *err)
{
    if (token.len > TOKEN_BYTES_MAX)
        return weir_fail(err, WEIR_E_INVALID, "%s: a token is longer than %d bytes", file, TOKEN_BYTES_MAX);
    for (size_t i = 0; i < token.len; i++)
        if (token.data[i] <= ' ' || token.data[i] > '~')
            return weir_fail(err, WEIR_E_INVALID, "%s: a token must be one word of printable characters", file);
    return WEIR_OK;
}

// Calls `take` with each token of the file until it says no. All of them are checked.
static int each_token(const char *file, bool (*take)(void *ctx, struct weir_slice token), void *ctx,
                      struct weir_err *err)
{
    struct weir_buf bytes = {0};
    int rc = read_file(file, &bytes, err);
    struct weir_slice rest = {bytes.data, bytes.len}, token;
    size_t count = 0;
    while (rc == WEIR_OK && (token = next_token(&rest)).len > 0) {
        rc = check_token(file, token, err);
        if (rc == WEIR_OK && !take(ctx, token))
            rc = weir_fail(err, WEIR_E_INVALID, "%s: holds more than %d tokens", file, TOKENS_MAX);
        count++;
    }
    if (rc == WEIR_OK && count == 0)
        rc = weir_fail(err, WEIR_E_INVALID, "%s: is empty", file);
    if (bytes.data != NULL)
        explicit_bzero(bytes.data, bytes.cap);
    weir_buf_free(&bytes);
    return rc;
}

static bool take_first(void *ctx, struct weir_slice token)
{
    char *out = ctx;
    if (out[0] == '\0') {
        memcpy(out, token.data, token.len);
        out[token.len] = '\0';
    }
    return true;
}

int token_read(const char *file, char out[TOKEN_BYTES_MAX + 1], struct weir_err *err)
{
    out[0] = '\0';
    int rc = each_token(file, take_first, out, err);
    if (rc != WEIR_OK)
        explicit_bzero(out, TOKEN_BYTES_MAX + 1);
    return rc;
}

// --- those that let somebody in ---------------------------------------------------------------------------------------------

struct digest_list {
    struct token_digest digests[TOKENS_MAX];
    size_t count;
};

static bool take_digest(void *ctx, struct weir_slice token)
{
    struct digest_list *list = ctx;
    if (list->count == TOKENS_MAX)
        return false;
    SHA256(token.data, token.len, list->digests[list->count++].bytes);
    return true;
}

static int tokens_read(struct tokens *tokens, bool *changed, struct weir_err *err)
{
    struct digest_list list = {0};
    int rc = each_token(tokens->file, take_digest, &list, err);
    if (rc != WEIR_OK)
        return rc;
    *changed = list.count != tokens->count || memcmp(list.digests, tokens->digests, sizeof(list.digests)) != 0;
    pthread_rwlock_wrlock(&tokens->lock);
    memcpy(tokens->digests, list.digests, sizeof(list.digests));
    tokens->count = list.count;
    pthread_rwlock_unlock(&tokens->lock);
    return WEIR_OK;
}

int tokens_open(const char *setting, const char *file, struct tokens **out, struct weir_err *err)
{
    *out = NULL;
    bool changed;
    struct tokens *tokens = calloc(1, sizeof(*tokens));
    if (tokens == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "out of memory");
    tokens->setting = setting;
    tokens->file = file;
    pthread_rwlock_init(&tokens->lock, NULL);
    int rc = tokens_read(tokens, &changed, err);
    if (rc == WEIR_OK)
        *out = tokens;
    else
        tokens_close(tokens);
    return rc;
}

void tokens_close(struct tokens *tokens)
{
    if (tokens == NULL)
        return;
    pthread_rwlock_destroy(&tokens->lock);
    free(tokens);
}

// Secrets are rotated by replacing the file, which may be missing or half-written for a moment.
void tokens_look(struct tokens *tokens)
{
    struct weir_err err = {0};
    bool changed = false;
    int rc = tokens_read(tokens, &changed, &err);
    bool news = strncmp(tokens->error, err.text, sizeof(tokens->error) - 1) != 0;
    pthread_rwlock_wrlock(&tokens->lock);
    snprintf(tokens->error, sizeof(tokens->error), "%.255s", err.text);
    pthread_rwlock_unlock(&tokens->lock);
    if (rc != WEIR_OK && news)
        log_event(LOG_ERROR, "token_file", "the token file cannot be read again: the last tokens hold",
                  LOG_STR("setting", tokens->setting), LOG_ERR(&err));
    else if (rc == WEIR_OK && (changed || news))
        log_event(LOG_INFO, "token_file", changed ? "the tokens have changed" : "the token file can be read again",
                  LOG_STR("setting", tokens->setting), LOG_U64("tokens", tokens->count));
}

bool tokens_admit(struct tokens *tokens, struct weir_slice authorization)
{
    static const char scheme[] = "Bearer ";
    size_t skip = sizeof(scheme) - 1;
    struct token_digest shown;
    if (authorization.len <= skip || strncasecmp((const char *)authorization.data, scheme, skip) != 0)
        return false;
    while (skip < authorization.len && authorization.data[skip] == ' ')
        skip++;
    SHA256(authorization.data + skip, authorization.len - skip, shown.bytes);
    bool known = false;
    pthread_rwlock_rdlock(&tokens->lock);
    for (size_t i = 0; i < tokens->count; i++)
        known |= CRYPTO_memcmp(shown.bytes, tokens->digests[i].bytes, sizeof(shown.bytes)) == 0;
    pthread_rwlock_unlock(&tokens->lock);
    return known;
}

void tokens_error(struct tokens *tokens, char *out, size_t size)
{
    pthread_rwlock_rdlock(&tokens->lock);
    snprintf(out, size, "%s", tokens->error);
    pthread_rwlock_unlock(&tokens->lock);
}
