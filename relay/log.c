// SPDX-License-Identifier: Apache-2.0
// Log lines. What a value holds can never end a line or look like another field: it may come from the network.
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "relay/log.h"

#define VALUE_MAX 1024 // bytes of one value; what is cut off is counted in the line

static _Atomic int wanted_level = LOG_INFO;
static _Atomic int wanted_format = LOG_TEXT;
static _Atomic int output_fd = STDERR_FILENO;

static const char *const level_texts[] = {"DEBUG", "INFO ", "WARN ", "ERROR"};
static const char *const level_names[] = {"debug", "info", "warn", "error"};

void log_configure(enum log_level level, enum log_format format)
{
    atomic_store(&wanted_level, (int)level);
    atomic_store(&wanted_format, (int)format);
}

void log_to_fd(int fd)
{
    atomic_store(&output_fd, fd);
}

bool log_wanted(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&wanted_level, memory_order_relaxed);
}

// --- text ----------------------------------------------------------------------------------------------------------------

static bool put(struct weir_buf *out, const char *text)
{
    return weir_buf_append(out, text, strlen(text));
}

// Length of the well-formed UTF-8 character at p, or 0.
static size_t utf8_length(const unsigned char *p, size_t left)
{
    size_t len = p[0] < 0x80                   ? 1
                 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2
                 : p[0] >= 0xe0 && p[0] < 0xf0 ? 3
                 : p[0] >= 0xf0 && p[0] < 0xf5 ? 4
                                               : 0;
    if (len == 0 || len > left)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
        (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return len;
}

// The inside of a quoted string, the same in both formats: JSON's escapes. What is no UTF-8 becomes U+FFFD.
static bool put_escaped(struct weir_buf *out, const char *value)
{
    size_t whole = strlen(value), len = whole;
    bool ok = true;
    if (len > VALUE_MAX)
        for (len = VALUE_MAX; len > VALUE_MAX - 4 && ((unsigned char)value[len] & 0xc0) == 0x80;)
            len--; // not in the middle of a character
    for (size_t i = 0; i < len && ok;) {
        const unsigned char *p = (const unsigned char *)value + i;
        size_t n = utf8_length(p, len - i);
        char escape[8];
        if (n == 0)
            ok = put(out, "\xef\xbf\xbd");
        else if (*p == '"' || *p == '\\')
            ok = put(out, (char[]){'\\', (char)*p, '\0'});
        else if (*p == '\n')
            ok = put(out, "\\n");
        else if (*p < 0x20 || *p == 0x7f || (n == 2 && p[0] == 0xc2 && p[1] < 0xa0)) {
            snprintf(escape, sizeof(escape), "\\u%04x", n == 2 ? p[1] : p[0]);
            ok = put(out, escape);
        } else
            ok = weir_buf_append(out, p, n);
        i += n > 0 ? n : 1;
    }
    if (len < whole) {
        char cut[40];
        snprintf(cut, sizeof(cut), "... (%zu bytes more)", whole - len);
        ok = ok && put(out, cut);
    }
    return ok;
}

static bool put_quoted(struct weir_buf *out, const char *value)
{
    return put(out, "\"") && put_escaped(out, value) && put(out, "\"");
}

// Whether a value can stand in a text line as it is: one word that no reader takes for something else.
static bool is_word(const char *value)
{
    size_t len = strlen(value);
    for (size_t i = 0; i < len; i++)
        if (value[i] <= ' ' || value[i] >= 0x7f || strchr("\"\\=", value[i]) != NULL)
            return false;
    return len > 0 && len <= VALUE_MAX;
}

static bool put_field(struct weir_buf *out, enum log_format format, const struct log_field *field)
{
    char number[40];
    const char *str = field->str != NULL ? field->str : "";
    switch (field->kind) {
    case LOG_KIND_STR:
        return format == LOG_TEXT && is_word(str) ? put(out, str) : put_quoted(out, str);
    case LOG_KIND_BOOL:
        return put(out, field->boolean ? "true" : "false");
    case LOG_KIND_U64:
        snprintf(number, sizeof(number), "%" PRIu64, field->u64);
        return put(out, number);
    case LOG_KIND_I64:
        snprintf(number, sizeof(number), "%" PRId64, field->i64);
        return put(out, number);
    case LOG_KIND_F64:
        if (!isfinite(field->f64)) // JSON has no word for it
            return put(out, "null");
        snprintf(number, sizeof(number), "%.6g", field->f64);
        return put(out, number);
    }
    return put(out, "null");
}

static bool put_time(struct weir_buf *out, uint64_t unix_ns)
{
    char text[64];
    time_t seconds = (time_t)(unix_ns / 1000000000u);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    size_t len = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + len, sizeof(text) - len, ".%03uZ", (unsigned)(unix_ns / 1000000u % 1000u));
    return put(out, text);
}

