// SPDX-License-Identifier: Apache-2.0
#include "relay/admin_auth.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <strings.h>
#include <unistd.h>

#include "relay/log.h"

// --- the token --------------------------------------------------------------------------------------------------------------

static int take_token(struct admin_auth *auth, const char *text, size_t len, struct weir_err *err)
{
    while (len > 0 && strchr(" \t\r\n", text[len - 1]) != NULL)
        len--;
    if (len == 0)
        return weir_fail(err, WEIR_E_INVALID, "%s: is empty", auth->file);
    if (len > ADMIN_TOKEN_BYTES_MAX)
        return weir_fail(err, WEIR_E_INVALID, "%s: is longer than %d bytes", auth->file, ADMIN_TOKEN_BYTES_MAX);
    for (size_t i = 0; i < len; i++)
        if (text[i] <= ' ' || text[i] > '~')
            return weir_fail(err, WEIR_E_INVALID, "%s: the token must be one word of printable characters", auth->file);
    memcpy(auth->token, text, len);
    auth->token[len] = '\0';
    return WEIR_OK;
}

static int read_token(struct admin_auth *auth, struct weir_err *err)
{
    char text[ADMIN_TOKEN_BYTES_MAX + 64];
    size_t len = 0;
    int fd = open(auth->file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return weir_fail(err, WEIR_E_IO, "%s: %s", auth->file, strerror(errno));
    ssize_t n = fstat(fd, &auth->seen);
    while (n >= 0 && len < sizeof(text) && (n = read(fd, text + len, sizeof(text) - len)) > 0)
        len += (size_t)n;
    int saved = errno;
    close(fd);
    int rc =
        n < 0 ? weir_fail(err, WEIR_E_IO, "%s: %s", auth->file, strerror(saved)) : take_token(auth, text, len, err);
    explicit_bzero(text, sizeof(text));
    return rc;
}

int admin_auth_open(struct admin_auth *auth, const char *file, struct weir_err *err)
{
    *auth = (struct admin_auth){.file = file != NULL && file[0] != '\0' ? file : NULL};
    return auth->file == NULL ? WEIR_OK : read_token(auth, err);
}

void admin_auth_close(struct admin_auth *auth)
{
    explicit_bzero(auth, sizeof(*auth));
}

static bool is_same_file(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

// Secrets are rotated by replacing the file, which may be missing or half-written for a moment.
static void follow_file(struct admin_auth *auth)
{
    struct stat now;
    struct weir_err err;
    int rc = WEIR_OK;
    if (stat(auth->file, &now) != 0)
        rc = weir_fail(&err, WEIR_E_IO, "%s: %s", auth->file, strerror(errno));
    else if (!is_same_file(&now, &auth->seen))
        rc = read_token(auth, &err);
    static struct log_limit limit = LOG_LIMIT(60000);
    if (rc != WEIR_OK)
        log_event_limited(&limit, LOG_WARN, "token_file", "cannot read admin.token_file again: the last token holds",
                          LOG_ERR(&err));
}

// Takes as long for a wrong token as for the right one.
static bool is_equal(const char *secret, struct weir_slice shown)
{
    size_t len = strlen(secret);
    unsigned char differ = len != shown.len;
    for (size_t i = 0; i < shown.len; i++)
        differ |= (unsigned char)secret[i % len] ^ shown.data[i];
    return differ == 0;
}

static bool shows_token(const struct admin_auth *auth, struct weir_slice authorization)
{
    static const char scheme[] = "Bearer ";
    size_t skip = sizeof(scheme) - 1;
    if (authorization.len <= skip || strncasecmp((const char *)authorization.data, scheme, skip) != 0)
        return false;
    return is_equal(auth->token, (struct weir_slice){authorization.data + skip, authorization.len - skip});
}

// --- where it comes from ------------------------------------------------------------------------------------------------------

static bool is_loopback(const struct sockaddr *peer)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    if (peer->sa_family == AF_INET) {
        memcpy(&v4, peer, sizeof(v4));
        return ntohl(v4.sin_addr.s_addr) >> 24 == 127;
    }
    if (peer->sa_family != AF_INET6)
        return false;
    memcpy(&v6, peer, sizeof(v6));
    if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr))
        return v6.sin6_addr.s6_addr[12] == 127;
    return IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
}

// "127.0.0.1:9464", "[::1]:9464", "localhost:9464": no name that somebody else's name server could turn into this machine.
static bool is_fixed_host(struct weir_slice host)
{
    char name[64];
    struct in6_addr address;
    const char *text = (const char *)host.data;
    bool v6 = host.len > 0 && text[0] == '[';
    const char *end = memchr(text, v6 ? ']' : ':', host.len);
    size_t skip = v6, len = (end != NULL ? (size_t)(end - text) : host.len) - skip;
    if (len >= sizeof(name) || (v6 && end == NULL))
        return false;
    memcpy(name, text + skip, len);
    name[len] = '\0';
    return inet_pton(v6 ? AF_INET6 : AF_INET, name, &address) == 1 || strcasecmp(name, "localhost") == 0;
}

// Browsers name the page that a POST comes from; other programs do not.
static bool is_foreign_page(const struct admin_auth *auth, const struct admin_claim *claim)
{
    if (claim->origin.data == NULL)
        return false;
    const char *origin = (const char *)claim->origin.data;
    size_t skip = 0;
    static const char *const schemes[] = {"http://", "https://"};
    for (size_t i = 0; i < WEIR_COUNT(schemes); i++)
        if (claim->origin.len > strlen(schemes[i]) && strncasecmp(origin, schemes[i], strlen(schemes[i])) == 0)
            skip = strlen(schemes[i]);
    if (skip == 0 || claim->host.data == NULL || claim->origin.len - skip != claim->host.len ||
        strncasecmp(origin + skip, (const char *)claim->host.data, claim->host.len) != 0)
        return true;
    return auth->file == NULL && !is_fixed_host(claim->host);
}

enum admin_grant admin_auth_check(struct admin_auth *auth, const struct admin_claim *claim, const char **why)
{
    if (is_foreign_page(auth, claim)) {
        *why = "changes are not taken from a page of another origin";
        return ADMIN_NEVER;
    }
    if (auth->file == NULL) {
        *why = "changes are taken from this machine alone: set admin.token_file to allow them from elsewhere";
        return is_loopback(claim->peer) ? ADMIN_GRANTED : ADMIN_NEVER;
    }
    follow_file(auth);
    *why = claim->authorization.data == NULL ? "changes need the token of admin.token_file: Authorization: Bearer TOKEN"
                                             : "this is not the token of admin.token_file";
    return claim->authorization.data != NULL && shows_token(auth, claim->authorization) ? ADMIN_GRANTED : ADMIN_WHO;
}
