// SPDX-License-Identifier: Apache-2.0
// ${env:NAME}, ${env:NAME:-default}, ${file:PATH} and $$ in values. It runs on scalar values after YAML was parsed, so what comes in can
// never become structure; what comes in is not looked at again for further substitutions.
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay/config_table.h"

#define VALUE_MAX ((size_t)64 << 10) // of a file and of a whole value

static bool append(struct weir_buf *out, const char *text, size_t len)
{
    return weir_buf_append(out, text, len);
}

static bool is_variable_name(const char *name)
{
    if (!isalpha((unsigned char)name[0]) && name[0] != '_')
        return false;
    for (; *name != '\0'; name++)
        if (!isalnum((unsigned char)*name) && *name != '_')
            return false;
    return true;
}

static int add_variable(struct weir_buf *out, char *body, config_env_fn env, struct weir_err *err)
{
    char *fallback = strstr(body, ":-");
    if (fallback != NULL) {
        *fallback = '\0';
        fallback += 2;
    }
    if (!is_variable_name(body))
        return weir_fail(err, WEIR_E_INVALID, "'%.60s' is not the name of an environment variable", body);
    const char *value = env(body);
    if (fallback != NULL &&
        (value == NULL || value[0] == '\0')) // empty counts as unset, as in a shell's ${NAME:-default}
        value = fallback;
    if (value == NULL)
        return weir_fail(err, WEIR_E_INVALID, "environment variable %s is not set (${env:%s:-default} has a default)",
                         body, body);
    return append(out, value, strlen(value)) ? WEIR_OK : weir_fail(err, WEIR_E_NOMEM, "out of memory");
}

// Reads what remains of fd, at most VALUE_MAX bytes and one more.
static int read_all(int fd, struct weir_buf *content)
{
    for (;;) {
        if (!weir_buf_reserve(content, 4096))
            return ENOMEM;
        ssize_t n = read(fd, content->data + content->len, 4096);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        content->len += (size_t)n;
        if (n == 0 || content->len > VALUE_MAX)
            return 0;
    }
}

// Appends the file's text without the line ends behind it, which editors and `echo` leave there.
static int add_content(struct weir_buf *out, const char *path, const struct weir_buf *content, struct weir_err *err)
{
    size_t len = content->len;
    if (len > VALUE_MAX)
        return weir_fail(err, WEIR_E_INVALID, "%s: larger than 64KiB", path);
    if (len > 0 && memchr(content->data, '\0', len) != NULL)
        return weir_fail(err, WEIR_E_INVALID, "%s: holds a zero byte", path);
    while (len > 0 && (content->data[len - 1] == '\n' || content->data[len - 1] == '\r'))
        len--;
    return weir_buf_append(out, content->data, len) ? WEIR_OK : weir_fail(err, WEIR_E_NOMEM, "out of memory");
}

static int add_file(struct weir_buf *out, const char *path, struct weir_err *err)
{
    struct weir_buf content = {0};
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return weir_fail(err, WEIR_E_INVALID, "%s: %s", path, strerror(errno));
    int result, failed;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        result = weir_fail(err, WEIR_E_INVALID, "%s: not a regular file", path);
    else if ((failed = read_all(fd, &content)) != 0)
        result = weir_fail(err, WEIR_E_INVALID, "%s: %s", path, strerror(failed));
    else
        result = add_content(out, path, &content, err);
    weir_buf_free(&content);
    close(fd);
    return result;
}

// `body` is what stands between "${" and "}".
static int add_reference(struct weir_buf *out, char *body, config_env_fn env, struct weir_err *err)
{
    if (strncmp(body, "env:", 4) == 0)
        return add_variable(out, body + 4, env, err);
    if (strncmp(body, "file:", 5) == 0)
        return add_file(out, body + 5, err);
    return weir_fail(err, WEIR_E_INVALID, "'${%.60s}' is neither ${env:NAME} nor ${file:PATH} ($$ is a dollar)", body);
}

static int substitute(struct weir_buf *out, const char *text, const char *end, config_env_fn env, struct weir_err *err)
{
    while (text < end) {
        const char *dollar = memchr(text, '$', (size_t)(end - text));
        const char *stop = dollar != NULL ? dollar : end;
        if (!append(out, text, (size_t)(stop - text)))
            return weir_fail(err, WEIR_E_NOMEM, "out of memory");
        if (dollar == NULL)
            break;
        if (dollar + 1 == end || dollar[1] != '{') { // "$$", or a dollar that begins nothing
            if (!append(out, "$", 1))
                return weir_fail(err, WEIR_E_NOMEM, "out of memory");
            text = dollar + (dollar + 1 < end && dollar[1] == '$' ? 2 : 1);
            continue;
        }
        const char *close = memchr(dollar, '}', (size_t)(end - dollar));
        if (close == NULL)
            return weir_fail(err, WEIR_E_INVALID, "'%.*s' has no closing brace ($$ is a dollar)",
                             (int)(end - dollar < 60 ? end - dollar : 60), dollar);
        char *body = strndup(dollar + 2, (size_t)(close - dollar - 2));
        if (body == NULL)
            return weir_fail(err, WEIR_E_NOMEM, "out of memory");
        int result = add_reference(out, body, env, err);
        free(body);
        if (result != WEIR_OK)
            return result;
        text = close + 1;
        if (out->len > VALUE_MAX)
            return weir_fail(err, WEIR_E_INVALID, "longer than 64KiB after substitution");
    }
    return WEIR_OK;
}

int config_substitute(const char *text, size_t len, config_env_fn env, char **out, struct weir_err *err)
{
    struct weir_buf buf = {0};
    *out = NULL;
    if (len > 0 && memchr(text, '\0', len) != NULL)
        return weir_fail(err, WEIR_E_INVALID, "holds a zero byte");
    int result = substitute(&buf, text, text + len, env, err);
    if (result == WEIR_OK && !append(&buf, "", 1))
        result = weir_fail(err, WEIR_E_NOMEM, "out of memory");
    if (result != WEIR_OK) {
        weir_buf_free(&buf);
        return result;
    }
    *out = (char *)buf.data;
    return WEIR_OK;
}