static bool put_head(struct weir_buf *out, enum log_format format, uint64_t unix_ns, enum log_level level,
                     const char *event, const char *message)
{
    if (format == LOG_TEXT) // the message is ours, but escaped, as it may be put together
        return put_time(out, unix_ns) && put(out, " ") && put(out, level_texts[level]) && put(out, " ") &&
               put_escaped(out, message) && put(out, " event=") && put(out, event);
    return put(out, "{\"time\":\"") && put_time(out, unix_ns) && put(out, "\",\"level\":\"") &&
           put(out, level_names[level]) && put(out, "\",\"event\":") && put_quoted(out, event) &&
           put(out, ",\"message\":") && put_quoted(out, message);
}

bool log_format_line(struct weir_buf *out, enum log_format format, uint64_t unix_ns, enum log_level level,
                     const char *event, const char *message, const struct log_field *fields, size_t count)
{
    assert((unsigned)level < WEIR_COUNT(level_names));
    bool ok = put_head(out, format, unix_ns, level, event, message);
    for (size_t i = 0; i < count && ok; i++) {
        if (fields[i].key == NULL) // the macros' place holder
            continue;
        if (format == LOG_TEXT)
            ok = put(out, " ") && put(out, fields[i].key) && put(out, "=");
        else
            ok = put(out, ",") && put_quoted(out, fields[i].key) && put(out, ":");
        ok = ok && put_field(out, format, &fields[i]);
    }
    return ok && (format == LOG_TEXT || put(out, "}"));
}

// --- writing -------------------------------------------------------------------------------------------------------------

bool log_limit_pass(struct log_limit *limit, uint64_t now_ns, uint64_t *repeated)
{
    uint64_t next = atomic_load(&limit->next_ns);
    // Of several threads that see the interval over, the one that moves next_ns on writes; the others count as held back.
    if (now_ns < next ||
        !atomic_compare_exchange_strong(&limit->next_ns, &next, now_ns + limit->interval_ms * 1000000u)) {
        atomic_fetch_add(&limit->suppressed, 1);
        return false;
    }
    *repeated = atomic_exchange(&limit->suppressed, 0);
    return true;
}

static void write_line(const uint8_t *data, size_t len)
{
    int fd = atomic_load(&output_fd), saved = errno;
    while (len > 0) { // more than one round only when the line did not fit into a pipe
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break; // nobody reads: there is no other place to say so
        data += n;
        len -= (size_t)n;
    }
    errno = saved;
}

void log_write(struct log_limit *limit, enum log_level level, const char *event, const char *message,
               const struct log_field *fields, size_t count)
{
    uint64_t repeated = 0;
    if (!log_wanted(level) || (limit != NULL && !log_limit_pass(limit, weir_now_ns(), &repeated)))
        return;
    enum log_format format = (enum log_format)atomic_load_explicit(&wanted_format, memory_order_relaxed);
    struct weir_buf line = {0};
    struct log_field all[32];
    assert(count < WEIR_COUNT(all));
    memcpy(all, fields, count * sizeof(*all));
    if (repeated > 0)
        all[count++] = LOG_U64("repeated", repeated);
    static const char lost[] = "a log line was lost: out of memory\n";
    if (log_format_line(&line, format, weir_now_unix_ns(), level, event, message, all, count) && put(&line, "\n"))
        write_line(line.data, line.len);
    else
        write_line((const uint8_t *)lost, sizeof(lost) - 1);
    weir_buf_free(&line);
}
