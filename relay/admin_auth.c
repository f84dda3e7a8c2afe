// SPDX-License-Identifier: Apache-2.0
#include "relay/admin_auth.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <strings.h>

int admin_auth_open(struct admin_auth *auth, const char *file, struct weir_err *err)
{
    *auth = (struct admin_auth){0};
    return file == NULL || file[0] == '\0' ? WEIR_OK : tokens_open("admin.token_file", file, &auth->tokens, err);
}

void admin_auth_close(struct admin_auth *auth)
{
    tokens_close(auth->tokens);
    auth->tokens = NULL;
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
    return auth->tokens == NULL && !is_fixed_host(claim->host);
}

enum admin_grant admin_auth_check(struct admin_auth *auth, const struct admin_claim *claim, const char **why)
{
    if (is_foreign_page(auth, claim)) {
        *why = "changes are not taken from a page of another origin";
        return ADMIN_NEVER;
    }
    if (auth->tokens == NULL) {
        *why = "changes are taken from this machine alone: set admin.token_file to allow them from elsewhere";
        return is_loopback(claim->peer) ? ADMIN_GRANTED : ADMIN_NEVER;
    }
    tokens_look(auth->tokens);
    *why = claim->authorization.data == NULL ? "this needs the token of admin.token_file: Authorization: Bearer TOKEN"
                                             : "this is not the token of admin.token_file";
    return claim->authorization.data != NULL && tokens_admit(auth->tokens, claim->authorization) ? ADMIN_GRANTED
                                                                                                 : ADMIN_WHO;
}
