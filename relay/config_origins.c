// SPDX-License-Identifier: Apache-2.0
#include "relay/config_table.h"

#include <ctype.h>

#define ORIGIN_MAX 300

// What a browser may send as scheme://host[:port]: no path, no user, and at most one star in place of the first labels.
static bool is_origin(const char *text)
{
    const char *host = strstr(text, "://");
    if (host == NULL || host == text || text[strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789+-.")] != ':')
        return false;
    host += 3;
    if (host[0] == '*')
        return host[1] == '.' && isalnum((unsigned char)host[2]) &&
               host[1 + strspn(host + 1, "abcdefghijklmnopqrstuvwxyz0123456789-.:")] == '\0';
    return host[0] != '\0' && host[strspn(host, "abcdefghijklmnopqrstuvwxyz0123456789-.:[]")] == '\0';
}

int config_origins_add(struct config_names *origins, const char *word, struct weir_err *err)
{
    char origin[ORIGIN_MAX + 1];
    size_t len = strlen(word);
    for (size_t i = 0; i <= len && i <= ORIGIN_MAX; i++)
        origin[i] = (char)tolower((unsigned char)word[i]);
    if (len > ORIGIN_MAX || (strcmp(origin, "*") != 0 && strcmp(origin, "null") != 0 && !is_origin(origin)))
        return weir_fail(err, WEIR_E_INVALID,
                         "'%.60s' is no origin, as https://app.example.com, https://*.example.com or *", word);
    return config_names_insert(origins, origin, err);
}

int config_list_add(const struct config_row *row, struct config_names *names, const char *word, struct weir_err *err)
{
    return row->type == CONFIG_ORIGINS ? config_origins_add(names, word, err) : config_names_add(names, word, err);
}
